# SPDX-License-Identifier: Apache-2.0
"""Executions by reference: a path, ``campaign/id``, an id, a campaign's newest. Light: shell completion asks this."""

from __future__ import annotations

import re
from pathlib import Path

from ..agent.spec import SAFE_NAME
from ..errors import UserError
from ..store.files import is_execution

_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def find(reference: str, results: Path) -> Path:
    """The folder of an execution by reference: a path, ``campaign/id``, an id, ``campaign`` (its newest), or
    ``campaign@-N`` (the N-th newest, ``@-1`` the newest). :class:`UserError` that says what there is.
    """
    path = Path(reference)
    if is_execution(path):
        return path
    name, at, back = reference.partition("@")
    if at:
        if not re.fullmatch(r"-[1-9][0-9]*", back):
            raise UserError(f"{reference!r}: expected {name}@-1 (the newest), {name}@-2, ...")
        known = executions(results, name)
        if len(known) < -int(back):
            raise UserError(f"{reference!r}: {len(known)} executions of {name!r} in {results}")
        return known[int(back)]
    if SAFE_NAME.fullmatch(reference) and (known := executions(results, reference)):
        return known[-1]
    parts = reference.split("/")
    if all(SAFE_NAME.fullmatch(part) for part in parts):
        pattern = reference if len(parts) == 2 else f"*/{reference}"
        found = [each for each in sorted(results.glob(pattern)) if is_execution(each)] if len(parts) <= 2 else []
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"{reference!r} is ambiguous: " + ", ".join(map(str, found)))
    listed = ", ".join(sorted(each.name for each in _folders(results))) or "nothing"
    raise UserError(f"no execution {reference!r}: no such folder, and {results}/ holds {listed}")


def executions(results: Path, campaign: str | None = None) -> list[Path]:
    """The executions under ``results`` (of one campaign), oldest first."""
    campaigns = _folders(results) if campaign is None else [results / campaign]
    found = [each for folder in campaigns for each in _folders(folder) if _ID.fullmatch(each.name)]
    return sorted((each for each in found if is_execution(each)), key=lambda each: (each.name, str(each)))


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.is_dir())
    except OSError:
        return []
