# SPDX-License-Identifier: Apache-2.0
"""``report``, ``show`` and ``export``: what an execution left, for people and for other tools."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..report import html


def file_or_stdout(out: Path | None) -> Path | None:
    """The file that ``--out`` names, or ``None`` for stdout (``-``, or nothing).

    A folder that does not exist is an error: it is more often a typing error than a wish, and found before the work.
    """
    if out is None or str(out) == "-":
        return None
    if not out.parent.is_dir():
        raise UserError(f"{out}: no such folder: {out.parent}")
    return out


def write_report(execution: Path, out: Path | None = None) -> Path:
    """Write the page (by default ``report.html`` in the execution's folder); its path."""
    path = out or execution / "report.html"
    html.write_report(execution, path)
    return path
