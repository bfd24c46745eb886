# SPDX-License-Identifier: Apache-2.0
"""What the page knows of each single run: its curves, its events over time, and what it says of itself.

Runs are taken in one by one while the view is made, so that ten thousand fit in memory: of a run stays what its row in
the table, its share in the plots and its drill-down need, some kilobytes. What many runs say alike (facts, knobs,
reasons) is kept once, by content.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..agent.spec import event_lists
from ..stats.quantiles import enough
from ..stats.trails import Trail, trails
from ..store import gaps
from ..store.documents import at, objects, text_of, whole
from ..store.files import BrokenResult
from ..store.record import CONTROL_PREFIX
from ..store.runs import Run, event_text, load_run
from ..store.values import quantiles_of, samples
from . import account, curves, moments
from .curves import Curve
from .grouping import compact
from .modes import MEASURED, name_of, role_of, worst_of
from .timelines import Timeline, Timelines
from .units import printable, quantity

#: The quantiles of a row of the table of runs.
COLUMNS = ("p50", "p99", "p99.9", "p99.99")


CONTROL = "control"
#: Gaps of a run that are read whole, chain and sender: a page has several such runs.
TRAILED = 20_000


class Pool:
    """Values kept once each, by content; what refers to one is its place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        """``value`` is hashable: a text, or tuples of texts."""
        if value not in self._places:
            self._places[value] = len(self.values)
            self.values.append(value)
        return self._places[value]


@dataclass(slots=True)
class Measured:
    """One histogram of a run."""

    metric: str
    cpu: int | None
    role: str
    curve: Curve | None
    recorded: int
    lost: str


@dataclass(slots=True)
class RunData:
    """``number`` is its row. ``density`` is by metric and role, over the run's CPUs; ``moments`` are by role, and
    ``events`` says what they are.
    """

    number: int
    path: Path
    target: str
    name: str
    cell: str
    state: str
    document: dict[str, Any]  # of the row alone
    measured: list[Measured] = field(default_factory=list)
    density: dict[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)
    moments: dict[str, moments.Moments] = field(default_factory=dict)
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    scalars: tuple[account.Row, ...] = ()
    groups: tuple[int, ...] = ()
    reasons: int = 0

    def curves(self, metric: str, role: str) -> list[Curve]:
        return [m.curve for m in self.measured if (m.metric, m.role) == (metric, role) and m.curve is not None]


class RunCollection:
    """All runs and attempts of an execution, in the order in which they were added."""

    def __init__(self) -> None:
        self.runs: dict[Path, RunData] = {}
        self.attempts: list[RunData] = []
        self.pool = Pool()
        self.warnings: list[str] = []
        self.timelines = Timelines()

    def add(self, run: Run) -> None:
        """Take in a run whose run.json was read. What cannot be read of its other files is named in ``warnings``."""
        data = self._data(len(self.runs), run.path, run.document, run.state)
        for metric in run.metrics:
            if metric.get("kind") == "histogram":
                self._histogram(run, metric, data)
        self._events(run, data, MEASURED, "", at(run.document, "results"))
        if run.control:
            self._events(run, data, CONTROL, CONTROL_PREFIX, [run.control.get("result")])
        data.scalars = tuple(_scalars(run.metrics))
        data.document.update(_row(run))
        self.runs[run.path] = data

    def trails(self, timeline: Timeline) -> Mapping[str, Trail]:
        """By cause, who sent the interrupts of that run and what its tick was needed for, in :data:`TRAILED` gaps."""
        try:
            run = load_run(timeline.path)
            measured = [each for each in gaps.lists_of(run) if each.role == gaps.MEASURED]
            return trails(islice(chain.from_iterable(gaps.gaps_of(run, each, []) for each in measured[:1]), TRAILED))
        except BrokenResult:
            return {}  # named when it was first read

    def add_attempt(self, path: Path, document: Mapping[str, Any]) -> None:
        """Take in a run that failed, by its attempt.json."""
        data = self._data(0, path, document, "failed")
        why = {"state": "failed", "text": document.get("reason"), "advice": document.get("advice")}
        why["rule"] = f"{document.get('fault')}'s fault"
        data.reasons = self.pool.place(_reasons([why, *_reason_list(document)]))
        self.attempts.append(data)

    @property
    def rows(self) -> list[RunData]:
        """Runs, then attempts; numbered as they stand."""
        found = [*self.runs.values(), *self.attempts]
        for number, data in enumerate(found):
            data.number = number
        return found

    def _data(self, number: int, path: Path, document: Mapping[str, Any], state: str) -> RunData:
        spec = at(document, "spec")
        spec = spec if isinstance(spec, Mapping) else {}
        return RunData(
            number=number,
            path=path,
            target=str(document["target"]),
            name=str(document["run"]),
            cell=str(document["cell"]),
            state=state,
            document={
                "bench": name_of(spec.get("bench")) if spec else "",
                "mode": name_of(spec.get("mode")) if spec else "",
                "load": name_of(spec.get("load")) if spec else "",
                "repeat": whole(document.get("repeat")),
                "session": whole(document.get("session")),
                "attempt": whole(document.get("attempt")),
                "started_ns": whole(at(document, "started", "realtime_ns")),
            },
            groups=tuple(self.pool.place((group.title, _printable(group.rows))) for group in account.groups(document)),
            reasons=self.pool.place(_reasons(_reason_list(document))),
        )

    def _histogram(self, run: Run, metric: Mapping[str, Any], data: RunData) -> None:
        name, cpu, role = str(metric["metric"]), metric.get("cpu"), role_of(metric)
        recorded = int(metric.get("recorded") or 0)
        lost = ", ".join(
            f"{metric[key]:,} {word}"
            for key, word in (("missed", "missed"), ("dropped", "dropped"), ("overflow", "beyond the range"))
            if metric.get(key)
        )
        curve = None
        try:
            counts = run.counts(name, cpu)
            curve = curves.curve_of(counts, metric.get("max"))
            density = data.density.get((name, role))
            own = curves.density_of(counts)
            data.density[name, role] = own if density is None else density + own
        except BrokenResult as error:
            self.warnings.append(str(error))
        data.measured.append(Measured(name, cpu, role, curve, recorded, lost))

    def _events(self, run: Run, data: RunData, role: str, prefix: str, results: object) -> None:
        """What the probe of that ``role`` kept one by one, in the list of its name after ``prefix``."""
        measured = [each for each in data.measured if each.role == role]
        known = objects(results)
        found = next((pair for each in known for pair in event_lists(each)), None)
        if not measured or found is None:
            return
        name, about = found
        duration = next(filter(None, (whole(each.get("duration_ns")) for each in known)), 1)
        data.events[role] = {
            "name": name,
            "duration_ns": duration,
            "threshold_ns": whole(about.get("threshold_ns")),
            "dropped": sum(whole(at(each, name, "dropped")) or 0 for each in known),
        }
        length = measured[0].metric.removeprefix(prefix)
        try:
            events = moments.parse(event_text(run.path, prefix + name), length)
            data.moments[role] = moments.thin(events, duration, [each.cpu for each in measured])
            if role == MEASURED:
                self.timelines.add(run, known, name, events)
        except (BrokenResult, ValueError) as error:  # a list that is no JSON, or has no proper name
            self.warnings.append(f"{run.path}: {prefix}{name}: {error}")


def _row(run: Run) -> dict[str, Any]:
    """The numbers of a run's row: those of its first measured histogram, of several CPUs the worst."""
    mine = [m for m in run.metrics if m.get("kind") == "histogram" and role_of(m) == MEASURED]
    mine = [m for m in mine if m["metric"] == mine[0]["metric"]]
    fewest = min(map(samples, mine), default=0)
    levels = [quantiles_of(run, m) for m in mine]
    rates = [m for m in run.metrics if m.get("unit") == "Hz" and "count" in m and role_of(m) == MEASURED]
    return {
        "metric": str(mine[0]["metric"]) if mine else "",
        **{
            level: _for_page(worst_of(each[level] for each in levels)) if enough(level, fewest) else None
            for level in COLUMNS
        },
        "max": max((m["max"] for m in mine if isinstance(m.get("max"), int)), default=None),
        "missed": sum(int(m.get("missed") or 0) for m in mine),
        "rate": max((float(m["value"]) for m in rates if isinstance(m.get("value"), (int, float))), default=None),
    }


def _for_page(value: float | None) -> int | None:
    """JSON has no infinity: what lies among missed periods is -1."""
    return None if value is None else -1 if value == math.inf else int(value)


def _scalars(metrics: Sequence[Mapping[str, Any]]) -> Iterable[account.Row]:
    for metric in metrics:
        if metric.get("kind") == "scalar":
            cpu, name = metric.get("cpu"), str(metric["metric"])  # a control's name says that it is one
            label = name if cpu is None else f"{name}, CPU {cpu}"
            upper = metric.get("upper")
            bound = f" (95 % upper bound {quantity(upper, str(metric['unit']))})" if upper is not None else ""
            yield printable(label), printable(quantity(metric.get("value"), str(metric["unit"])) + bound)


def _reason_list(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return objects(at(document, "validity", "reasons"))


def _reasons(reasons: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Each as state, rule, text and advice."""
    return tuple(
        (
            printable(text_of(each, "state")),
            printable(text_of(each, "rule")),
            printable(compact(text_of(each, "text"))),
            printable(text_of(each, "advice")),
        )
        for each in reasons
    )


def _printable(rows: Iterable[account.Row]) -> tuple[account.Row, ...]:
    return tuple((printable(label), printable(text)) for label, text in rows)
