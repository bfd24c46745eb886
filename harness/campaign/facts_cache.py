# SPDX-License-Identifier: Apache-2.0
"""What the last contact with each target found, on the controller: so that `plan` can say what would run, unasked."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.inventory import Target
from ..target.booting import MARK
from ..target.cmdline import kernels_own, name_of


def _path(target: Target, kind: str = "") -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = f"{target.user or ''}@{target.address or ''}:{target.port or ''}"
    return base / "isolbench" / "facts" / f"{target.name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}{kind}.json"


def remember(target: Target, facts: dict[str, Any]) -> None:
    """Keep ``facts``. A cache: where it cannot be written, nothing is lost but convenience.

    Those of a boot of ours are not kept: they say nothing of the machine as it boots by itself.
    """
    cmdline = (facts.get("kernel") or {}).get("cmdline") or ""
    if any(name_of(each) == MARK for each in kernels_own(str(cmdline))):
        return
    _write(target, "", {"facts": facts})


def remember_boots(target: Target, seconds: dict[str, list[float]]) -> None:
    """How long its last boots took, by their kind."""
    _write(target, ".boots", {"seconds": seconds})


def _write(target: Target, kind: str, what: dict[str, Any]) -> None:
    try:
        path = _path(target, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"version": __version__, **what}))
        part.replace(path)
    except (OSError, RuntimeError):  # RuntimeError: nobody's home is known
        return


def recalled_at(target: Target) -> float | None:
    """When what :func:`recall` gives was asked for, in seconds since 1970; None where there is nothing."""
    try:
        return _path(target).stat().st_mtime if recall(target) is not None else None
    except (OSError, RuntimeError):
        return None


def recall(target: Target) -> dict[str, Any] | None:
    """The facts of the last contact, or None. Another version's are not read: what they say may have changed."""
    try:
        found = json.loads(_path(target).read_text())
        facts = found["facts"] if found["version"] == __version__ else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None


def recall_boots(target: Target) -> dict[str, list[float]]:
    """As :func:`remember_boots` was told last; nothing is known of what does not look so."""
    try:
        found = json.loads(_path(target, ".boots").read_text())["seconds"]
        return {str(kind): [float(each) for each in times] for kind, times in found.items() if times}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return {}
