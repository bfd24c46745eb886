# SPDX-License-Identifier: Apache-2.0
"""What the plots show, as numbers: percentile curves at fixed points, their spread over runs, and densities. Pure.

x of a percentile curve is in nines, ``-log10(1 - p)``, as HdrHistogram plots have it: each step to the right is one
nine more, and the tail, which is what isolation is about, gets most of the room. A curve is kept at :data:`GRID` alone
and ends at its exact maximum, so a run of a thousand million values takes some hundred bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store.hdr import Counts, Ints

#: Points in nines: ten for each, the nines themselves and the median (0.301) exactly.
GRID: tuple[float, ...] = tuple(sorted([*(step / 10 for step in range(101)), math.log10(2)]))
_SHARES = np.array([10.0**-nines for nines in GRID])
#: Densities have this many bins for each decade of the value.
PER_DECADE = 10
_BINS = 12 * PER_DECADE

Steps = list[int]


@dataclass(frozen=True, eq=False)
class Curve:
    """One histogram: its values (ns) at the first points of :data:`GRID`, as far as its ``total`` samples reach."""

    total: int
    maximum: int
    values: Ints


@dataclass(frozen=True, eq=False)
class Spread:
    """Curves of several runs: at each point the median over runs (the worse of two) and the range.

    ``reach`` is where they end, in nines; ``ends`` are the median and the range of the exact maxima.
    """

    reach: float
    median: Ints
    low: Ints
    high: Ints
    ends: tuple[int, int, int]
    runs: int


@dataclass(frozen=True)
class Scale:
    """What the axes cover, the same for all plots of a metric so that they can be laid beside each other."""

    decades: float  # x, in nines
    low: float  # y, ns
    high: float


def curve_of(counts: Counts, exact_max: int | None) -> Curve | None:
    """The curve of a histogram; ``None`` of an empty one."""
    total = counts.total
    if total == 0:
        return None
    tops = counts.geometry.bounds[1]
    maximum = int(tops[int(np.flatnonzero(counts.counts)[-1])]) if exact_max is None else exact_max
    reach = reach_of(total)
    # How many may lie above; a hair more, for 0.001 as a binary fraction times 1000 is not quite 1.
    above = np.floor(_SHARES[: _points(reach)] * total * (1 + 1e-12)).astype(np.int64)
    places = np.searchsorted(counts.cumulative, np.maximum(1, total - above))
    return Curve(total, maximum, np.minimum(tops[places], maximum))


def worst_of(curves: Sequence[Curve]) -> Curve | None:
    """One curve for the CPUs of a run: at each point the worst of them, as in the tables."""
    if len(curves) < 2:
        return curves[0] if curves else None
    points = min(len(each.values) for each in curves)
    values = np.max([each.values[:points] for each in curves], axis=0)
    return Curve(min(each.total for each in curves), max(each.maximum for each in curves), values)


def over_runs(curves: Sequence[Curve]) -> Spread | None:
    """The median and the range over runs. A run that ends before the others stays at its maximum."""
    if not curves:
        return None
    middle = len(curves) // 2
    reach = reach_of(sorted(each.total for each in curves)[(len(curves) - 1) // 2])
    points = _points(reach)
    rows = np.array([_to_length(each, points) for each in curves])
    rows.sort(axis=0)
    ends = sorted(each.maximum for each in curves)
    return Spread(reach, rows[middle], rows[0], rows[-1], (ends[middle], ends[0], ends[-1]), len(curves))


def reach_of(total: int) -> float:
    """How many nines ``total`` samples can tell: 1,000 tell three."""
    return min(GRID[-1], math.log10(max(1, total)))


def _points(reach: float) -> int:
    return int(np.searchsorted(GRID, reach + 1e-9, side="right"))


def _to_length(curve: Curve, points: int) -> Ints:
    values = np.full(points, curve.maximum, dtype=np.int64)
    known = min(points, len(curve.values))
    values[:known] = curve.values[:known]
    return values


def steps(values: Iterable[int]) -> Steps:
    """A curve as what changes: place in :data:`GRID` and value, in turns. Most of a curve is flat."""
    found: Steps = []
    for place, value in enumerate(values):
        if not found or value != found[-1]:
            found += [place, int(value)]
    return found


def spread_json(spread: Spread) -> dict[str, Any]:
    """For the page: ``mid``, and ``low`` and ``high`` where there are several runs, each as :func:`steps`."""
    found: dict[str, Any] = {
        "reach": round(spread.reach, 4),
        "points": len(spread.median),
        "mid": steps(spread.median.tolist()),
        "ends": list(spread.ends),
    }
    if spread.runs > 1:
        found.update(low=steps(spread.low.tolist()), high=steps(spread.high.tolist()))
    return found


def curve_json(curve: Curve) -> dict[str, Any]:
    """For the page: a single run's, in the shape of :func:`spread_json`."""
    return {
        "reach": round(reach_of(curve.total), 4),
        "points": len(curve.values),
        "mid": steps(curve.values.tolist()),
        "ends": [curve.maximum] * 3,
    }


def density_of(counts: Counts) -> NDArray[np.int64]:
    """How many values lie in each bin of a tenth of a decade, from 1 ns on (shape ``(120,)``)."""
    filled = np.flatnonzero(counts.counts)
    low, high = (bound[filled].astype(np.float64) for bound in counts.geometry.bounds)
    middle = np.sqrt(np.maximum(1.0, low) * np.maximum(1.0, high))
    bins = np.minimum(_BINS - 1, np.floor(np.log10(middle) * PER_DECADE + 1e-9)).astype(np.int64)
    found = np.zeros(_BINS, dtype=np.int64)
    np.add.at(found, bins, counts.counts[filled])
    return found


def density_json(counts: NDArray[np.int64], seconds: float) -> dict[str, Any] | None:
    """For the page: the ``first`` bin that has any, and from there on values per second and bin, to three digits."""
    filled = np.flatnonzero(counts)
    if len(filled) == 0 or seconds <= 0:
        return None
    first, last = int(filled[0]), int(filled[-1])
    rates = [float(f"{number / seconds:.3g}") for number in counts[first : last + 1].tolist()]
    return {"first": first, "rates": [int(rate) if rate == int(rate) else rate for rate in rates]}


def scale_of(extents: Sequence[tuple[int, int, int]]) -> Scale:
    """The scale for curves of (smallest value, largest value, samples); values below 1 ns count as 1."""
    low = max(1, min((extent[0] for extent in extents), default=1))
    high = max(10, max((extent[1] for extent in extents), default=10))
    samples = max((extent[2] for extent in extents), default=10)
    return Scale(max(1.0, reach_of(samples)), _below(low), _above(high))


def scale_json(scale: Scale) -> Mapping[str, float]:
    return {"decades": round(scale.decades, 4), "low": scale.low, "high": scale.high}


def _below(value: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is clearly below."""
    size = 10.0 ** math.floor(math.log10(value))
    return next((factor * size for factor in (5, 2, 1) if factor * size <= value / 1.1), size / 2)


def _above(value: float) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    return next((factor * size for factor in (2, 5, 10) if factor * size >= value * 1.1), size * 20)
