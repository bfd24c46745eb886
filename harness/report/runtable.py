# SPDX-License-Identifier: Apache-2.0
"""The table of all runs and their drill-down, as JSON for the page's script.

The table has every run and attempt. Details have a limit, so that a page can be mailed: beyond :data:`DETAILED` runs
only those that are not valid, and of logs the beginnings and ends until :data:`LOGS` characters are used up, those of
failed and invalid runs first. What is left out is said, with the command or file that has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ..stats.quantiles import QUANTILES, enough
from . import curves
from .rundata import COLUMNS, Measured, Pool, RunCollection, RunData
from .units import printable
from .view import View

#: Runs that can be opened in the page.
DETAILED = 4_000
#: Characters of logs in one page, and bytes of one log: its beginning and its end.
LOGS = 600_000
LOG_HEAD, LOG_TAIL = 2_048, 4_096

STATES = ("valid", "suspect", "invalid", "failed")
#: Who comes first when there is not room for all.
_FIRST = {"failed": 0, "invalid": 1, "suspect": 2, "valid": 3}
#: Of a run's reasons, the rules that its row names.
_RULES = 3


def table(view: View, runs: RunCollection) -> dict[str, Any]:
    """``strings``, and ``rows`` of numbers and places in them, in the order of :attr:`RunCollection.rows`."""
    titles = {
        mode.cell: section.title for target in view.targets for section in target.sections for mode in section.modes
    }
    pool = Pool()

    def text(value: object) -> int:
        return pool.place(printable(value))

    rows = []
    for data in runs.rows:
        row = data.document
        bench, mode, load = _asked(data)
        started = row["started_ns"]
        reasons = runs.pool.values[data.reasons]
        rules = ", ".join(dict.fromkeys(rule for _, rule, _, _ in reasons[:_RULES]))
        rows.append(
            [
                text(data.target),
                text(titles.get(data.cell, bench)),
                text(mode),
                text(load),
                text(data.cell),
                row["repeat"],
                row["session"],
                row["attempt"] if data.state == "failed" else None,
                STATES.index(data.state),
                *(row.get(level) for level in COLUMNS),
                row.get("max"),
                row.get("missed") or 0,
                None if row.get("rate") is None else float(f"{row['rate']:.4g}"),
                None if started is None else started // 1_000_000_000,
                text(rules),
            ]
        )
    return {"strings": pool.values, "rows": rows}


def _asked(data: RunData) -> tuple[str, str, str]:
    """Bench, mode and load; of an attempt without a record, from its cell's name ``<bench>.<mode>.<load>-<hash>``."""
    row = data.document
    if row["bench"]:
        return row["bench"], row["mode"], row["load"]
    parts = data.cell.rpartition("-")[0].split(".")
    return (parts[0], ".".join(parts[1:-1]), parts[-1]) if len(parts) >= 3 else (data.cell, "", "")


def details(runs: RunCollection, execution: Path) -> Markup:
    """As JSON for a page: ``pool`` of what runs say alike, and ``runs``, an object a row, or ``null`` where capped.

    Run by run, for as objects those of some thousand runs would take a hundred megabytes.
    """
    rows = runs.rows
    chosen = {data.number for data in sorted(rows, key=lambda data: _FIRST[data.state])[:DETAILED]}
    logs = _logs([data for data in rows if data.number in chosen], execution)
    pool = Pool()
    found: list[str] = []
    for data in rows:
        if data.number not in chosen:
            found.append("null")
            continue
        one: dict[str, Any] = {
            "reasons": pool.place(runs.pool.values[data.reasons]),
            "groups": [pool.place(runs.pool.values[place]) for place in data.groups],
            "measured": [_measured(each) for each in data.measured],
            "scalars": data.scalars,
            "log": logs.get(data.number),
        }
        one["events"] = [
            {
                "name": printable(data.events[role]["name"]),
                "role": role,
                "duration": data.events[role]["duration_ns"],
                "seen": own.seen,
                "moments": [[cpu, kept.ravel().tolist()] for cpu, kept in own.kept.items()],
            }
            for role, own in data.moments.items()
            if own.kept
        ]
        found.append(_json(one))
    return Markup(f'{{"pool":{_json(pool.values)},"runs":[{",".join(found)}]}}')  # noqa: S704 - each part is escaped


def _json(value: Any) -> str:
    return htmlsafe_json_dumps(value, separators=(",", ":"))


def _measured(each: Measured) -> dict[str, Any]:
    return {
        "metric": printable(each.metric),
        "cpu": each.cpu,
        "role": printable(each.role),
        "n": each.recorded,
        "lost": printable(each.lost),
        "told": sum(enough(level, each.recorded) for level in QUANTILES),
        "curve": curves.curve_json(each.curve) if each.curve else None,
    }


def _logs(rows: Iterable[RunData], execution: Path) -> dict[int, Mapping[str, Any]]:
    """The logs of as many runs as there is room for, by row."""
    found: dict[int, Mapping[str, Any]] = {}
    left = LOGS
    for data in sorted(rows, key=lambda data: _FIRST[data.state]):
        place = data.path / "log.txt"
        parts, size = _ends(place)
        length = sum(map(len, parts))
        if size == 0:
            continue
        where = place.relative_to(execution).as_posix() if place.is_relative_to(execution) else str(place)
        log: dict[str, Any] = {"size": size, "file": printable(where)}
        if length <= left:
            left -= length
            log["parts"] = parts
        found[data.number] = log
    return found


def _ends(path: Path) -> tuple[list[str], int]:
    """The log's text, in one part or as beginning and end, and its size in bytes."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= LOG_HEAD + LOG_TAIL:
                return [_lines(file.read())], size
            head = file.read(LOG_HEAD)
            file.seek(-LOG_TAIL, os.SEEK_END)
            return [_lines(head), _lines(file.read())], size
    except OSError as error:
        return [printable(f"{path.name}: {error.strerror or error}")], 1


def _lines(text: bytes) -> str:
    return "\n".join(printable(line) for line in text.decode("utf-8", "replace").splitlines())


def states(runs: RunCollection) -> list[tuple[str, int]]:
    """Each state, and how many runs and attempts have it."""
    return [(state, sum(data.state == state for data in runs.rows)) for state in STATES]


def hidden(rows: Sequence[RunData]) -> int:
    """Runs that the page lists and cannot open."""
    return max(0, len(rows) - DETAILED)
