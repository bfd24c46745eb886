# SPDX-License-Identifier: Apache-2.0
"""Series over executions: what a cell was each time, beside the time before and what came before that. Pure.

Numbers and how many runs they are of, no verdicts: whether a change is one is another question. The unit is a run. An
execution is one point: the median over the runs that reports show (the valid ones, the suspect ones only where none is
valid, the invalid ones never), of several CPUs the worst.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..store.hdr import QUANTILES
from .quantiles import enough, spread
from .variants import Variant, titles, variant_of

#: What a catalogue's row must have.
COLUMNS = (
    "target", "bench", "params", "kernel_name", "boot", "attribution", "mode", "load", "duration_ns", "settle_ns",
    "cell", "role", "metric", "kind", "unit", "better", "gate", "execution", "repeat", "state", "recorded", "missed",
    "max", "value", "started_ns", *QUANTILES, "kernel", "kernel_version", "build_id", "artefact_sha256", "cmdline",
    "firmware", "microcode", "attribution_level",
)  # fmt: skip
#: Of these, what is told of when it changes between two executions.
IDENTITY = (
    "kernel", "kernel_version", "build_id", "artefact_sha256", "cmdline", "firmware", "microcode", "attribution_level",
)  # fmt: skip
_STATES = ("valid", "suspect", "invalid")
_DEFAULT_GATE = "p99.99"


@dataclass(frozen=True)
class Change:
    """``what`` was ``before`` in the execution before this one; ``None`` where it was not known."""

    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Point:
    """One execution. ``median``, ``low``, ``high`` are over the ``runs`` that are of ``basis``; ``None`` without any.

    ``longest``: the largest value of any of these runs. ``enough``: even the smallest run has the samples that bound
    the quantile; a point without them is compared with nothing. ``change`` is against the point before,
    ``change_earlier`` against the median of all before, of which there are ``earlier``; as fractions (0.1: a tenth
    more).
    """

    execution: str
    basis: str | None
    median: float | None
    low: float | None
    high: float | None
    runs: int
    longest: float | None
    enough: bool
    change: float | None
    change_earlier: float | None
    earlier: int
    states: Mapping[str, int]
    changed: tuple[Change, ...]

    @property
    def bounded(self) -> float | None:
        """The median, where there are samples enough to say so."""
        return self.median if self.enough else None


@dataclass(frozen=True)
class Series:
    """A cell of a target over the executions. ``quantile`` is ``None`` for a scalar."""

    target: str
    bench: str
    title: str
    mode: str
    load: str
    cell: str
    role: str
    metric: str
    quantile: str | None
    unit: str
    better: str
    duration_ns: int | None
    settle_ns: int | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class _Value:
    """One run, of its worst CPU."""

    state: str
    value: float | None
    longest: float | None
    recorded: int


def series(rows: Iterable[Mapping[str, Any]]) -> tuple[Series, ...]:
    """The series in the rows of a catalogue, by target, bench, load, mode and metric."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("target", "cell", "role", "metric"))
        groups.setdefault(key, []).append(row)
    variants = {key: _variant(group[0]) for key, group in groups.items()}
    named = titles(variants.values(), {})
    found = [_series(group, named[variants[key]]) for key, group in groups.items()]
    return tuple(
        sorted(found, key=lambda each: (each.target, each.title, each.load, each.mode, each.metric, each.cell))
    )


def _series(rows: Sequence[Mapping[str, Any]], title: str) -> Series:
    newest = max(rows, key=_when)
    gate = newest["gate"] if newest["gate"] in QUANTILES else _DEFAULT_GATE
    quantile = gate if newest["kind"] == "histogram" else None
    executions: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        executions.setdefault(str(row["execution"]), []).append(row)
    points: list[Point] = []
    known: Mapping[str, Any] | None = None
    for execution in sorted(executions):
        own = executions[execution]
        last = max(own, key=_when)
        points.append(_point(execution, own, quantile, points, () if known is None else _changes(known, last)))
        known = last
    return Series(
        **{key: str(newest[key]) for key in ("target", "bench", "mode", "load", "cell", "role", "metric", "unit")},
        title=title,
        quantile=quantile,
        better=str(newest["better"] or "lower"),
        duration_ns=newest["duration_ns"],
        settle_ns=newest["settle_ns"],
        points=tuple(points),
    )


def _point(
    execution: str,
    rows: Sequence[Mapping[str, Any]],
    quantile: str | None,
    before: Sequence[Point],
    changed: tuple[Change, ...],
) -> Point:
    by_run: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_run.setdefault(row["repeat"], []).append(row)
    runs = [_run(each, quantile) for each in by_run.values()]
    basis = next((state for state in ("valid", "suspect") if any(run.state == state for run in runs)), None)
    used = [run for run in runs if run.state == basis and run.value is not None]
    over = spread((run.value for run in used), str(rows[0]["better"] or "lower"))
    longest = [run.longest for run in used if run.longest is not None]
    suffices = quantile is None or enough(quantile, min((run.recorded for run in used), default=0))
    medians = [known for point in before if (known := point.bounded) is not None]
    now = None if over is None or not suffices else over.median
    return Point(
        execution=execution,
        basis=basis,
        median=None if over is None else over.median,
        low=None if over is None else over.low,
        high=None if over is None else over.high,
        runs=len(used),
        longest=max(longest, default=None),
        enough=suffices,
        change=_ratio(now, before[-1].bounded if before else None),
        change_earlier=_ratio(now, median(medians) if medians else None),
        earlier=len(medians),
        states={state: sum(run.state == state for run in runs) for state in _STATES},
        changed=changed,
    )


def _run(rows: Sequence[Mapping[str, Any]], quantile: str | None) -> _Value:
    worst = min if rows[0]["better"] == "higher" else max
    values = [value for row in rows if (value := _value(row, quantile)) is not None]
    return _Value(
        state=str(rows[0]["state"]),
        value=worst(values) if values else None,
        longest=max((float(row["max"]) for row in rows if row["max"] is not None), default=None),
        recorded=min((int(row["recorded"] or 0) + int(row["missed"] or 0) for row in rows), default=0),
    )


def _value(row: Mapping[str, Any], quantile: str | None) -> float | None:
    """Infinite where the quantile lies among missed periods: a catalogue then has none."""
    value = row[quantile or "value"]
    if value is None:
        return math.inf if quantile and row["missed"] else None
    return float(value)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(Change(key, before[key], after[key]) for key in IDENTITY if before[key] != after[key])


def _ratio(now: float | None, then: float | None) -> float | None:
    return None if now is None or now == math.inf or not then or then == math.inf else now / then - 1


def _when(row: Mapping[str, Any]) -> tuple[str, int]:
    """Executions are in the order of their names: a target's clock may be wrong, and orders no more than its runs."""
    return str(row["execution"]), int(row["started_ns"] or 0)


def _variant(row: Mapping[str, Any]) -> Variant:
    """``params`` as a catalogue has them: ``digits=2 threshold=1000ns``."""
    params = dict(pair.partition("=")[::2] for pair in str(row["params"] or "").split())
    rest = (row[key] for key in ("duration_ns", "settle_ns", "kernel_name", "boot", "attribution"))
    return variant_of(str(row["bench"]), params, *rest)
