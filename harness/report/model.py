# SPDX-License-Identifier: Apache-2.0
"""What every report shows, worked out once: an execution's folder in, a frozen view of it out.

Numbers are taken of the valid runs. Where a mode has none, its suspect ones are shown and marked so; invalid ones are
counted and explained, and never enter a number. A run gives one number per quantile (its worst CPU's), and over runs
there is the median and the range: runs are the unit, samples are never pooled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stats.quantiles import QUANTILES, Spread, enough, rate_upper, spread
from ..store.files import BrokenResult
from ..store.runs import Run, is_execution, iter_attempts, iter_runs, read_json
from . import facts

STATES = ("valid", "suspect", "invalid")


@dataclass(frozen=True)
class Reason:
    """Why runs are suspect or invalid; ``runs`` of the mode have it."""

    state: str
    rule: str
    text: str
    advice: str
    runs: int


@dataclass(frozen=True)
class QuantileView:
    """A quantile over runs (ns). ``enough``: even the smallest run has the samples to bound it."""

    name: str
    spread: Spread | None
    enough: bool


@dataclass(frozen=True)
class RunView:
    """One run, as far as reports need it without opening its histogram."""

    path: Path
    name: str
    repeat: int
    state: str
    cpus: tuple[int | None, ...]
    recorded: int
    overflow: int
    duration_s: float
    quantiles: Mapping[str, int | None]
    min: int | None
    max: int | None
    scalars: Mapping[str, float]
    events: int | None  # gaps over the threshold
    reasons: tuple[Mapping[str, str], ...]
    own_cost_ns: float | None
    granularity_ns: float | None


@dataclass(frozen=True)
class ModeView:
    """A cell: one mode under one load on one target. ``basis`` says which runs the numbers are of, if any."""

    name: str
    detail: str
    cell: str
    planned: int | None
    runs: tuple[RunView, ...]
    failed: int
    basis: str | None
    quantiles: tuple[QuantileView, ...]
    maximum: Spread | None
    scalars: Mapping[str, Spread]
    events: int | None
    observed_s: float
    reasons: tuple[Reason, ...]

    def number(self, state: str) -> int:
        return sum(run.state == state for run in self.runs)

    @property
    def used(self) -> tuple[RunView, ...]:
        """The runs that the numbers are of."""
        return tuple(run for run in self.runs if run.state == self.basis)

    @property
    def rate(self) -> Spread | None:
        """Gaps over the threshold, per second."""
        return self.scalars.get("gap_rate_hz")

    @property
    def rate_upper_hz(self) -> float | None:
        """When no gap was seen in any run: the one-sided 95 % upper bound of their rate, of all the time observed."""
        return rate_upper(0, self.observed_s) if self.events == 0 and self.observed_s > 0 else None

    def quantile(self, name: str) -> QuantileView | None:
        return next((each for each in self.quantiles if each.name == name), None)


@dataclass(frozen=True)
class Unsupported:
    """A cell that the target cannot do, and why: no pass, no failure."""

    target: str
    bench: str
    mode: str
    load: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """A run that failed."""

    target: str
    run: str
    attempt: int
    fault: str
    reason: str
    advice: str


@dataclass(frozen=True)
class Failure:
    """Why a lane ended early."""

    fault: str
    message: str
    advice: str


@dataclass(frozen=True)
class Section:
    """One target x bench x load x metric, with its modes in the order of the plan."""

    target: str
    bench: str
    load: str
    metric: str
    unit: str
    gate: str
    modes: tuple[ModeView, ...]
    threshold_ns: int | None
    unsupported: tuple[Unsupported, ...]


@dataclass(frozen=True)
class TargetView:
    name: str
    facts: tuple[tuple[str, str], ...]
    virtual: str | None
    sections: tuple[Section, ...]
    unsupported: tuple[Unsupported, ...]
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]
    failure: Failure | None


@dataclass(frozen=True)
class View:
    """A whole execution. ``planned`` is the number of runs asked for, unsupported cells left out, if a plan says so."""

    path: Path
    campaign: str
    execution: str
    started: str
    version: str
    planned: int | None
    targets: tuple[TargetView, ...]
    modes: tuple[str, ...]
    warnings: tuple[str, ...]
    disabled: tuple[tuple[str, str], ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        return sum(self.states.values())

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        return tuple(each for target in self.targets for each in target.unsupported)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(each for target in self.targets for each in target.attempts)


def build_view(execution_dir: Path) -> View:
    """The view of one execution, finished or not. Broken files are named in ``warnings``; the rest is read.

    Raises :class:`~harness.errors.UserError` when ``execution_dir`` is no execution.
    """
    path = Path(execution_dir)
    if not is_execution(path):
        raise UserError(f"{path}: not an execution", advice="give results/<campaign>/<execution>")
    warnings: list[str] = []
    plan = _optional(path / "plan.json", warnings)
    cells = {str(cell["cell"]): cell for cell in _objects(plan.get("cells")) if "cell" in cell}
    attempts = [_attempt(document) for document in iter_attempts(path, warnings)]
    grouped: dict[str, dict[tuple[str, str, str], dict[str, list[Run]]]] = {}
    states: Counter[str] = Counter()
    newest: dict[str, Run] = {}
    meta: dict[str, str] = {}
    for run in iter_runs(path, warnings) if (path / "runs").exists() else ():
        states[run.state] += 1
        if run.target not in newest or _at(run.document, "results", 0, "cpu") is not None:
            newest[run.target] = run  # a pinned one, if there is any: it says where
        meta = meta or {key: str(run.document[key]) for key in ("campaign", "execution")}
        where = grouped.setdefault(run.target, {})
        for metric in dict.fromkeys(m["metric"] for m in run.metrics if m.get("kind") == "histogram"):
            key = (_bench(run), _load(run), str(metric))
            where.setdefault(key, {}).setdefault(run.cell, []).append(_slim(run))
    per_cell = _runs_per_cell(plan)
    lanes = {lane.stem: _optional(lane, warnings) for lane in sorted((path / "lanes").glob("*.json"))}
    names = list(dict.fromkeys([*_names(plan), *sorted([*grouped, *lanes, *(a.target for a in attempts)])]))
    targets = []
    unsupported_cells = 0
    for name in names:
        lane = lanes.get(name, {})
        unsupported = tuple(_unsupported(name, each) for each in _objects(lane.get("unsupported")))
        unsupported_cells += len(unsupported)
        own = tuple(attempt for attempt in attempts if attempt.target == name)
        sections = _sections(name, grouped.get(name, {}), cells, unsupported, own, per_cell)
        known = lane.get("facts")
        found: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
        last = newest[name].document if name in newest else {}
        virtual = found.get("virtual", _at(last, "identity", "virtual"))
        targets.append(
            TargetView(
                name=name,
                facts=facts.rows(found, last),
                virtual=None if virtual is None else str(virtual),
                sections=sections,
                unsupported=unsupported,
                attempts=own,
                notes=_notes(lane),
                failure=_failure(lane.get("failure")),
            )
        )
    modes = dict.fromkeys([*(_name(cell.get("mode")) for cell in cells.values()), *_seen_modes(targets)])
    return View(
        path=path,
        campaign=str(plan.get("campaign") or meta.get("campaign") or path.parent.name),
        execution=str(plan.get("execution") or meta.get("execution") or path.name),
        started=str(plan.get("started") or ""),
        version=str(plan.get("version") or ""),
        planned=None if per_cell is None else max(0, len(cells) - unsupported_cells) * per_cell,
        targets=tuple(targets),
        modes=tuple(modes),
        warnings=tuple(warnings),
        disabled=tuple((str(name), str(why)) for name, why in (_at(plan, "disabled") or {}).items()),
        states={state: states[state] for state in STATES},
    )


def _sections(
    target: str,
    groups: Mapping[tuple[str, str, str], Mapping[str, list[Run]]],
    cells: Mapping[str, Mapping[str, Any]],
    unsupported: tuple[Unsupported, ...],
    attempts: tuple[Attempt, ...],
    per_cell: int | None,
) -> tuple[Section, ...]:
    order = {cell: place for place, cell in enumerate(cells)}
    failed = Counter(attempt.run.rpartition("-r")[0] for attempt in attempts)
    sections = []
    for (bench, load, metric), by_cell in groups.items():
        modes = []
        for cell in sorted(by_cell, key=lambda cell: (order.get(cell, len(order)), cell)):
            modes.append(mode_view(by_cell[cell], metric, failed=failed[cell], planned=per_cell))
        sample = next(iter(by_cell.values()))[0]
        about = next(m for m in sample.metrics if m["metric"] == metric)
        threshold = _at(sample.document, "results", 0, "params", "threshold_ns")
        gate = about.get("gate")
        sections.append(
            Section(
                target=target,
                bench=bench,
                load=load,
                metric=metric,
                unit=str(about.get("unit", "ns")),
                gate=gate if gate in QUANTILES else "p99.99",
                modes=tuple(modes),
                threshold_ns=threshold if isinstance(threshold, int) else None,
                unsupported=tuple(each for each in unsupported if (each.bench, each.load) == (bench, load)),
            )
        )
    first = {name: place for place, name in enumerate(dict.fromkeys(_name(c.get("load")) for c in cells.values()))}
    return tuple(sorted(sections, key=lambda s: (s.bench, first.get(s.load, len(first)), s.load, s.metric)))


def mode_view(runs: Sequence[Run], metric: str, *, failed: int = 0, planned: int | None = None) -> ModeView:
    """The view of one cell's runs; for one run alone too."""
    views = tuple(sorted((run_view(run, metric) for run in runs), key=lambda view: (view.repeat, view.name)))
    basis = next((state for state in ("valid", "suspect") if any(view.state == state for view in views)), None)
    used = [view for view in views if view.state == basis]
    fewest = min((view.recorded for view in used), default=0)
    counts = [view.events for view in used]
    names = dict.fromkeys(name for view in used for name in view.scalars)
    scalars = {name: spread(view.scalars.get(name) for view in used) for name in names}
    mode = _at(runs[0].document, "spec", "mode")
    return ModeView(
        name=_name(mode),
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
        events=None if not counts or None in counts else sum(number for number in counts if number is not None),
        observed_s=sum(view.duration_s * max(1, len(view.cpus)) for view in used),
        reasons=_reasons(views),
    )


def run_view(run: Run, metric: str) -> RunView:
    """One run by its ``run.json`` alone. Of several CPUs the worst counts."""
    mine = [m for m in run.metrics if m["metric"] == metric and m.get("kind") == "histogram"]
    scalars: dict[str, float] = {}
    events: int | None = None
    for each in run.metrics:
        if each.get("kind") == "scalar" and _is_number(each.get("value")):
            name = str(each["metric"])
            scalars[name] = max(scalars.get(name, -math.inf), float(each["value"]))
            if name == "gap_rate_hz" and isinstance(each.get("count"), int):
                events = (events or 0) + int(each["count"])
    results = _objects(run.document.get("results"))
    repeat = run.document.get("repeat")
    return RunView(
        path=run.path,
        name=run.name,
        repeat=repeat if isinstance(repeat, int) else 0,
        state=run.state,
        cpus=tuple(each.get("cpu") for each in mine),
        recorded=min((int(each.get("recorded") or 0) for each in mine), default=0),
        overflow=sum(int(each.get("overflow") or 0) for each in mine),
        duration_s=max((_number(result.get("duration_ns")) or 0.0 for result in results), default=0.0) / 1e9,
        quantiles={name: _worst(_at(each, "quantiles", name) for each in mine) for name in QUANTILES},
        min=min((each["min"] for each in mine if isinstance(each.get("min"), int)), default=None),
        max=_worst(each.get("max") for each in mine),
        scalars=scalars,
        events=events,
        reasons=tuple(_objects(_at(run.document, "validity", "reasons"))),
        own_cost_ns=_number(_at(results, 0, "loop", "own_cost_ns")),
        granularity_ns=_number(_at(results, 0, "clock", "granularity_ns")),
    )


def _reasons(runs: Iterable[RunView]) -> tuple[Reason, ...]:
    """Each reason once, the worst and most frequent first."""
    seen: Counter[tuple[str, str, str, str]] = Counter()
    for run in runs:
        seen.update(sorted({(_of(r, "state"), _of(r, "rule"), _of(r, "text"), _of(r, "advice")) for r in run.reasons}))
    rank = {"invalid": 0, "suspect": 1}
    ordered = sorted(seen.items(), key=lambda item: (rank.get(item[0][0], 2), -item[1], item[0]))
    return tuple(Reason(*key, runs=number) for key, number in ordered)


def _slim(run: Run) -> Run:
    """The run without its facts (some 10 KB of JSON), so that thousands fit in memory."""
    return Run(run.path, {key: value for key, value in run.document.items() if not key.startswith("facts_")})


def _attempt(document: Mapping[str, Any]) -> Attempt:
    number = document.get("attempt")
    return Attempt(
        target=str(document["target"]),
        run=str(document["run"]),
        attempt=number if isinstance(number, int) else 0,
        fault=str(document["fault"]),
        reason=str(document["reason"]),
        advice=str(document.get("advice") or ""),
    )


def _unsupported(target: str, entry: Mapping[str, Any]) -> Unsupported:
    bench, mode, load = (_name(entry.get(key)) for key in ("bench", "mode", "load"))
    return Unsupported(target, bench, mode, load, str(entry.get("reason") or "no reason given"))


def _notes(lane: Mapping[str, Any]) -> tuple[str, ...]:
    found = [_at(lane, where, "notes") for where in ("contact", "placement")]
    return tuple(str(note) for notes in found if isinstance(notes, list) for note in notes)


def _failure(entry: object) -> Failure | None:
    if not isinstance(entry, Mapping):
        return None
    return Failure(_of(entry, "fault"), _of(entry, "message"), _of(entry, "advice"))


def _runs_per_cell(plan: Mapping[str, Any]) -> int | None:
    config = plan.get("config")
    if not isinstance(config, Mapping):
        return None
    numbers = [config.get(key, 1) for key in ("repeat", "sessions")]
    return math.prod(number if isinstance(number, int) else 1 for number in numbers)


def _optional(path: Path, warnings: list[str]) -> dict[str, Any]:
    """A file that an execution may well lack; a damaged one is named."""
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except BrokenResult as error:
        warnings.append(str(error))
        return {}


def _names(plan: Mapping[str, Any]) -> list[str]:
    targets = plan.get("targets")
    return [str(name) for name in targets] if isinstance(targets, list) else []


def _seen_modes(targets: Iterable[TargetView]) -> list[str]:
    return [mode.name for target in targets for section in target.sections for mode in section.modes]


def _name(value: object) -> str:
    """A bench's, mode's or load's name, stated as such or inside an object."""
    return str(value.get("name", "?")) if isinstance(value, Mapping) else str(value)


def _detail(mode: object) -> str:
    if not isinstance(mode, Mapping):
        return ""
    return " × ".join(str(mode[key]) for key in ("where", "sched", "hold") if mode.get(key) not in (None, "none"))


def _bench(run: Run) -> str:
    return _name(_at(run.document, "spec", "bench"))


def _load(run: Run) -> str:
    return _name(_at(run.document, "spec", "load"))


def _at(value: Any, *path: str | int) -> Any:
    """``value[a][b]…``, or ``None`` as soon as there is nothing of that kind."""
    for key in path:
        if isinstance(key, str) and isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, (list, tuple)) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _of(entry: Mapping[str, Any], key: str) -> str:
    return str(entry.get(key) or "")


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _worst(values: Iterable[Any]) -> int | None:
    return max((value for value in values if isinstance(value, int)), default=None)
