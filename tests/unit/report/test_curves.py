# SPDX-License-Identifier: Apache-2.0
"""Curves as numbers: a kept point is the histogram's quantile, over runs it is median and range, densities add up."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import curves
from harness.report.curves import GRID, Curve, Scale, curve_of, density_json, density_of, over_runs, scale_of, steps
from harness.store.hdr import GEOMETRY, Counts


def histogram(*pairs: tuple[int, int]) -> Counts:
    counts = np.zeros(GEOMETRY.length, dtype=np.int64)
    for value, count in pairs:
        counts[GEOMETRY.index(value)] += count
    return Counts(GEOMETRY, counts)


HISTOGRAMS = st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**6)), min_size=1, max_size=30)


def unsteps(flat: list[int], points: int) -> list[int]:
    """As the page's script reads them."""
    values: list[int] = []
    for place, value in zip(flat[::2], flat[1::2], strict=True):
        values += [values[-1]] * (place - len(values)) if values else []
        values.append(value)
    return values + [values[-1]] * (points - len(values))


@given(HISTOGRAMS)
def test_at_each_nine_a_curve_is_the_histograms_quantile(pairs):
    counts, longest = histogram(*pairs), max(value for value, _ in pairs)
    curve = curve_of(counts, longest)
    for place, value in enumerate(curve.values.tolist()):
        nines = GRID[place]
        if nines == int(nines):
            assert value == counts.value_at(1 - Fraction(1, 10 ** int(nines)), longest)
    assert curve.values.tolist() == sorted(curve.values.tolist())
    assert int(curve.values[-1]) <= curve.maximum == longest


def test_the_median_is_a_point_and_the_curve_ends_with_its_samples():
    curve = curve_of(histogram((40, 500), (400, 499), (5000, 1)), 5000)
    values = dict(zip(GRID, curve.values.tolist(), strict=False))
    assert values[math.log10(2)] == 40
    assert max(values) == 3.0
    assert values[3.0] == int(GEOMETRY.bounds[1][GEOMETRY.index(400)])  # 999 of 1,000 are no longer
    assert curve.maximum == 5000


def test_nothing_recorded_is_no_curve():
    assert curve_of(histogram(), None) is None
    assert over_runs([]) is None


@given(st.lists(HISTOGRAMS, min_size=1, max_size=6))
def test_over_runs_it_is_the_worse_median_and_the_range(several):
    found = [curve_of(histogram(*pairs), max(v for v, _ in pairs)) for pairs in several]
    spread = over_runs(found)
    middle = len(found) // 2
    maxima = sorted(curve.maximum for curve in found)
    assert spread.ends == (maxima[middle], maxima[0], maxima[-1])
    for place in range(min(len(curve.values) for curve in [*found, spread_as_curve(spread)])):
        at = sorted(int(curve.values[place]) for curve in found)
        assert [int(row[place]) for row in (spread.median, spread.low, spread.high)] == [at[middle], at[0], at[-1]]


def spread_as_curve(spread):
    return Curve(1, 1, spread.median)


def test_a_run_that_ends_early_stays_at_its_maximum():
    short, long = curve_of(histogram((50, 10)), 50), curve_of(histogram((40, 99_999), (700, 1)), 700)
    spread = over_runs([short, long, long])
    assert int(spread.low[GRID.index(5.0)]) == 40
    assert int(spread.high[GRID.index(2.0)]) == 50


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40))
def test_steps_lose_nothing(values):
    assert unsteps(steps(values), len(values)) == values


def test_a_flat_curve_is_two_numbers():
    assert steps([40] * 90) == [0, 40]


@given(HISTOGRAMS)
def test_a_density_has_every_value_once(pairs):
    counts = histogram(*pairs)
    assert int(density_of(counts).sum()) == counts.total


def test_a_density_is_a_rate_in_its_tenth_of_a_decade():
    found = density_json(density_of(histogram((1_100, 500), (1_500, 1))), 10.0)
    assert found == {"first": 30, "rates": [50, 0.1]}
    assert density_json(density_of(histogram()), 10.0) is None


def test_the_scale_covers_all_with_round_ends():
    assert scale_of([(32, 2_342_911, 10**8), (41, 118, 10**9)]) == Scale(9.0, 20.0, 5_000_000.0)
    assert scale_of([]).high > scale_of([]).low
    assert scale_of([(0, 0, 0)]).low > 0


@given(st.integers(1, 10**10), st.integers(0, 10**10))
def test_the_scale_has_room_for_what_it_covers(low, more):
    found = scale_of([(low, low + more, 10)])
    assert found.low < low
    assert found.high > low + more


def test_of_several_cpus_the_worst_counts():
    one, other = curve_of(histogram((40, 1000)), 40), curve_of(histogram((30, 990), (900, 10)), 900)
    worst = curves.worst_of([one, other])
    assert (worst.maximum, int(worst.values[0])) == (900, 40)
    assert int(worst.values[GRID.index(3.0)]) == 900
    assert worst.values.tolist() == pytest.approx(np.maximum(one.values, other.values).tolist())
