# SPDX-License-Identifier: Apache-2.0
"""``status``: how far executions are, from their folders; nobody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, options
from .render import console, echo_json, printable

if TYPE_CHECKING:
    from ..campaign.execution import Execution

#: Without a name: this many of the newest executions.
_NEWEST = 10


@click.command(help="How far EXECUTION is, or the newest ones: done, failed, running, what happened last.")
@click.argument("execution", required=False, shell_complete=complete.executions)
@options.results
@options.as_json
def status(execution: str | None, results: Path, as_json: bool) -> None:
    from ..campaign import execution as executions
    from ..errors import UserError

    if execution is not None:
        paths = [executions.find(execution, results)]
    else:
        paths = executions.executions(results)[-_NEWEST:]
    rows: list[dict[str, Any]] = []
    broken: list[str] = []
    for path in paths:
        try:
            rows += _lanes(executions.load(path))
        except UserError as error:
            broken.append(str(error))
    if as_json:
        echo_json({"lanes": rows, "broken": broken})
    else:
        _print(rows, broken, results)


def _lanes(execution: Execution) -> list[dict[str, Any]]:
    from ..campaign.carry_out import summarise
    from ..campaign.events import read_events

    last = {
        str(event.get("target")): event for event in read_events(execution.path / "events.jsonl") if event.get("target")
    }
    rows = []
    for lane in summarise(execution):
        failure = execution.lane(lane.target).get("failure") or {}
        event = last.get(lane.target, {})
        if execution.is_locked(lane.target):
            state = "running"
        elif not lane.missing:
            state = "done"
        else:
            state = "failed" if failure else "stopped"
        rows.append(
            {
                "campaign": execution.campaign,
                "execution": execution.id,
                "target": lane.target,
                "state": state,
                "planned": lane.planned,
                "finished": lane.finished,
                "usable": lane.usable,
                "failed_attempts": len(execution.attempts(lane.target)),
                "unsupported": lane.unsupported,
                "last": event.get("kind"),
                "last_at": event.get("at"),
                "failure": failure.get("message"),
                "path": str(execution.path),
            }
        )
    return rows


def _print(rows: list[dict[str, Any]], broken: list[str], results: Path) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    if not rows and not broken:
        click.echo(f"no executions in {results}/")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("execution", "target", "state", "runs", "failed attempts", "last"):
        table.add_column(column)
    for row in rows:
        last = f"{row['last']} {row['last_at']}" if row["last"] else ""
        table.add_row(
            *map(Text, (_name(row), row["target"], row["state"])),
            Text(f"{row['finished']}/{row['planned']}"),
            Text(str(row["failed_attempts"])),
            Text(last),
        )
    out.print(table)
    for name in dict.fromkeys(map(_name, rows)):
        own = [row for row in rows if _name(row) == name]
        for row in own:
            if row["failure"] and row["state"] == "failed":
                said = Text(printable(f"{row['target']} failed: {row['failure']}"))
                out.print(Padding(said, (0, 0, 0, 2)))  # what a terminal wraps is indented as well
        if any(row["state"] in ("failed", "stopped") for row in own):
            out.print(Text(f"  continue by: isolbench resume {name}"))
    for line in broken:
        out.print(Text(printable(line)))


def _name(row: dict[str, Any]) -> str:
    return f"{row['campaign']}/{row['execution']}"
