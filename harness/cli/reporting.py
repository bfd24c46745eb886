# SPDX-License-Identifier: Apache-2.0
"""``report``, ``show`` and ``export``: what an execution left, for people and for other tools."""

from __future__ import annotations

from pathlib import Path

from ..report import html


def write_report(execution: Path, out: Path | None = None) -> Path:
    """Write the page (by default ``report.html`` in the execution's folder); its path."""
    path = out or execution / "report.html"
    html.write_report(execution, path)
    return path
