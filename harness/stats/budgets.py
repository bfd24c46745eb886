# SPDX-License-Identifier: Apache-2.0
"""A campaign's budgets against what was measured. Pure.

The unit is a run, and the same ones are judged that a report shows: the valid runs of a cell, the suspect ones only
where none is valid, the invalid ones never. Their median counts. A period that was missed is later than any limit. A
quantile that too few samples bound cannot pass, but fails where a lower one, which enough do, is over already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..store.hdr import fraction
from ..store.runs import Run
from ..store.values import missed, recorded, value_with_missed
from .numbers import number_of
from .quantiles import QUANTILES, enough, samples_needed, spread
from .variants import Variant, titles, variant_of_cell, variant_of_run

PASSED, FAILED, NOT_JUDGED = "pass", "fail", "not judged"
_COUNTED = {FAILED: "failed", NOT_JUDGED: "not judged"}


@dataclass(frozen=True)
class Limit:
    """What a budget allows: at most ``at_most``, in the metric's unit, for a quantile of a histogram or a scalar."""

    bench: str
    metric: str
    quantile: str | None
    at_most: float


@dataclass(frozen=True)
class RunValue:
    """What one run says of one limit. ``recorded``: the samples behind a quantile; ``missed``: the periods that have
    none, for which ``value`` is infinite if the quantile lies among them. ``lower``: the run's values of the quantiles
    below that one, the highest first."""

    limit: Limit
    target: str
    cell: str
    variant: Variant
    mode: str
    load: str
    state: str
    value: float | None
    recorded: int = 0
    unit: str = ""
    missed: int = 0
    lower: tuple[tuple[str, float | None], ...] = ()
    better: str = "lower"


@dataclass(frozen=True)
class Verdict:
    """One limit for one cell. ``state`` is that of the ``runs`` judged; ``result`` pass, fail, or not judged.

    ``why`` it was not judged, or what else there is to know of it. A failure has no ``value`` where too many periods
    were missed to have one. ``judged_at``: the lower quantile that ``value`` is of, where the samples suffice for no
    higher one.
    """

    target: str
    bench: str
    mode: str
    load: str
    cell: str
    metric: str
    quantile: str | None
    unit: str
    value: float | None
    at_most: float
    runs: int
    state: str | None
    result: str
    why: str = ""
    judged_at: str | None = None

    @property
    def what(self) -> str:
        """``gap_ns p99.99``."""
        return self.metric if self.quantile is None else f"{self.metric} {self.quantile}"

    @property
    def where(self) -> str:
        return f"{self.target}, {self.bench}, {self.mode}, {self.load}"

    @property
    def sentence(self) -> str:
        """``nuc, gap, fifo, idle: gap_ns p99.99 is 31,200 ns, at most 20,000 ns allowed (median of 3 runs)``."""
        limit = f"at most {_shown(self.at_most, self.unit)} allowed"
        if self.result == NOT_JUDGED:
            return f"{self.where}: {self.what} not judged: {self.why} ({limit})"
        if self.value is None:
            return f"{self.where}: {self.what} is over any limit: {self.why} ({limit})"
        of = f"median of {self.runs} {'suspect ' if self.state == 'suspect' else ''}runs"
        if self.runs == 1:
            of = "one suspect run" if self.state == "suspect" else "one run"
        also = f"; {self.why}" if self.why else ""
        least = "" if self.judged_at is None else "at least "
        return f"{self.where}: {self.what} is {least}{_shown(self.value, self.unit)}, {limit} ({of}{also})"


def values_of(run: Run, limits: Iterable[Limit]) -> Iterator[RunValue]:
    """What ``run`` says of each limit that is for its bench."""
    spec = run.document["spec"]
    for limit in limits:
        entry = next((each for each in run.metrics if each["metric"] == limit.metric), None)
        if entry is None or spec.get("bench") != limit.bench:
            continue
        yield RunValue(
            limit=limit,
            target=run.target,
            cell=run.cell,
            variant=variant_of_run(run),
            mode=_name(spec.get("mode")),
            load=_name(spec.get("load")),
            state=run.state,
            value=value_with_missed(run, limit.metric, limit.quantile),
            recorded=recorded(run, limit.metric),
            unit=str(entry["unit"]),
            missed=missed(run, limit.metric),
            better=str(entry.get("better") or "lower"),
            lower=tuple((name, value_with_missed(run, limit.metric, name)) for name in _below(limit.quantile)),
        )


def judge(values: Iterable[RunValue], plan: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """A verdict for each limit and cell that has runs: by limit, then in the order of the ``plan.json`` given."""
    values = list(values)
    known, benches = plan.get("cells"), plan.get("benches")
    cells = [cell for cell in known if isinstance(cell, Mapping)] if isinstance(known, list) else []
    order = {str(cell.get("cell")): place for place, cell in enumerate(cells)}
    names = titles(
        [*map(variant_of_cell, cells), *(value.variant for value in values)],
        benches if isinstance(benches, Mapping) else {},
    )
    groups: dict[tuple[Limit, str, str], list[RunValue]] = {}
    for value in values:
        groups.setdefault((value.limit, value.target, value.cell), []).append(value)
    limits = {limit: place for place, limit in enumerate(dict.fromkeys(value.limit for value in values))}
    ordered = sorted(groups, key=lambda key: (limits[key[0]], order.get(key[2], len(order)), key[1], key[2]))
    return tuple(_verdict(key[0], names[groups[key][0].variant], groups[key]) for key in ordered)


def _verdict(limit: Limit, title: str, runs: list[RunValue]) -> Verdict:
    basis = next((state for state in ("valid", "suspect") if any(run.state == state for run in runs)), None)
    used = [run for run in runs if run.state == basis and run.value is not None]
    found = spread((run.value for run in used), runs[0].better)
    fewest = min((run.recorded for run in used), default=0)
    why = ""
    if basis is None:
        why = "no usable run"
    elif found is None:
        why = "no run has a value"
    value = None if found is None else found.median
    judged_at = None
    if value is not None and limit.quantile not in (None, "p100") and not enough(str(limit.quantile), fewest):
        judged_at, least = _bounded(used, fewest)
        if least is not None and least > limit.at_most:
            value = least
        else:
            judged_at = None
            why = f"n too small, {limit.quantile} needs {samples_needed(str(limit.quantile)):,} samples in a run"
    result = NOT_JUDGED if why or value is None else FAILED if value > limit.at_most else PASSED
    if judged_at is not None:
        why = f"{judged_at} is over already, n too small for {limit.quantile} itself"
    elif result != NOT_JUDGED and limit.quantile is not None and (lost := sum(run.missed for run in used)):
        why = f"{lost:,} {'periods were' if lost > 1 else 'period was'} missed, each counted as later than any"
    first = runs[0]
    return Verdict(
        target=first.target,
        bench=title,
        mode=first.mode,
        load=first.load,
        cell=first.cell,
        metric=limit.metric,
        quantile=limit.quantile,
        unit=next((run.unit for run in runs if run.unit), ""),
        value=None if value == math.inf else value,
        at_most=limit.at_most,
        runs=len(used),
        state=basis,
        result=result,
        why=why,
        judged_at=judged_at,
    )


def _below(quantile: str | None) -> list[str]:
    """The quantiles that are kept of every histogram, below ``quantile``, the highest first."""
    if quantile is None:
        return []
    return [name for name in reversed(QUANTILES) if fraction(name) < fraction(quantile)]


def _bounded(runs: list[RunValue], samples: int) -> tuple[str | None, float | None]:
    """The highest of the lower quantiles that so many samples bound, and its median over ``runs``."""
    for place, (name, _) in enumerate(runs[0].lower):
        if enough(name, samples):
            found = spread(run.lower[place][1] for run in runs)
            return name, None if found is None else found.median
    return None, None


def counted(verdicts: Iterable[Verdict]) -> str:
    """``2 of 22 budget checks failed, 1 not judged``: a check is one limit for one cell. Empty where there is none."""
    results = [verdict.result for verdict in verdicts]
    if not results:
        return ""
    parts = [f"{results.count(each):,} {words}" for each, words in _COUNTED.items() if each in results]
    parts = parts or [f"{len(results):,} passed"]
    number, _, words = parts[0].partition(" ")
    of = number if number == f"{len(results):,}" else f"{number} of {len(results):,}"
    return ", ".join([f"{of} budget check{'' if len(results) == 1 else 's'} {words}", *parts[1:]])


def limits_of(budgets: object) -> tuple[Limit, ...]:
    """The budgets of a ``plan.json``'s ``config``. What does not look like one is left out."""
    found = []
    for entry in budgets if isinstance(budgets, list) else []:
        if not isinstance(entry, Mapping):
            continue
        bench, metric, quantile = (entry.get(key) for key in ("bench", "metric", "quantile"))
        at_most = number_of(entry.get("at_most"))
        if isinstance(bench, str) and isinstance(metric, str) and at_most is not None:
            found.append(Limit(bench, metric, quantile if isinstance(quantile, str) else None, at_most))
    return tuple(found)


def _name(value: object) -> str:
    return str(value.get("name", "?")) if isinstance(value, Mapping) else str(value)


def _shown(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{digits} {unit}".rstrip()
