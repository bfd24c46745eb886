# SPDX-License-Identifier: Apache-2.0
"""How things look on a terminal: errors, outcomes, and text that came from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import IsolbenchError

if TYPE_CHECKING:
    from rich.console import Console

    from ..campaign.execution import Execution
    from ..campaign.outcome import Outcome


def printable(text: object) -> str:
    """``text`` on one line, with control characters shown and not obeyed (a target may send what it likes)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def restored(entry: Any) -> str:
    """One line for an entry of a target's undo that was played back: what, from what to what, or why not."""
    if not isinstance(entry, Mapping):
        return printable(entry)
    what = entry.get("path") or entry.get("name")
    if entry.get("kind") == "processes":
        done = f"ended {', '.join(map(str, entry.get('killed') or [])) or 'none'}"
    else:
        done = f"{entry.get('before')!r} again, was {entry.get('found')!r}"
    return printable(f"{what}: {done}" if entry.get("ok") else f"{what}: NOT put back: {entry.get('reason')}")


def error_lines(error: IsolbenchError) -> list[str]:
    """One line for each problem, and one for the advice."""
    lines = [f"isolbench: {printable(line)}" for line in str(error).splitlines() or [type(error).__name__]]
    if error.advice:
        lines.append(f"  advice: {printable(error.advice)}")
    return lines


def echo_json(value: Any) -> None:
    """One JSON document on stdout, for machines."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """stdout for tables: coloured on a terminal; in a pipe plain, 100 columns wide whatever the environment says."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=100, color_system=None, force_terminal=False)


def outcome_json(execution: Execution, outcome: Outcome) -> Mapping[str, Any]:
    return {
        "campaign": execution.campaign,
        "execution": execution.id,
        "path": str(execution.path),
        "exit_code": outcome.exit_code,
        "sentence": outcome.sentence,
        "planned": outcome.planned,
        "finished": outcome.finished,
        "usable": outcome.usable,
        "over_budget": list(outcome.over_budget),
        "lanes": [asdict(lane) for lane in outcome.lanes],
    }


def say_outcome(execution: Execution, outcome: Outcome, page: Path | None) -> None:
    """The table, what went wrong with whose advice, one sentence, and the report's path last."""
    from ..report.terminal import summary

    if outcome.finished or outcome.usable or any(lane.unsupported for lane in outcome.lanes):
        summary(execution.path, console())
    for lane in outcome.lanes:
        if lane.failure:
            click.echo(f"isolbench: {lane.target}: {printable(lane.failure)}", err=True)
            if lane.advice:
                click.echo(f"  advice: {printable(lane.advice)}", err=True)
    click.echo(f"isolbench: {printable(outcome.sentence)}", err=True)
    if page is not None:
        click.echo(str(page))
