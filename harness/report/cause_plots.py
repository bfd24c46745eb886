# SPDX-License-Identifier: Apache-2.0
"""The pictures of causes as SVG paths: gaps over the time of a run, coloured by class, and a histogram a cause. Pure.

A bar is a line as wide as the style sheet says, in the middle of its unit.

They are drawn here, not by the page's script, so that they are there without scripts as well, and their size is bounded
however many gaps there are: a column of a timeline has a bar for each class at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..stats.causes import CLASSES, Causes, Row
from .causes import PER_DECADE
from .timelines import PARTS, Timeline
from .units import setting

#: Of a timeline: height, and room above the uppermost line (pixels; across, a part of the time is one unit).
HEIGHT, TOP = 132, 6
#: Of a histogram: a bar is one unit wide, and as high at most.
BAR_HEIGHT = 18
_MARKS_X = 4


@dataclass(frozen=True)
class Axis:
    """Lengths from ``low`` to ``high``, powers of ten (ns)."""

    low: int
    high: int

    def share(self, value_ns: float) -> float:
        """Where a length lies on it, 0 to 1."""
        return min(1.0, max(0.0, math.log10(max(1.0, value_ns) / self.low) / math.log10(self.high / self.low)))

    @property
    def decades(self) -> list[int]:
        return [10**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]


@dataclass(frozen=True)
class TimePlot:
    """``paths``: for each class that came its bars, ``parts`` wide. ``labels`` are (y, text) of decades,
    where ``lines`` go across.
    """

    timeline: Timeline
    parts: int
    paths: tuple[tuple[str, str], ...]
    lines: str
    labels: tuple[tuple[int, str], ...]
    times: tuple[str, ...]


def axis_of(found: Iterable[Causes]) -> Axis:
    """One for all pictures that are to be compared by eye."""
    lows = [row.buckets[0][0] for causes in found for row in causes.rows if row.buckets]
    highs = [row.max_ns for causes in found for row in causes.rows]
    low = 10 ** math.floor(math.log10(max(1, min(lows, default=1000))))
    high = 10 ** math.ceil(math.log10(max(low * 100, max(highs, default=1))))
    return Axis(low, high)


def time_plot(timeline: Timeline, axis: Axis, parts: int = PARTS) -> TimePlot:
    """In each of ``parts`` columns (at most :data:`PARTS`) the longest of each class, the shorter in front."""

    def y(length_ns: float) -> int:
        return round(HEIGHT - (HEIGHT - TOP) * axis.share(length_ns))

    columns: dict[int, dict[int, int]] = {}
    for part, class_, length in timeline.marks.tolist():
        own = columns.setdefault(part * parts // PARTS, {})
        own[class_] = max(own.get(class_, 0), length)
    drawn: dict[int, list[str]] = {}
    for part, own in sorted(columns.items()):
        below = HEIGHT
        for length, class_ in sorted((length, class_) for class_, length in own.items()):
            top = min(y(length), HEIGHT - 1)
            if top < below:
                drawn.setdefault(class_, []).append(f"M{part} {below}V{top}")
                below = top
    ends = (timeline.duration_ns * place / _MARKS_X for place in range(_MARKS_X + 1))
    return TimePlot(
        timeline,
        parts,
        tuple((CLASSES[class_], "".join(drawn[class_])) for class_ in sorted(drawn)),
        "".join(f"M0 {y(value)}h{parts}" for value in axis.decades),
        tuple((y(value), setting(value)) for value in axis.decades),
        tuple(setting(float(f"{end:.3g}")) if end else "0" for end in ends),
    )


def bars(row: Row, axis: Axis) -> str:
    """The histogram of a cause, its highest bar as high as there is room. A bar that there is can be seen."""
    first, last = _bar(axis.low), _bar(axis.high)
    heights = [0] * (last - first + 1)
    for low, count in row.buckets:
        heights[min(last, max(first, _bar(low))) - first] += count
    most = max(heights, default=0)
    return "".join(
        f"M{place} {BAR_HEIGHT}v-{max(1, round(BAR_HEIGHT * count / most))}"
        for place, count in enumerate(heights)
        if count
    )


def width(axis: Axis) -> int:
    """Of a histogram, in bars."""
    return _bar(axis.high) - _bar(axis.low) + 1


def _bar(low_ns: int) -> int:
    return round(PER_DECADE * math.log10(max(1, low_ns)))
