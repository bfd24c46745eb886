# SPDX-License-Identifier: Apache-2.0
"""The plot's geometry: where a percentile lies, that the staircase is the histogram, that labels can be read."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import chart
from harness.report.chart import Curve, Scale, draw, hover, percent, scale_of, staircase
from harness.report.html import render
from harness.store.hdr import GEOMETRY, Counts

from . import fake_execution as fake


def histogram(*pairs: tuple[int, int]) -> Counts:
    counts = np.zeros(GEOMETRY.length, dtype=np.int64)
    for value, count in pairs:
        counts[GEOMETRY.index(value)] += count
    return Counts(GEOMETRY, counts)


def curve(name: str, *pairs: tuple[int, int], slot: int = 0) -> Curve:
    return Curve(name, slot, histogram(*pairs), max(value for value, _ in pairs))


SCALE = Scale(decades=4, low=10.0, high=100_000.0)
identity = float


def points(path: str) -> list[tuple[str, list[float]]]:
    return [(kind, [float(n) for n in numbers.split()]) for kind, numbers in re.findall(r"([MHV])([^MHV]+)", path)]


def test_a_step_for_each_bucket():
    """900 of 40, 90 of 400, 10 of 5000: the curve leaves 40 at 90 %, 400 at 99 %, and ends at 1 in 1000."""
    path = staircase(histogram((40, 900), (400, 90), (5000, 10)), 5000, lambda d: 100 * d, identity)
    top = int(GEOMETRY.bounds[1][GEOMETRY.index(400)])
    assert points(path) == [
        ("M", [0, 40]), ("H", [100]), ("V", [top]), ("H", [200]), ("V", [5000]), ("H", [300]),
    ]  # fmt: skip


def test_the_curve_ends_at_the_exact_maximum_whatever_is_left_out():
    values = [(1000 + 8 * i, 1) for i in range(2000)]
    path = points(staircase(histogram(*values), values[-1][0], lambda d: 2 * d, identity))
    assert path[-2:] == [("V", [values[-1][0]]), ("H", [pytest.approx(2 * math.log10(2000), abs=0.05)])]
    assert len(path) < 40  # 2,000 values on 6 pixels are not 2,000 steps


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**6)), min_size=1, max_size=30))
def test_a_percentile_curve_never_falls(pairs):
    path = points(staircase(histogram(*pairs), max(v for v, _ in pairs), lambda d: 100 * d, identity))
    for kind in "HV":
        numbers = [values[0] for each, values in path if each == kind]
        assert numbers == sorted(numbers)


def test_axes_say_nines_and_decades():
    found = draw([curve("a", (40, 10_000))], SCALE, width=960, height=400)
    width = found.right - found.left
    labels = {tick.label: tick.at for tick in found.x_ticks}
    assert labels["90 %"] == pytest.approx(found.left + width / 4, abs=0.1)
    assert labels["99.99 %"] == found.right
    assert [tick.label for tick in found.y_ticks] == ["10 ns", "100 ns", "1 µs", "10 µs", "100 µs"]
    assert (found.y_ticks[0].at, found.y_ticks[-1].at) == (found.bottom, found.top)
    assert [percent(n) for n in range(5)] == ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]


@pytest.mark.parametrize(("width", "narrow"), [(960, False), (380, True)])
@pytest.mark.parametrize("decades", [1.0, 3.3, 9.0, 12.0])
def test_tick_labels_do_not_lie_on_each_other(width, narrow, decades):
    found = draw([curve("a", (40, 100))], Scale(decades, 10.0, 1e9), width=width, height=300, narrow=narrow)
    ticks = [tick for tick in found.x_ticks if tick.label]
    for left, right in pairwise(ticks):
        assert right.at - left.at >= 3 * (len(left.label) + len(right.label))


def test_names_at_the_ends_are_moved_apart_and_stay_inside():
    found = draw([curve(f"m{i}", (40 + i, 1000), slot=i) for i in range(8)], SCALE, width=960, height=400)
    at = sorted(line.label_y for line in found.lines)
    assert all(later - earlier >= 14.9 for earlier, later in pairwise(at))
    assert at[0] >= found.top
    assert at[-1] <= found.bottom


def test_the_threshold_is_a_line_where_it_can_be_seen():
    seen = draw([curve("a", (40, 10))], SCALE, width=960, height=400, threshold_ns=1000, events="gaps")
    assert seen.threshold.label == "gaps: over 1 µs"
    assert seen.threshold.at == pytest.approx((seen.top + seen.bottom) / 2, abs=0.1)
    assert draw([curve("a", (40, 10))], SCALE, width=960, height=400, threshold_ns=5).threshold is None


def test_a_narrow_plot_leaves_out_single_runs_and_names():
    both = Curve("a", 0, histogram((40, 20)), 40, [(histogram((40, 10)), 40)] * 2)
    wide, narrow = (draw([both], SCALE, width=960, height=400, narrow=n) for n in (False, True))
    assert (len(wide.lines[0].light), wide.labelled) == (2, True)
    assert (len(narrow.lines[0].light), narrow.labelled) == (0, False)


@pytest.mark.parametrize("name", ["fifo", "pinned-fifo50", "a-mode-of-thirty-and-a-few-letters"])
def test_a_name_at_a_curves_end_has_room(name):
    found = draw([curve(name, (40, 1000))], SCALE, width=960, height=400)
    assert found.labelled
    assert found.right + 10 + 7.5 * len(name) <= found.width


def test_a_name_too_long_for_a_label_leaves_the_plot_its_room():
    found = draw([curve("m" * 64, (40, 1000))], SCALE, width=960, height=400)
    assert (found.labelled, found.right) == (False, 946)


def test_the_scale_covers_all_with_round_ends():
    assert scale_of([(32, 2_342_911, 10**8), (41, 118, 10**9)]) == Scale(9.0, 20.0, 5_000_000.0)
    assert scale_of([]).high > scale_of([]).low
    assert scale_of([(0, 0, 0)]).low > 0


@given(st.integers(1, 10**10), st.integers(0, 10**10))
def test_the_scale_has_room_for_what_it_covers(low, more):
    found = scale_of([(low, low + more, 10)])
    assert found.low < low
    assert found.high > low + more


def test_a_clock_that_steps_does_not_cost_two_decades(tmp_path):
    counts = np.zeros(GEOMETRY.length, dtype=np.int64)
    counts[[0, 40, GEOMETRY.index(9_000)]] = 5, 10**6, 3
    fake.simple_run(tmp_path, histogram=Counts(GEOMETRY, counts))
    assert ">100 ns</text>" in render(tmp_path)
    assert ">10 ns</text>" not in render(tmp_path)


def test_hovering_tells_the_histogram():
    one = curve("a", (40, 9_000), (400, 900), (5000, 100))
    found = hover([one], Scale(5.0, 10.0, 1e5))
    (series,) = found["series"]
    assert len(series["values"]) == chart.GRID
    for step, value in enumerate(series["values"]):
        decades = 5.0 * step / (chart.GRID - 1)
        if decades > 4 + 1e-9:
            assert value is None
        else:
            assert value == one.merged.value_at(1 - Fraction(10.0**-decades), 5000)
