# SPDX-License-Identifier: Apache-2.0
"""What every report shows, worked out once: an execution's folder in, a frozen view of it out.

Numbers are taken of the valid runs. Where a mode has none, its suspect ones are shown and marked so; invalid ones are
counted and explained, and never enter a number. A run gives one number per quantile (its worst CPU's), and over runs
there is the median and the range: runs are the unit, samples are never pooled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..agent.spec import event_lists
from ..errors import UserError
from ..stats.budgets import RunValue, judge, limits_of, values_of
from ..stats.quantiles import QUANTILES
from ..stats.variants import Variant, titles, variant_of_cell, variant_of_run
from ..store.documents import at, mapping, objects, whole
from ..store.eventlog import read_events
from ..store.files import BrokenResult
from ..store.runs import Run, is_execution, iter_attempts, iter_runs, read_json
from . import facts, lanes
from .booted import DEFAULT, Boots
from .caused import Caused
from .comparison import base_of, booted_of, columns_of, comparisons
from .modes import MEASURED, mode_view, name_of, rate_of, role_of
from .view import STATES, Attempt, Scalar, Section, TargetView, Unsupported, View

#: Of a run.json, and of a probe's result in it, what the view is made of.
_VIEWED = ("run", "target", "cell", "repeat", "metrics", "validity", "control", "interrupts")
#: A section of a target: bench variant, load, metric, role.
Key = tuple[Variant, str, str, str]
_RESULT = ("loop", "clock", "params", "duration_ns")


def build_view(execution_dir: Path, observe: Callable[[Run], None] | None = None) -> View:
    """The view of one execution, finished or not. Broken files are named in ``warnings``; the rest is read.

    ``observe`` is called with each run as it is read, whole; the view keeps but a part of it.

    Raises :class:`~harness.errors.UserError` when ``execution_dir`` is no execution.
    """
    path = Path(execution_dir)
    if not is_execution(path):
        raise UserError(f"{path}: not an execution", advice="give results/<campaign>/<execution>")
    warnings: list[str] = []
    plan = _optional(path / "plan.json", warnings)
    cells = {str(cell["cell"]): cell for cell in objects(plan.get("cells")) if "cell" in cell}
    attempts = []
    boots = Boots()
    for document in iter_attempts(path, warnings):
        attempts.append(_attempt(document))
        boots.lose(document)
    grouped: dict[str, dict[Key, dict[str, list[Run]]]] = {}
    caused = Caused()
    limits = limits_of(at(plan, "config", "budgets"))
    values: list[RunValue] = []
    states: Counter[str] = Counter()
    newest: dict[str, Run] = {}
    probes: dict[str, dict[object, str]] = {}
    meta: dict[str, str] = {}
    for run in iter_runs(path, warnings) if (path / "runs").exists() else ():
        states[run.state] += 1
        if observe is not None:
            observe(run)
        boots.add(run)
        if run.target not in newest or _knobs(run) >= _knobs(newest[run.target]):
            newest[run.target] = run  # the one that set most, to say what could be had
        ran = probes.setdefault(run.target, {})
        ran.setdefault(at(run.document, "spec", "probe", "sha256"), facts.probe(run.document))
        meta = meta or {key: str(run.document[key]) for key in ("campaign", "execution")}
        where = grouped.setdefault(run.target, {})
        values.extend(values_of(run, limits))
        caused.add(run)
        load, slim = name_of(run.document["spec"].get("load")), _slim(run)
        for metric, role in dict.fromkeys(
            (str(m["metric"]), role_of(m)) for m in run.metrics if m.get("kind") == "histogram"
        ):
            where.setdefault((variant_of_run(run), load, metric, role), {}).setdefault(run.cell, []).append(slim)
    seen = [key[0] for keys in grouped.values() for key in keys]
    variants = [*map(variant_of_cell, cells.values()), *seen]
    named = titles(variants, mapping(plan.get("benches")))
    bases = titles(map(base_of, variants), mapping(plan.get("benches")))
    booting = any(booted_of(variant) != DEFAULT for variant in variants)
    if booting:
        boots.read(read_events(path / "events.jsonl"))
    per_cell = _runs_per_cell(plan)
    documents = {lane.stem: _optional(lane, warnings) for lane in sorted((path / "lanes").glob("*.json"))}
    names = list(dict.fromkeys([*_names(plan), *sorted([*grouped, *documents, *(a.target for a in attempts)])]))
    targets = []
    unsupported_cells = 0
    for name in names:
        lane = documents.get(name, {})
        unsupported = tuple(lanes.unsupported(name, each, cells, named) for each in objects(lane.get("unsupported")))
        unsupported_cells += len(unsupported)
        own = tuple(attempt for attempt in attempts if attempt.target == name)
        known = lane.get("facts")
        found: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
        every = grouped.get(name, {})
        sections = _sections(name, every, cells, named, bases, unsupported, own, per_cell, caused, found)
        notes = lanes.notes(lane)
        if any("sudo asks for a password" in note for note in notes):
            sections = lanes.without_sudo(sections)
            own = tuple(replace(a, advice=lanes.allow_sudo(a.advice)) for a in own)
        last = newest[name].document if name in newest else {}
        known_machine = bool(found.get("arch") or at(last, "identity", "arch"))
        virtual = found.get("virtual", at(last, "identity", "virtual"))
        asked = {key: cell for key, cell in cells.items() if cell.get("target") == name}
        measured = tuple(section for section in sections if section.role == MEASURED)
        columns = columns_of(asked.values(), measured) if booting else ()
        targets.append(
            TargetView(
                name=name,
                facts=facts.rows(found, last, probes.get(name, {}).values(), booting=booting),
                virtual=None if virtual is None else str(virtual),
                metal=virtual is None and known_machine,
                sections=measured,
                controls=tuple(section for section in sections if section.role != MEASURED),
                unsupported=unsupported,
                attempts=own,
                notes=notes,
                failure=lanes.failure(lane.get("failure")),
                kernels=boots.kernels(name, columns),
                booted=boots.views(name, columns, _number(plan, "sessions")),
                comparisons=comparisons(
                    name,
                    measured,
                    columns,
                    asked,
                    bases,
                    lanes.by_cell(lane, unsupported),
                    own,
                    virtual=virtual is not None,
                ),
                power_cycles=boots.power_cycles(name),
                sensitivity=caused.sensitivity(name, path.parent.parent, warnings),
            )
        )
    modes = dict.fromkeys([*(name_of(cell.get("mode")) for cell in cells.values()), *_seen_modes(targets)])
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
        disabled=tuple((str(name), str(why)) for name, why in (at(plan, "disabled") or {}).items()),
        states={state: states[state] for state in STATES},
        budgets=judge(values, plan),
        benches=mapping(plan.get("benches")),
    )


def _sections(
    target: str,
    groups: Mapping[Key, Mapping[str, list[Run]]],
    cells: Mapping[str, Mapping[str, Any]],
    named: Mapping[Variant, str],
    bases: Mapping[Variant, str],
    unsupported: tuple[Unsupported, ...],
    attempts: tuple[Attempt, ...],
    per_cell: int | None,
    caused: Caused,
    facts: Mapping[str, Any],
) -> tuple[Section, ...]:
    order = {cell: place for place, cell in enumerate(cells)}
    failed = Counter(attempt.run.rpartition("-r")[0] for attempt in attempts)
    sections = []
    for (variant, load, metric, role), by_cell in groups.items():
        modes = []
        for cell in sorted(by_cell, key=lambda cell: (order.get(cell, len(order)), cell)):
            sums = caused.sums(target, cell)
            modes.append(mode_view(by_cell[cell], metric, role, failed=failed[cell], planned=per_cell, causes=sums))
        sample = next(iter(by_cell.values()))[0]
        about = next(m for m in sample.metrics if (m["metric"], role_of(m)) == (metric, role))
        events, threshold = _events(sample, role)
        gate = about.get("gate")
        sections.append(
            Section(
                target=target,
                bench=variant.bench,
                title=named[variant],
                load=load,
                metric=metric,
                unit=str(about.get("unit", "ns")),
                gate=gate if gate in QUANTILES else "p99.99",
                modes=tuple(modes),
                sample=str(about.get("sample") or "value"),
                events=events,
                threshold_ns=threshold,
                scalars=_scalars(sample, metric, role),
                duration_ns=variant.duration_ns,
                settle_ns=variant.settle_ns,
                unsupported=tuple(each for each in unsupported if (each.bench, each.load) == (named[variant], load)),
                role=role,
                base=bases[base_of(variant)],
                booted=booted_of(variant),
                advised=caused.advised(target, modes, facts, events == "late") if role == MEASURED else (),
            )
        )
    first = {name: place for place, name in enumerate(dict.fromkeys(name_of(c.get("load")) for c in cells.values()))}
    titled = {title: place for place, title in enumerate(dict.fromkeys(named.values()))}
    return tuple(sorted(sections, key=lambda s: (titled[s.title], first.get(s.load, len(first)), s.load, s.metric)))


def _events(run: Run, role: str) -> tuple[str | None, int | None]:
    """What the probe counts (``gaps``, ``late``), by the name of its list of them, and from what length on."""
    result = at(run.document, "results", 0) if role == MEASURED else run.control.get("result")
    for name, events in event_lists(result or {}):
        return name, whole(events.get("threshold_ns"))
    return None, None


def _scalars(run: Run, metric: str, role: str) -> tuple[Scalar, ...]:
    """The columns beside the quantiles: what is better when lower, the rate of events excepted, which has its own."""
    found = {}
    for each in run.metrics:
        name, unit = str(each["metric"]), str(each.get("unit", ""))
        if role_of(each) != role:
            continue
        if each.get("kind") == "scalar" and each.get("better") != "higher" and name != rate_of(run, role):
            own = metric.rpartition(".")[2].rpartition("_")[0]  # of control.gap_ns: gap
            label = name.rpartition(".")[2].removesuffix(f"_{unit}").removeprefix(f"{own}_")
            found[name] = Scalar(name, label.replace("_", " "), unit)
    return tuple(found.values())


def _slim(run: Run) -> Run:
    """The run with what the view is made of and no more (1 of some 20 KB), so that ten thousand fit in memory."""
    document = {key: run.document[key] for key in _VIEWED if key in run.document}
    results = [_slim_result(each) for each in objects(run.document.get("results"))]
    for each in objects([run.control.get("result")]):
        document["control"] = {**run.control, "result": _slim_result(each)}
    return Run(run.path, {**document, "spec": {"mode": at(run.document, "spec", "mode")}, "results": results})


def _slim_result(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: result[key] for key in _RESULT if key in result},
        "detail": {"periods": at(result, "detail", "periods")},
        **dict(event_lists(result)),
    }


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


def _knobs(run: Run) -> int:
    return len(objects(run.document.get("knobs")))


def _runs_per_cell(plan: Mapping[str, Any]) -> int | None:
    if not isinstance(plan.get("config"), Mapping):
        return None
    return math.prod(_number(plan, key) for key in ("repeat", "sessions"))


def _number(plan: Mapping[str, Any], key: str) -> int:
    """What a campaign says ``key`` times of; once, where it says nothing."""
    number = at(plan, "config", key)
    return number if isinstance(number, int) else 1


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
