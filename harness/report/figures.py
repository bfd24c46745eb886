# SPDX-License-Identifier: Apache-2.0
"""The plots of a page as data: sections and their runs in, JSON for the page's script out. Pure.

Runs are the unit: a line is the median over runs, the shade behind it their range. Samples are added up only for
densities, which are rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..store.record import CONTROL_PREFIX
from . import curves
from .curves import Scale
from .modes import MEASURED
from .moments import BINS, longest_per_part
from .rundata import RunCollection, RunData
from .units import printable, setting
from .view import ModeView, RunView, Section, View

#: Colours of the style sheet; further modes share them.
SLOTS = 8
#: Events drawn over time, in all plots of a page together; and in one line of a plot at least and at most.
EVENTS_DRAWN = 60_000
_FEWEST, _MOST = BINS, 10 * BINS
_NONE = np.zeros((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Series:
    """A line of the legend. ``dashed``: its numbers are of suspect runs."""

    name: str
    slot: int
    dashed: bool


@dataclass(frozen=True)
class Figure:
    """A section with its plots: ``data`` for the script, and in words what the plots leave out.

    Of its ``runs``, those whose histogram can be read are ``drawn``. Without plots (nothing recorded, or a metric that
    is no time) ``data`` is empty.
    """

    key: str
    section: Section
    series: tuple[Series, ...] = ()
    data: Mapping[str, Any] | None = None
    drawn: int = 0
    runs: int = 0
    events: str = ""
    thinned: str = ""


def figures_of(view: View, runs: RunCollection) -> dict[str, list[Figure]]:
    """The figures of each target, measured sections first."""
    slots = {name: place % SLOTS for place, name in enumerate(view.modes)}
    scales = scales_of(view)
    lines = sum(len(section.modes) for target in view.targets for section in target.sections)
    room = max(_FEWEST, min(_MOST, EVENTS_DRAWN // max(1, lines)))
    found: dict[str, list[Figure]] = {}
    number = 0
    for target in view.targets:
        own = found.setdefault(target.name, [])
        for section in (*target.sections, *target.controls):
            number += 1
            own.append(_figure(f"f{number}", section, slots, scales[axes_of(section)], runs, room))
    return found


def _figure(
    key: str, section: Section, slots: Mapping[str, int], scale: Scale, runs: RunCollection, room: int
) -> Figure:
    if section.unit != "ns":
        return Figure(key, section)
    lines: list[dict[str, Any]] = []
    legend: list[Series] = []
    seen = drawn = dropped = 0
    duration_ns = threshold_ns = None
    for mode in section.modes:
        own = [runs.runs[run.path] for run in mode.used if run.path in runs.runs]
        spread = curves.over_runs([worst for data in own if (worst := _worst(data, section))])
        if spread is None:
            continue
        line: dict[str, Any] = {
            "name": printable(mode.name),
            "slot": slots[mode.name],
            "dash": mode.basis != "valid",
            "runs": spread.runs,
            "curve": curves.spread_json(spread),
            "density": _density(mode, own, section),
        }
        if section.events:
            moments = [data.moments.get(section.role) for data in own]
            kept = longest_per_part([each.all if each else _NONE for each in moments], room)
            line["moments"] = [number for tick, value, place in kept for number in (tick, value, own[place].number)]
            seen += sum(each.seen for each in moments if each)
            drawn += len(kept)
            told = [data.events[section.role] for data in own if section.role in data.events]
            dropped += sum(each["dropped"] for each in told)
            duration_ns = max([duration_ns or 0, *(each["duration_ns"] for each in told)])
            threshold_ns = section.threshold_ns
        lines.append(line)
        legend.append(Series(mode.name, slots[mode.name], mode.basis != "valid"))
    used = sum(len(mode.used) for mode in section.modes)
    if not lines:
        return Figure(key, section, runs=used)
    events = events_of(section)
    data = {
        "metric": printable(section.metric),
        "sample": printable(section.sample),
        "scale": curves.scale_json(scale),
        "threshold": section.threshold_ns,
        "events": printable(events),
        "duration": duration_ns,
        "lines": lines,
    }
    thinned = _thinned(events, seen, drawn, dropped, threshold_ns)
    curved = sum(line["runs"] for line in lines)
    return Figure(key, section, tuple(legend), data, curved, used, events if drawn else "", thinned)


def events_of(section: Section) -> str:
    """What the probe keeps one by one, in the plural: ``gaps``, ``late wake-ups``."""
    if not section.events:
        return ""
    return section.events if section.events.endswith("s") else f"{section.events} {section.sample}s"


def _thinned(events: str, seen: int, drawn: int, dropped: int, threshold_ns: int | None) -> str:
    """What a plot of events over time shows of them, said so that nobody takes it for all."""
    if not seen:
        return ""
    over = f" over {setting(threshold_ns)}" if threshold_ns else ""
    noun = events if seen != 1 else events.removesuffix("s")
    parts = [f"{seen:,} {noun}{over}, all of them drawn"]
    if drawn < seen:
        parts = [f"{drawn:,} of {seen:,} {events}{over}: the longest of each 1/{BINS} of a run's time"]
    if dropped:
        parts.append(f"{dropped:,} more were counted by the probe and not kept")
    return "; ".join(parts)


def _worst(data: RunData, section: Section) -> curves.Curve | None:
    return curves.worst_of(data.curves(section.metric, section.role))


def _density(mode: ModeView, own: Sequence[RunData], section: Section) -> dict[str, Any] | None:
    key = (section.metric, section.role)
    known = [data.density[key] for data in own if key in data.density]
    return curves.density_json(np.sum(known, axis=0), mode.observed_s) if known else None


def axes_of(section: Section) -> str:
    """Whose axes a plot has: a control's are those of what it controls."""
    return section.metric.removeprefix(CONTROL_PREFIX)


def scales_of(view: View) -> dict[str, Scale]:
    """One scale for each metric: plots of one report can be compared by eye."""
    extents: dict[str, list[tuple[int, int, int]]] = {}
    for target in view.targets:
        for section in (*target.sections, *target.controls):
            own = extents.setdefault(axes_of(section), [])
            for mode in section.modes:
                own.extend((*_ends(run), run.recorded) for run in mode.used)
    return {metric: curves.scale_of(own) for metric, own in extents.items()}


def _ends(run: RunView) -> tuple[int, int]:
    """The values that a plot must reach. A clock that steps makes some intervals 0: not worth two decades of paper."""
    middle = run.quantiles.get("p50") or 1
    low = max(run.min or 0, 1 if middle == math.inf else int(middle) * 2 // 3, 1)
    return low, run.max if run.max is not None else max(10, low)


def side_by_side(view: View, figures: Mapping[str, Sequence[Figure]]) -> list[dict[str, Any]]:
    """What small plots can stand beside each other: of each bench and load a panel a target; of one target, a load.

    Each with its ``title`` and ``panels``, label and figure. Nothing where there would be but one panel.
    """
    alone = len(view.targets) == 1
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for target, own in figures.items():
        for figure in own:
            if figure.data is None:
                continue
            section = figure.section
            part = "" if section.role == MEASURED else f", {section.role}"
            title = f"{section.title}{part}" if alone else f"{section.title}{part}, load {section.load}"
            label = f"load {section.load}" if alone else target
            groups.setdefault((title, section.metric), []).append([printable(label), figure.key])
    return [
        {"title": printable(f"{title}: {metric}"), "panels": panels}
        for (title, metric), panels in groups.items()
        if len(panels) > 1
    ]


def by_boot(view: View, figures: Mapping[str, Sequence[Figure]]) -> list[list[dict[str, Any]]]:
    """Of each comparison of the view, in its order, the small plots: of each load the figures of what was booted.

    ``slot`` is the colour of a kernel and boot profile where they are lines of one plot.
    """
    found = []
    for target in view.targets:
        drawn = {
            (each.section.base, each.section.metric, each.section.load, each.section.booted): each
            for each in figures[target.name]
            if each.data is not None and each.section.role == MEASURED
        }
        for one in target.comparisons:
            groups = []
            for load in dict.fromkeys(row.load for row in one.rows):
                boots = [
                    {"name": " ".join(booted), "slot": place % SLOTS, "figure": figure.key}
                    for place, booted in enumerate(one.columns)
                    if (figure := drawn.get((one.title, one.metric, load, booted))) is not None
                ]
                if len(boots) > 1:
                    groups.append({"load": printable(load), "boots": boots})
            found.append(groups)
    return found
