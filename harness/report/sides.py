# SPDX-License-Identifier: Apache-2.0
"""Two executions beside each other: what both measured, cell by cell, and what else changed between them. Pure.

A cell's id is made of what was asked, so cells of one id are the same measurement; everything else is not compared, and
is named. Medians, ranges, their ratios, and causes: no judgement of significance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .comparison import compared_cell
from .kernel_view import Booted
from .units import setting
from .view import ComparedRow, Comparison, ModeView, Section, TargetView, View

#: What the two are called, as a name of either is too wide for a column.
COLUMNS = (("", "first"), ("", "second"))
#: Of a machine, what says nothing about how it measures.
_IGNORED = ("Measured on", "Probe")

_Cells = dict[tuple[str, str], tuple[Section, ModeView]]


@dataclass(frozen=True)
class Apart:
    """Cells that only one side has. ``instead``: what the other measured of the same mode and load, by title, where it
    has another one; ``differ``: else what it measured otherwise, the first side's before the second's.
    """

    title: str
    mode: str
    load: str
    side: int
    instead: str
    differ: str = ""


@dataclass(frozen=True)
class TargetSides:
    """``changed``: label, what it was on the first side, and on the second."""

    name: str
    virtual: bool
    changed: tuple[tuple[str, str, str], ...]
    comparisons: tuple[Comparison, ...]
    apart: tuple[Apart, ...]


@dataclass(frozen=True)
class Sides:
    """``names``: campaign and execution of each. ``only``: targets of one side alone, with its place."""

    names: tuple[Booted, Booted]
    targets: tuple[TargetSides, ...]
    only: tuple[tuple[str, int], ...]


def sides_of(first: View, second: View) -> Sides:
    names = (first.campaign, first.execution), (second.campaign, second.execution)
    ours, theirs = ({target.name: target for target in view.targets} for view in (first, second))
    both = [name for name in ours if name in theirs]
    only = [(name, 0) for name in ours if name not in theirs] + [(name, 1) for name in theirs if name not in ours]
    return Sides(names, tuple(_target(ours[name], theirs[name]) for name in both), tuple(only))


def _target(first: TargetView, second: TargetView) -> TargetSides:
    ours, theirs = (_cells(each.sections) for each in (first, second))
    virtual = first.virtual is not None
    rows: dict[tuple[str, str], list[ComparedRow]] = {}
    about: dict[tuple[str, str], Section] = {}
    for key, (section, mode) in ours.items():
        if key not in theirs:
            continue
        place = (section.title, section.metric)
        about.setdefault(place, section)
        cells = (compared_cell(section, mode, None, virtual), compared_cell(*theirs[key], mode, virtual))
        rows.setdefault(place, []).append(ComparedRow(mode.name, section.load, cells))
    comparisons = tuple(
        Comparison(first.name, title, metric, about[title, metric].unit, about[title, metric].gate, COLUMNS, tuple(own))
        for (title, metric), own in rows.items()
    )
    apart = [*_apart(ours, theirs, 0), *_apart(theirs, ours, 1)]
    return TargetSides(first.name, virtual, _changed(first, second), comparisons, tuple(apart))


def _cells(sections: Iterable[Section]) -> _Cells:
    return {(mode.cell, section.metric): (section, mode) for section in sections for mode in section.modes}


def _apart(own: _Cells, other: _Cells, side: int) -> Iterable[Apart]:
    """Each cell once, however many metrics it has."""
    others = {cell for cell, _ in other}
    alike: dict[tuple[str, str, str, Booted], dict[str, Section]] = {}
    for section, mode in other.values():
        alike.setdefault((section.bench, mode.name, section.load, section.booted), {}).setdefault(
            section.title, section
        )
    for cell, (section, mode) in {cell: found for (cell, _), found in own.items()}.items():
        if cell not in others:
            known = alike.get((section.bench, mode.name, section.load, section.booted), {})
            same = known.get(section.title)
            instead = next(iter(known), "") if same is None else ""
            differ = "" if same is None else _differ(*((section, same) if not side else (same, section)))
            yield Apart(section.title, mode.name, section.load, side, instead, differ)


def _differ(first: Section, second: Section) -> str:
    """What two cells of one name were told otherwise."""
    counted = first.events != "slow"  # of work the threshold is found, and not asked for
    thresholds = (first.threshold_ns, second.threshold_ns) if counted else (None, None)
    parts = [
        f"{label} {' | '.join('not known' if each is None else setting(each) for each in values)}"
        for label, values in (
            ("duration", (first.duration_ns, second.duration_ns)),
            ("settle", (first.settle_ns, second.settle_ns)),
            ("threshold", thresholds),
        )
        if values[0] != values[1]
    ]
    return ", ".join(parts) or "other parameters, or another mode or load of that name: see their plan.json"


def _changed(first: TargetView, second: TargetView) -> tuple[tuple[str, str, str], ...]:
    before: Mapping[str, str] = dict(first.facts)
    after: Mapping[str, str] = dict(second.facts)
    return tuple(
        (label, before.get(label, "not known"), after.get(label, "not known"))
        for label in dict.fromkeys([*before, *after])
        if label not in _IGNORED and before.get(label) != after.get(label)
    )
