# SPDX-License-Identifier: Apache-2.0
"""``status``: how far executions are, from their folders; nobody is asked."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, options
from .render import console, echo_json
from .words import plural

if TYPE_CHECKING:
    from ..campaign.execution import Execution

#: Without a name: this many of the newest executions.
_NEWEST = 10
_NO_BOOTS = {"booted": None, "booting": None, "boots": 0, "power_cycles": 0}
_STYLES = {"done": "green", "failed": "red", "stopped": "yellow"}


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
    from ..store import sensitivity

    enough = (execution.path / sensitivity.FILE).is_file()  # it ends as soon as it has its trials
    last: dict[str, dict[str, Any]] = {}
    boots: dict[str, dict[str, Any]] = {}
    for event in read_events(execution.path / "events.jsonl"):
        if target := str(event.get("target") or ""):
            last[target] = event
            _follow(boots.setdefault(target, {**_NO_BOOTS, "boot_failures": []}), event)
    rows = []
    for lane in summarise(execution):
        failure = execution.lane(lane.target).get("failure") or {}
        event = last.get(lane.target, {})
        if execution.is_locked(lane.target):
            state = "running"
        elif not lane.missing or (enough and not failure):
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
                "valid": lane.valid,
                "failed_attempts": len(execution.attempts(lane.target)),
                "unsupported": lane.unsupported,
                "last": event.get("kind"),
                "last_at": event.get("at"),
                **(boots.get(lane.target) or {**_NO_BOOTS, "boot_failures": []}),
                "failure": failure.get("message"),
                "failure_lasts": bool(failure.get("lasting")),
                "path": str(execution.path),
            }
        )
    return rows


def _follow(boots: dict[str, Any], event: dict[str, Any]) -> None:
    """What an event says of the boots of its target."""
    kind, what = event.get("kind"), f"{event.get('kernel')} {event.get('boot')}"
    if kind == "booting":
        boots["booting"], boots["booted"] = what, None
    elif kind == "booted":
        boots["boots"] += 1
        boots["booted"], boots["booting"] = what, None
    elif kind == "booted-back":
        boots["booted"] = boots["booting"] = None
    elif kind == "boot-failed":
        boots["boot_failures"].append(f"{what}: {event.get('message')}")
        boots["booted"] = boots["booting"] = None
    elif kind == "power-cycled":
        boots["power_cycles"] += 1


def _boots(row: dict[str, Any]) -> list[str]:
    """What there is to say of the boots of a lane: where it is while it runs, how many, which failed and why."""
    failures: list[str] = row["boot_failures"]
    if not row["boots"] and not failures and not row["booting"]:
        return []
    parts = [plural(row["boots"], "boot") + " proved"]
    if failures:
        parts.append(f"{len(failures)} failed")
    if row["power_cycles"]:
        parts.append(f"power switched {plural(row['power_cycles'], 'time')}")
    if row["state"] == "running" and (row["booting"] or row["booted"]):
        parts.append(f"booting {row['booting']}" if row["booting"] else f"runs {row['booted']}")
    times = Counter(failures)
    said = [f"{row['target']}: {', '.join(parts)}"]
    return said + [f"  {each}" + (f" ({number} times)" if number > 1 else "") for each, number in times.items()]


def _print(rows: list[dict[str, Any]], broken: list[str], results: Path) -> None:
    from rich.text import Text

    from ..config.campaign import COMMANDS
    from ..report.layout import Column, line, plain, table

    out = console()
    if not rows and not broken:
        click.echo(f"no executions in {results}/")
        return
    columns = [Column(title) for title in ("execution", "target", "state", "runs")]
    columns += [Column("v/s/i", right=True), Column("failed attempts", right=True, group=1), Column("last", group=1)]
    table(
        out,
        columns,
        [
            [
                plain(_name(row)),
                plain(row["target"]),
                plain(row["state"], _STYLES.get(row["state"], "")),
                plain(f"{row['finished']}/{row['planned']}"),
                plain(f"{row['valid']}/{row['usable'] - row['valid']}/{row['finished'] - row['usable']}"),
                plain(row["failed_attempts"]),
                plain(f"{row['last']} {_local(row['last_at'])}" if row["last"] else ""),
            ]
            for row in rows
        ],
        indent=0,
    )
    for name in dict.fromkeys(map(_name, rows)):
        own = [row for row in rows if _name(row) == name]
        for row in own:
            for text in _boots(row):
                line(out, plain(text), indent=2)
            if row["failure"] and row["state"] == "failed":
                line(out, plain(f"{row['target']} failed: {row['failure']}"), indent=2)
        if lasting := [row["target"] for row in own if row["state"] == "failed" and row["failure_lasts"]]:
            first = f"correct that first ({', '.join(lasting)}), then: isolbench resume {name}"
            line(out, plain(first), indent=2)
        elif own[0]["campaign"] in COMMANDS:
            continue  # made by its command alone: runs that resume adds would say nothing
        elif any(row["state"] in ("failed", "stopped") for row in own):
            line(out, Text(f"continue by: isolbench resume {name}"), indent=2)
    for each in broken:
        line(out, plain(each))


def _local(at: object) -> str:
    """An event's time as the clock on the wall has it: of today without the date."""
    try:
        then = datetime.fromisoformat(str(at)).astimezone()
    except ValueError:
        return ""
    today = then.date() == datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def _name(row: dict[str, Any]) -> str:
    return f"{row['campaign']}/{row['execution']}"
