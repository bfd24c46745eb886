# SPDX-License-Identifier: Apache-2.0
"""One cell's runs as a reader sees them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..stats.causes import Sum
from ..stats.quantiles import QUANTILES, enough, spread
from ..store.documents import at, is_number, objects, real, text_of
from ..store.runs import Run
from ..store.values import quantiles_of, samples
from .grouping import compact, one_of, pattern
from .view import CpuView, ModeView, QuantileView, Reason, RunView

#: What became of a period, or of an interval; it is one of them.
_PERIODS = ("recorded", "overflow", "negative", "missed")
#: Of a metric that says nothing else: it is of a measured CPU, and not of a control beside it.
MEASURED = "measured"


def role_of(metric: Mapping[str, Any]) -> str:
    """``measured``, or another part in the run such as ``control``: numbers of two roles are never mixed."""
    return str(metric.get("role") or MEASURED)


def mode_view(
    runs: Sequence[Run],
    metric: str,
    role: str = MEASURED,
    *,
    failed: int = 0,
    planned: int | None = None,
    causes: Mapping[str, Sum] = {},
) -> ModeView:
    """The view of one cell's runs; for one run alone too. ``causes`` are by state of the runs."""
    views = tuple(sorted((run_view(run, metric, role) for run in runs), key=lambda view: (view.repeat, view.name)))
    basis = next((state for state in ("valid", "suspect") if any(view.state == state for view in views)), None)
    used = [view for view in views if view.state == basis]
    fewest = min((view.samples for view in used), default=0)
    counts = [view.events for view in used]
    names = dict.fromkeys(name for view in used for name in view.scalars)
    better = {str(m["metric"]): str(m.get("better") or "lower") for run in runs for m in run.metrics}
    scalars = {name: spread((view.scalars.get(name) for view in used), better.get(name, "lower")) for name in names}
    rate = next((name for run in runs if (name := rate_of(run, role))), None)
    mode = at(runs[0].document, "spec", "mode")
    return ModeView(
        name=name_of(mode),
        detail=_detail(mode),
        cell=runs[0].cell,
        planned=planned,
        runs=views,
        failed=failed,
        basis=basis,
        quantiles=tuple(
            QuantileView(name, spread(view.quantiles.get(name) for view in used), enough(name, fewest))
            for name in QUANTILES
        ),
        maximum=spread(view.max for view in used),
        scalars={name: value for name, value in scalars.items() if value is not None},
        rate=spread(view.scalars.get(rate) for view in used) if rate else None,
        events=None if not counts or None in counts else sum(number for number in counts if number is not None),
        observed_s=sum(view.duration_s * max(1, len(view.cpus)) for view in used),
        reasons=_reasons(views),
        cpus=_cpus(used),
        causes=causes[basis].causes() if basis and basis in causes and role == MEASURED else None,
    )


def _cpus(runs: Sequence[RunView]) -> tuple[CpuView, ...]:
    found = []
    for cpu in sorted({cpu for run in runs for cpu in run.by_cpu}):
        own = [run.by_cpu[cpu] for run in runs if cpu in run.by_cpu]
        fewest = min((int(each["samples"] or 0) for each in own), default=0)
        levels = (QuantileView(name, spread(each[name] for each in own), enough(name, fewest)) for name in QUANTILES)
        found.append(CpuView(cpu, tuple(levels), spread(each["max"] for each in own)))
    return tuple(found)


def rate_of(run: Run, role: str = MEASURED) -> str | None:
    """The metric that is the rate of the probe's events: it comes with how many there were."""
    mine = (m for m in run.metrics if role_of(m) == role)
    rates = (m for m in mine if m.get("kind") == "scalar" and m.get("unit") == "Hz" and "count" in m)
    return next((str(each["metric"]) for each in rates), None)


def run_view(run: Run, metric: str, role: str = MEASURED) -> RunView:
    """One run by its ``run.json`` alone. Of several CPUs the worst counts."""
    played = [m for m in run.metrics if role_of(m) == role]
    mine = [m for m in played if m["metric"] == metric and m.get("kind") == "histogram"]
    scalars: dict[str, float] = {}
    events: int | None = None
    rate = rate_of(run, role)
    for each in played:
        if each.get("kind") == "scalar" and is_number(each.get("value")):
            name = str(each["metric"])
            worst = min if each.get("better") == "higher" else max
            scalars[name] = worst(scalars.get(name, float(each["value"])), float(each["value"]))
            if name == rate and isinstance(each.get("count"), int):
                events = (events or 0) + int(each["count"])
    control = role != MEASURED
    results = objects([run.control.get("result")] if control else run.document.get("results"))
    validity = run.control.get("validity") if control else run.document.get("validity")
    known = sum(int(each.get(key) or 0) for each in mine for key in _PERIODS)
    planned = sum(int(real(at(each, "detail", "periods")) or 0) for each in results)
    repeat = run.document.get("repeat")
    levels = [quantiles_of(run, each) for each in mine]
    return RunView(
        path=run.path,
        name=run.name,
        repeat=repeat if isinstance(repeat, int) else 0,
        state=text_of(validity, "state") if isinstance(validity, Mapping) else run.state,
        cpus=tuple(each.get("cpu") for each in mine),
        recorded=min((int(each.get("recorded") or 0) for each in mine), default=0),
        overflow=sum(int(each.get("overflow") or 0) for each in mine),
        missed=sum(int(each.get("missed") or 0) for each in mine),
        left_out=max(0, planned - known),
        periods=max(planned, known),
        duration_s=max((real(result.get("duration_ns")) or 0.0 for result in results), default=0.0) / 1e9,
        quantiles={name: worst_of(each[name] for each in levels) for name in QUANTILES},
        samples=min(map(samples, mine), default=0),
        min=min((each["min"] for each in mine if isinstance(each.get("min"), int)), default=None),
        max=max((each["max"] for each in mine if isinstance(each.get("max"), int)), default=None),
        scalars=scalars,
        events=events,
        reasons=(*objects(at(validity, "reasons")), *(() if control else _without_control(run))),
        own_cost_ns=real(at(results, 0, "loop", "own_cost_ns")),
        granularity_ns=real(at(results, 0, "clock", "granularity_ns")),
        by_cpu={
            each["cpu"]: {**own, "max": each.get("max"), "samples": samples(each)}
            for each, own in (zip(mine, levels, strict=True) if len(mine) > 1 else ())
            if isinstance(each.get("cpu"), int)
        },
        interrupts=None if control else _interrupts(run, mine),
    )


def _interrupts(run: Run, metrics: Sequence[Mapping[str, Any]]) -> int | None:
    """Of all kinds, on the CPU that was measured: of a task that is on none for good nothing can be said."""
    counts = [at(run.document, "interrupts", str(each.get("cpu"))) for each in metrics]
    return max((sum(each.values()) for each in counts if isinstance(each, Mapping)), default=None)


def _without_control(run: Run) -> tuple[Mapping[str, Any], ...]:
    """Said beside the reasons: a control that failed makes no run worse, but somebody asked for it."""
    if run.control.get("status", "ok") == "ok":
        return ()
    text = f"it was to be on CPU {run.control.get('cpu')}: {text_of(run.control, 'reason')}"
    return ({"state": "without control", "rule": "control-unavailable", "text": text, "advice": ""},)


def _reasons(runs: Iterable[RunView]) -> tuple[Reason, ...]:
    """Each reason once, the worst and most frequent first. Texts that differ in their numbers alone are one reason."""
    texts: dict[tuple[str, str, str, str], list[str]] = {}
    seen: Counter[tuple[str, str, str, str]] = Counter()
    for run in runs:
        mine = set()
        for reason in run.reasons:
            state, rule, text, advice = (text_of(reason, key) for key in ("state", "rule", "text", "advice"))
            text = compact(text)
            key = (state, rule, pattern(text), advice)
            mine.add(key)
            texts.setdefault(key, []).append(text)
        seen.update(mine)
    rank = {"invalid": 0, "suspect": 1}
    ordered = sorted(seen, key=lambda key: (rank.get(key[0], 2), -seen[key], key))
    return tuple(Reason(key[0], key[1], one_of(texts[key]), key[3], runs=seen[key]) for key in ordered)


def name_of(value: object) -> str:
    """A bench's, mode's or load's name, stated as such or inside an object."""
    return str(value.get("name", "?")) if isinstance(value, Mapping) else str(value)


def _detail(mode: object) -> str:
    if not isinstance(mode, Mapping):
        return ""
    return " × ".join(str(mode[key]) for key in ("where", "sched", "hold") if mode.get(key) not in (None, "none"))


def worst_of(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
