# SPDX-License-Identifier: Apache-2.0
"""Writing a target into an inventory that people edit: their comments and order stay, and the result must be valid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
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


def enrol(
    path: Path, name: str, keys: dict[str, Any], check: Callable[[Target], None] = lambda _target: None
) -> Target:
    """Add ``name`` to the inventory ``path`` (made if need be), and return it as the inventory now has it.

    :class:`UserError` if the name is taken, or the file written in a way that cannot be extended. ``check`` sees the
    target before anything is written; what it raises keeps the file as it is.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot be a name", advice="choose one by --name: letters, digits and . _ + -")
    path = path.resolve()  # a link stays one
    known = load_inventory(path if path.exists() else None).targets
    if name in known:
        raise UserError(
            f"{name} is in {path} already",
            advice=f"choose another --name, edit the file, or pin its new host key: isolbench init --repin {name}",
        )
    line = f"{name}: {_flow(keys)}"
    return _replace(path, name, lambda text: _insert(text, line, path), f"add yourself, under targets: {line}", check)


def repin(path: Path, name: str, host_key: str, check: Callable[[Target], None] = lambda _target: None) -> Target:
    """Give the target ``name`` of the inventory ``path`` the host key ``host_key`` in the place of what it had.

    A target that is one of a range gets an entry of its own. Errors and ``check``: see :func:`enrol`.
    """
    return _pin(path, name, "host_key", host_key, check)


def pin_serial(path: Path, name: str, serial: str) -> Target:
    """Have the inventory ``path`` say that ``name`` is the board of this serial number. Errors: see :func:`enrol`."""
    return _pin(path, name, "serial", serial, lambda _target: None)


def _pin(path: Path, name: str, key: str, value: str, check: Callable[[Target], None]) -> Target:
    path = path.resolve()
    target = load_inventory(path).targets.get(name)
    if target is None or target.local:
        raise UserError(f"{name}: no such target in {path}", advice="name the inventory by --inventory")
    return _replace(
        path,
        name,
        lambda text: _with_key(text, name, key, value, path),
        f"change yourself, in {name}: {key}: {_quoted(value)}",
        check,
        expected=target.model_copy(update={key: value}),
    )


def _replace(
    path: Path,
    name: str,
    change: Callable[[str], str],
    otherwise: str,
    check: Callable[[Target], None],
    expected: Target | None = None,
) -> Target:
    """Put the changed file in the place of ``path`` in one step, if of all others it says what it did before."""
    there = path.exists()
    before = load_inventory(path if there else None).targets
    with storage_errors(path):
        changed = change(path.read_text("utf-8") if there else _NEW)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")  # beside it: paths in it are relative to its folder
        try:
            part.write_text(changed, "utf-8")
            if there:
                shutil.copymode(path, part)
            after = _targets(part)
            others = {key: value for key, value in after.items() if key != name}
            kept = {key: value for key, value in before.items() if key != name}
            if others != kept or name not in after or (expected is not None and after[name] != expected):
                raise UserError(f"{path}: cannot be extended; {otherwise}")
            check(after[name])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return after[name]


def _targets(path: Path) -> dict[str, Target]:
    try:
        return load_inventory(path).targets
    except ConfigError:
        return {}


def _flow(value: Any) -> str:
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return dumped.strip().removesuffix("\n...")


def _quoted(value: str) -> str:
    """As YAML text in double quotes, whatever it looks like."""
    return str(yaml.safe_dump(value, default_style='"', width=10_000)).strip()


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _insert(text: str, line: str, path: Path) -> str:
    """``text`` with ``line`` after the last entry of ``targets``, indented like the others."""
    targets = _value(yaml.compose(text, Loader=yaml.SafeLoader), "targets")
    if targets is None:
        return f"{text.rstrip()}\n\ntargets:\n  {line}\n".lstrip()
    start, end = targets.start_mark.index, targets.end_mark.index
    if not targets.value:  # {}
        return f"{text[:start].rstrip(' ')}\n  {line}{text[end:]}"
    if isinstance(targets, yaml.MappingNode) and not targets.flow_style:
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


def _with_key(text: str, name: str, key: str, value: str, path: Path) -> str:
    """``text`` with ``key`` in the entry ``name`` of ``targets``; with such an entry, where a range has it."""
    targets = _value(yaml.compose(text, Loader=yaml.SafeLoader), "targets")
    entry = _value(targets, name)
    quoted = _quoted(value)
    if entry is None:
        return _insert(text, f"{name}: {{{key}: {quoted}}}", path)
    old = _value(entry, key)
    if old is not None:
        return text[: old.start_mark.index] + quoted + text[old.end_mark.index :]
    at = entry.start_mark.index
    if isinstance(entry, yaml.MappingNode) and entry.flow_style:
        rest = text[at + 1 :]
        comma = ", " if entry.value else ""
        return f"{text[: at + 1]}{key}: {quoted}{comma}{rest.lstrip(' ')}"
    indent = " " * entry.start_mark.column
    return f"{text[:at]}{key}: {quoted}\n{indent}{text[at:]}"
