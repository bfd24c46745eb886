# SPDX-License-Identifier: Apache-2.0
"""The cells: targets × benches × modes × loads, less what ``include`` does not name and what ``exclude`` names."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.bench import Bench
from ..config.campaign import BenchUse, Campaign, Selector
from ..config.inventory import Target
from ..config.yaml import Loc
from ..errors import Bug, PlanError
from .cells import Booted, Cell, asked, cell_id, load_key, mode_key
from .select import match_targets, no_target


@dataclass(frozen=True, slots=True)
class _Filter:
    """A selector, worked out: the names that it takes on each axis, None for all."""

    target: frozenset[str] | None
    bench: frozenset[str] | None
    mode: frozenset[str] | None
    load: frozenset[str] | None
    kernel: frozenset[str] | None
    boot: frozenset[str] | None

    def takes(self, target: str, bench: str, mode: str, load: str, booted: Booted) -> bool:
        return (
            (self.target is None or target in self.target)
            and (self.bench is None or bench in self.bench)
            and (self.mode is None or mode in self.mode)
            and (self.load is None or load in self.load)
            and (self.kernel is None or booted.kernel in self.kernel)
            and (self.boot is None or booted.boot in self.boot)
        )


def build_cells(
    campaign: Campaign, targets: Sequence[str], known: Mapping[str, Target], benches: Mapping[str, Bench]
) -> tuple[list[Cell], int]:
    """The cells, target by target in the order given, and how many the filters took away."""
    _check_names(campaign, benches)
    include = _filters("include", campaign.include, campaign, known)
    exclude = _filters("exclude", campaign.exclude, campaign, known)
    options = [(use, benches[use.bench].options(use.params)) for use in campaign.benches]
    axes = campaign.axes
    booted = [Booted(kernel, boot) for kernel in axes.kernels for boot in axes.profiles]
    points = [
        (each, use, opts, mode, load)
        for each in booted
        for use, opts in options
        for mode in axes.mode
        for load in axes.load
    ]
    cells: list[Cell] = []
    not_included = 0
    excluded = [0] * len(exclude)
    for target in targets:
        for each, use, opts, mode, load in points:
            names = (target, use.bench, mode.name, load.name, each)
            bench = benches[use.bench]
            attribution = "perf" if bench.attributes == "always" else campaign.attribution
            if include and not any(one.takes(*names) for one in include):
                not_included += 1
                continue
            by = next((index for index, one in enumerate(exclude) if one.takes(*names)), None)
            if by is not None:
                excluded[by] += 1
                continue
            what = asked(
                target=target,
                bench=use.bench,
                params=use.params,
                mode=mode,
                load=load,
                settle_ns=campaign.settle_ns,
                duration_ns=campaign.duration_ns,
                cpus=campaign.cpus,
                control=campaign.control,
                attribution=attribution,
                tune=campaign.tune,
                kernel=each.kernel,
                boot=each.boot,
            )
            cells.append(
                Cell(
                    id=cell_id(use.bench, mode.name, load.name, what),
                    target=target,
                    bench=use.bench,
                    params=opts,
                    mode=mode,
                    load=load,
                    settle_ns=campaign.settle_ns,
                    duration_ns=campaign.duration_ns,
                    cpus=campaign.cpus,
                    control=campaign.control,
                    attribution=attribution,
                    tune=tuple(sorted(campaign.tune)),
                    helper=bench.helper,
                    polls=bench.polls,
                    attributes=bool(bench.attributes),
                    kernel=each.kernel,
                    boot=each.boot,
                )
            )
    if not cells:
        nothing = _emptied(len(targets) * len(points), not_included, excluded)
        raise PlanError(campaign.problem(("exclude",) if any(excluded) else ("include",), nothing))
    if len({cell.id for cell in cells}) != len(cells):
        raise Bug("two cells have one id")
    return cells, not_included + sum(excluded)


def idle_excludes(campaign: Campaign, targets: Sequence[str], known: Mapping[str, Target]) -> list[int]:
    """The places of the selectors of ``exclude`` that take nothing away on ``targets``."""
    axes = campaign.axes
    names = [
        (target, use.bench, mode.name, load.name, Booted(kernel, boot))
        for target in targets
        for kernel in axes.kernels
        for boot in axes.profiles
        for use in campaign.benches
        for mode in axes.mode
        for load in axes.load
    ]
    exclude = _filters("exclude", campaign.exclude, campaign, known)
    return [index for index, each in enumerate(exclude) if not any(each.takes(*name) for name in names)]


def _emptied(total: int, not_included: int, excluded: Sequence[int]) -> str:
    parts = [f"include leaves out {not_included}"] if not_included else []
    parts += [f"exclude[{index}] takes {count}" for index, count in enumerate(excluded) if count]
    return f"nothing is left of {total} cell{'' if total == 1 else 's'}: " + ", ".join(parts)


def _filters(
    kind: str, selectors: Iterable[Selector], campaign: Campaign, known: Mapping[str, Target]
) -> list[_Filter]:
    axes = {
        "bench": [use.bench for use in campaign.benches],
        "mode": [mode.name for mode in campaign.axes.mode],
        "load": [load.name for load in campaign.axes.load],
        "kernel": list(campaign.axes.kernels),
        "boot": list(campaign.axes.profiles),
    }
    filters: list[_Filter] = []
    problems: list[str] = []
    for index, selector in enumerate(selectors):
        chosen: dict[str, frozenset[str] | None] = {"target": None}
        if selector.target is not None:
            names: set[str] = set()
            for place, pattern in enumerate(selector.target):
                found = match_targets(pattern, known)
                names.update(found)
                if not found:
                    problems.append(campaign.problem((kind, index, "target", place), no_target(pattern, known)))
            chosen["target"] = frozenset(names)
        for axis, values in axes.items():
            patterns = getattr(selector, axis)
            chosen[axis] = None if patterns is None else _matching(values, patterns)
        filters.append(_Filter(**chosen))
    if problems:
        raise PlanError("\n".join(problems))
    return filters


def _matching(values: Iterable[str], patterns: Iterable[str]) -> frozenset[str]:
    return frozenset(value for value in values for pattern in patterns if fnmatch.fnmatchcase(value, pattern))


def _check_names(campaign: Campaign, benches: Mapping[str, Bench]) -> None:
    """Two values of an axis that ask for the same are two names for one cell."""
    named: dict[Loc, list[tuple[str, Any]]] = {
        ("axes", "mode"): [(mode.name, mode_key(mode)) for mode in campaign.axes.mode],
        ("axes", "load"): [(load.name, load_key(load)) for load in campaign.axes.load],
        ("benches",): [(_bench_text(use, benches), [use.bench, use.params]) for use in campaign.benches],
    }
    problems = [
        campaign.problem((*loc, index), what) for loc, values in named.items() for index, what in _twice(values)
    ]
    if problems:
        raise PlanError("\n".join(problems))


def _twice(values: Iterable[tuple[str, Any]]) -> list[tuple[int, str]]:
    """The place of each value that an earlier one has named already, and what to say of it."""
    seen: dict[str, str] = {}
    problems: list[tuple[int, str]] = []
    for index, (name, key) in enumerate(values):
        canonical = json.dumps(key, sort_keys=True)
        if canonical in seen:
            problems.append((index, f"{seen[canonical]!r} and {name!r} are two names for one cell"))
        seen.setdefault(canonical, name)
    return problems


def _bench_text(use: BenchUse, benches: Mapping[str, Bench]) -> str:
    params = benches[use.bench].params
    shown = ", ".join(f"{name}: {params[name].option(value)}" for name, value in use.params.items())
    return f"{use.bench} {{{shown}}}" if shown else use.bench
