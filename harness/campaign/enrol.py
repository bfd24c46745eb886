# SPDX-License-Identifier: Apache-2.0
"""Writing a target into an inventory that people edit: their comments and order stay, and the result must be valid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..agent.spec import SAFE_NAME
from ..config.inventory import Target, load_inventory
from ..errors import ConfigError, UserError
from ..store.files import storage_errors

_NEW = "# The machines that isolbench measures; `local`, this machine, is always there.\n"


def entry_of(
    *, address: str, user: str | None, port: int | None, identity: Path | None, tags: Sequence[str]
) -> dict[str, Any]:
    """An entry's keys, those that say nothing left out."""
    keys = {
        "address": address,
        "user": user,
        "port": port,
        "identity": None if identity is None else str(identity.absolute()),
        "tags": list(tags) or None,
    }
    return {key: value for key, value in keys.items() if value is not None}


def enrol(path: Path, name: str, keys: dict[str, Any]) -> Target:
    """Add ``name`` to the inventory ``path`` (made if need be), and return it as the inventory now has it.

    The file is replaced in one step, and only by one that says of all other targets what it said before.
    :class:`UserError` if the name is taken, or the file written in a way that cannot be extended.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot be a name", advice="choose one by --name: letters, digits and . _ + -")
    path = path.resolve()  # a link stays one
    there = path.exists()
    before = load_inventory(path).targets if there else load_inventory(None).targets
    if name in before:
        raise UserError(f"{name} is in {path} already", advice="choose another --name, or edit the file")
    line = f"{name}: {_flow(keys)}"
    with storage_errors(path):
        changed = _insert(path.read_text("utf-8") if there else _NEW, line, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")  # beside it: paths in it are relative to its folder
        try:
            part.write_text(changed, "utf-8")
            if there:
                shutil.copymode(path, part)
            after = _targets(part)
            if {key: value for key, value in after.items() if key != name} != before or name not in after:
                raise UserError(f"{path}: cannot be extended; add yourself, under targets: {line}")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return after[name]


def _targets(path: Path) -> dict[str, Target]:
    try:
        return load_inventory(path).targets
    except ConfigError:
        return {}


def _flow(keys: dict[str, Any]) -> str:
    return yaml.safe_dump(keys, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _insert(text: str, line: str, path: Path) -> str:
    """``text`` with ``line`` after the last entry of ``targets``, indented like the others."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    targets = next((value for key, value in pairs if key.value == "targets"), None)
    if targets is None:
        return f"{text.rstrip()}\n\ntargets:\n  {line}\n".lstrip()
    if isinstance(targets, yaml.MappingNode) and targets.value and not targets.flow_style:
        first = targets.value[0][0]
        last = max(mark.line for mark in (targets.value[-1][1].end_mark, targets.value[-1][0].end_mark))
        lines = text.splitlines(keepends=True)
        # A block's end mark stands where the next token is: go back over what is blank or a comment.
        at = min(last + 1, len(lines)) if targets.value[-1][1].end_mark.column else min(last, len(lines))
        while at > 0 and (not lines[at - 1].strip() or lines[at - 1].lstrip().startswith("#")):
            at -= 1
        if at and not lines[at - 1].endswith("\n"):
            lines[at - 1] += "\n"
        return "".join([*lines[:at], " " * first.start_mark.column + line + "\n", *lines[at:]])
    raise UserError(f"{path}: targets are written in one line; add yourself: {line}")
