# SPDX-License-Identifier: Apache-2.0
"""The percentile plot as geometry: histograms in, SVG coordinates and texts out. Pure; the template draws it.

x is 1/(1-p) on a log axis, as HdrHistogram plots have it: each step to the right is one nine more, and the tail,
which is what isolation is about, gets most of the room. y is the value on a log axis. An HDR curve is a staircase and
is drawn as one: nothing is interpolated.

Why no plotting library: measured with bokeh's inline resources, a page of four plots has 1.7 MB, one of 24 has 4 MB and
takes 2 s to draw; it shows nothing without scripts, and needs a policy that allows any inline script. As SVG a plot is
some 30 KB, is there with scripts off (CI servers switch them off), follows light and dark, and prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..store.hdr import Counts
from .units import setting

#: From decades (x) or ns (y) to SVG units.
Axis = Callable[[float], float]

#: Steps of x for which the page knows the values, for hovering.
GRID = 161
#: Two points nearer than this (in SVG units, about a pixel) are one.
_FINE = 0.7
_LABEL_GAP = 15.0
#: Names at the ends of the curves: the widest letters of the page's font, and how many of them leave room for a plot.
_LETTER = 8.2
_LONGEST_LABEL = 36


@dataclass(frozen=True)
class Curve:
    """One line: ``exact_max`` ends it, ``light`` are the single runs behind it. ``slot`` is its colour, 0..7."""

    name: str
    slot: int
    merged: Counts
    exact_max: int
    light: Sequence[tuple[Counts, int]] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Scale:
    """What the axes cover, the same for all plots of a metric so that they can be laid beside each other."""

    decades: float  # x: log10 of the largest number of samples
    low: float  # y, ns
    high: float


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Line:
    name: str
    slot: int
    dashed: bool
    path: str
    light: tuple[str, ...]
    end_x: float
    end_y: float
    label_y: float


@dataclass(frozen=True)
class Chart:
    """One size of a plot. ``left``, ``right``, ``top``, ``bottom`` bound the plotting area in SVG units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    labelled: bool
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    minor: tuple[float, ...]
    threshold: Tick | None
    lines: tuple[Line, ...]


def scale_of(extents: Sequence[tuple[int, int, int]]) -> Scale:
    """The scale for curves of (smallest value, largest value, samples); values below 1 ns count as 1."""
    low = max(1, min((extent[0] for extent in extents), default=1))
    high = max(10, max((extent[1] for extent in extents), default=10))
    samples = max((extent[2] for extent in extents), default=10)
    return Scale(max(1.0, math.log10(max(1, samples))), _below(low), _above(high))


def draw(
    curves: Sequence[Curve],
    scale: Scale,
    *,
    width: int,
    height: int,
    threshold_ns: int | None = None,
    events: str | None = None,
    narrow: bool = False,
) -> Chart:
    """Lay out one plot. ``narrow`` leaves out names at the curves' ends, single runs and every other label."""
    longest = max((len(curve.name) for curve in curves), default=0)
    labelled = not narrow and longest <= _LONGEST_LABEL  # the legend has them all
    left, top = 64, 14
    right, bottom = width - (max(96, round(24 + _LETTER * longest)) if labelled else 14), height - 44

    def x(decades: float) -> float:
        return left + (right - left) * min(1.0, decades / scale.decades)

    span = math.log10(scale.high / scale.low)

    def y(value: float) -> float:
        return bottom - (bottom - top) * math.log10(max(scale.low, value) / scale.low) / span

    def path(counts: Counts, exact_max: int) -> str:
        return staircase(counts, exact_max, x, y)

    lines = []
    for curve in curves:
        if curve.merged.total == 0:
            continue
        end_x, end_y = x(math.log10(curve.merged.total)), y(curve.exact_max)
        light = () if narrow else tuple(path(counts, exact) for counts, exact in curve.light if counts.total)
        own = path(curve.merged, curve.exact_max)
        lines.append(Line(curve.name, curve.slot, curve.dashed, own, light, _r(end_x), _r(end_y), end_y))
    threshold = None
    if threshold_ns is not None and scale.low < threshold_ns < scale.high:
        threshold = Tick(_r(y(threshold_ns)), f"{events or 'threshold'}: over {setting(threshold_ns)}")
    return Chart(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        labelled=labelled,
        x_ticks=_x_ticks(scale, x, 40 if narrow else 56),
        y_ticks=_y_ticks(scale, y),
        minor=tuple(_r(y(value)) for value in _minor(scale)),
        threshold=threshold,
        lines=_spread_labels(lines, top, bottom),
    )


def staircase(counts: Counts, exact_max: int, x: Axis, y: Axis) -> str:
    """The SVG path of a percentile curve, without what no eye could see. It ends at the exact maximum."""
    filled = np.flatnonzero(counts.counts)
    total = counts.total
    tops = np.minimum(counts.geometry.bounds[1][filled], exact_max).tolist()
    above = (total - counts.cumulative[filled]).tolist()
    drawn = x(0.0)
    parts = [f"M{_t(drawn)} {_t(y(tops[0]))}"]
    for place, (value, rest) in enumerate(zip(tops, above, strict=True)):
        last = place == len(tops) - 1
        reach = x(math.log10(total)) if last else x(math.log10(total / rest))
        if reach - drawn < _FINE and not last:
            continue
        if place:
            parts.append(f"V{_t(y(value))}")
        parts.append(f"H{_t(reach)}")
        drawn = reach
    return "".join(parts)


def hover(curves: Sequence[Curve], scale: Scale) -> dict[str, object]:
    """What the page's script needs to say the values under the pointer: at GRID steps of x, ``null`` beyond a curve."""
    steps = [scale.decades * step / (GRID - 1) for step in range(GRID)]
    series = []
    for curve in curves:
        reach = math.log10(curve.merged.total) if curve.merged.total else -1.0
        values = [
            curve.merged.value_at(1 - Fraction(10.0**-step), curve.exact_max) if step <= reach + 1e-9 else None
            for step in steps
        ]
        series.append({"name": curve.name, "slot": curve.slot, "values": values})
    return {"decades": round(scale.decades, 6), "low": scale.low, "high": scale.high, "series": series}


def percent(nines: int) -> str:
    """0 → 0 %, 1 → 90 %, 2 → 99 %, 5 → 99.999 %."""
    if nines < 2:
        return ("0 %", "90 %")[nines]
    return f"99.{'9' * (nines - 2)} %" if nines > 2 else "99 %"


def _x_ticks(scale: Scale, x: Axis, room: float) -> tuple[Tick, ...]:
    """A tick for each nine; labels only where there is room for them (long ones need more)."""
    ticks = [Tick(_r(x(0)), "0 %")]
    candidates = [(math.log10(2), "50 %")] + [(float(n), percent(n)) for n in range(1, math.floor(scale.decades) + 1)]
    edge = x(0) + 18
    for decades, label in candidates:
        at, half = x(decades), max(room * 0.5, 3.4 * len(label))
        shown = at - half >= edge
        ticks.append(Tick(_r(at), label if shown else ""))
        edge = at + half if shown else edge
    return tuple(ticks)


def _y_ticks(scale: Scale, y: Axis) -> tuple[Tick, ...]:
    first, last = math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9)
    return tuple(Tick(_r(y(10.0**n)), setting(10.0**n)) for n in range(first, last + 1))


def _minor(scale: Scale) -> list[float]:
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    values = [factor * 10.0**n for n in range(first, last) for factor in (2, 5)]
    return [value for value in values if scale.low < value < scale.high]


def _spread_labels(lines: Sequence[Line], top: float, bottom: float) -> tuple[Line, ...]:
    """Names at the curves' ends, moved apart where they would lie on each other."""
    order = sorted(range(len(lines)), key=lambda place: (lines[place].label_y, place))
    placed: dict[int, float] = {}
    floor = top + 4.0
    for place in order:
        placed[place] = max(lines[place].label_y, floor)
        floor = placed[place] + _LABEL_GAP
    ceiling = bottom - 2.0
    for place in reversed(order):
        placed[place] = min(placed[place], ceiling)
        ceiling = placed[place] - _LABEL_GAP
    return tuple(
        Line(line.name, line.slot, line.dashed, line.path, line.light, line.end_x, line.end_y, _r(placed[place]))
        for place, line in enumerate(lines)
    )


def _below(value: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is clearly below."""
    size = 10.0 ** math.floor(math.log10(value))
    return next((factor * size for factor in (5, 2, 1) if factor * size <= value / 1.1), size / 2)


def _above(value: float) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    return next((factor * size for factor in (2, 5, 10) if factor * size >= value * 1.1), size * 20)


def _r(value: float) -> float:
    return round(value, 1)


def _t(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
