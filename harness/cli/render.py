# SPDX-License-Identifier: Apache-2.0
"""How things look on a terminal: errors, and text that came from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import click

from ..errors import IsolbenchError


def printable(text: object) -> str:
    """``text`` on one line, with control characters shown and not obeyed (a target may send what it likes)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def error_lines(error: IsolbenchError) -> list[str]:
    """One line for each problem, and one for the advice."""
    lines = [f"isolbench: {printable(line)}" for line in str(error).splitlines() or [type(error).__name__]]
    if error.advice:
        lines.append(f"  advice: {printable(error.advice)}")
    return lines


def echo_json(value: Any) -> None:
    """One JSON document on stdout, for machines."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
