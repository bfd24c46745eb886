# SPDX-License-Identifier: Apache-2.0
"""The loop of `gap`, the probe's own code, over a synthetic counter: what is fed in is found, all of it and exactly."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from harness import build

GHZ = 10**9
HIGHEST = 10_000_000_000


@pytest.fixture(scope="module")
def tool() -> Path:
    return build.build_program("tests/selftest.c", build.native_arch()).path


def feed(tool, readings, *, hz=GHZ, threshold=1000, ring=1000, digits=2):
    argv = [tool, "feed", str(hz), str(threshold), str(ring), str(digits)]
    text = " ".join(map(str, readings))
    return json.loads(subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout)


def readings_of(intervals, start=10**12):
    return list(itertools.accumulate(intervals, initial=start))


intervals = st.one_of(
    st.integers(0, 40), st.integers(0, 600), st.integers(900, 1100), st.integers(0, 10**7), st.integers(0, HIGHEST + 10)
)


@pytest.mark.parametrize("digits", [2, 3])
@given(steps=st.lists(intervals, min_size=1, max_size=300).filter(lambda s: s[-1] > 0))
def test_intervals_are_contiguous_and_each_is_recorded(tool, digits, steps):
    readings = readings_of(steps)
    got = feed(tool, readings, digits=digits)
    histogram = HdrHistogram(1, HIGHEST, digits)
    beyond = sum(not histogram.record_value(step) for step in steps if step <= HIGHEST)
    assert beyond == 0
    assert got["counts"] == [[i, n] for i, n in enumerate(histogram.counts) if n]
    assert got["overflow"] == sum(step > HIGHEST for step in steps)
    assert got["iterations"] == len(steps) == got["recorded"] + got["overflow"]
    assert (got["first"], got["last"]) == (readings[0], readings[-1])
    assert (got["min"], got["max"]) == (min(steps), max(steps))


@pytest.mark.parametrize("threshold", [50, 255, 256, 257, 1000, 2048, 50_000])
@given(steps=st.lists(intervals, min_size=1, max_size=300).filter(lambda s: s[-1] > 0))
def test_gaps_are_found_at_their_time_with_their_length(tool, threshold, steps):
    readings = readings_of(steps)
    got = feed(tool, readings, threshold=threshold)
    expected = [[at, step] for at, step in zip(readings, steps, strict=False) if step >= threshold]
    assert got["ring"] == expected
    assert got["gaps"] == len(expected)
    assert got["gap_units"] == sum(length for _, length in expected)
    # The longest stretch without one, both ends of the run included.
    edges = [readings[0], *(edge for at, length in expected for edge in (at, at + length)), readings[-1]]
    assert got["quiet_units"] == max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True))


def test_the_sum_of_small_intervals_and_gaps_is_the_duration(tool):
    steps = [10, 10, 20, 5000, 1, 9, 0, 10, 12345, 10]
    got = feed(tool, readings_of(steps))
    small = sum(index * count for index, count in got["counts"] if index < 256)
    assert small + got["gap_units"] == got["last"] - got["first"] == sum(steps)


def test_what_follows_a_gap_at_once_is_a_gap_of_its_own(tool):
    """The slow path is within the next interval: two events in a row are two, and nothing lies between."""
    got = feed(tool, readings_of([10, 5000, 7000, 10]), threshold=1000)
    (at, length), (next_at, next_length) = got["ring"]
    assert (length, next_length) == (5000, 7000)
    assert at + length == next_at


@given(
    steps=st.lists(st.integers(1000, 9000), min_size=1, max_size=60),
    ring=st.integers(1, 40),
)
def test_a_full_ring_keeps_the_beginning_and_counts_the_rest(tool, steps, ring):
    readings = readings_of(steps)
    got = feed(tool, readings, ring=ring)
    assert got["ring"] == [[at, step] for at, step in zip(readings, steps, strict=False)][:ring]
    assert got["ring_dropped"] == max(0, len(steps) - ring)
    assert got["gaps"] == len(steps)
    assert got["gap_units"] == sum(steps)


@given(steps=st.lists(st.integers(-5000, 5000), min_size=2, max_size=200))
def test_a_counter_that_goes_backwards_is_counted(tool, steps):
    readings = readings_of(steps)
    readings.append(max(readings) + 10)
    got = feed(tool, readings)
    taken = [b - a for a, b in itertools.pairwise(readings)]
    assert got["negative"] == sum(step < 0 for step in taken)
    assert got["recorded"] == sum(step >= 0 for step in taken)
    assert got["iterations"] == len(taken)
    assert got["ring"] == [[at, step] for at, step in zip(readings, taken, strict=False) if step >= 1000]
    assert got["min"] == min(step for step in taken if step >= 0)
    assert got["max"] == max(step for step in taken if step >= 0)


def test_no_gap_is_a_good_result(tool):
    got = feed(tool, readings_of([10] * 1000), threshold=10**10)
    assert (got["gaps"], got["ring"], got["quiet_units"]) == (0, [], 10_000)
    assert got["counts"] == [[10, 1000]]
    assert (got["min"], got["max"]) == (10, 10)


def test_nothing_but_overflow(tool):
    got = feed(tool, readings_of([HIGHEST + 1, HIGHEST + 5]), threshold=10**10)
    assert (got["recorded"], got["overflow"]) == (0, 2)
    assert (got["min"], got["max"]) == (HIGHEST + 1, HIGHEST + 5)
    assert got["gaps"] == 2


@pytest.mark.parametrize("hz", [24_000_000, 62_500_000, 2_596_145_832, 5_000_000_000])
@given(steps=st.lists(st.integers(0, 10**7), min_size=1, max_size=100).filter(lambda s: s[-1] > 0))
def test_the_hot_path_and_the_slow_path_convert_alike(tool, hz, steps):
    got = feed(tool, readings_of(steps), hz=hz)
    mult = int(1e9 / hz * 2.0**40 + 0.5)
    histogram = HdrHistogram(1, HIGHEST, 2)
    ns = [(step * mult + 2**39) >> 40 for step in steps]
    for value in ns:
        histogram.record_value(value)
    assert got["counts"] == [[i, n] for i, n in enumerate(histogram.counts) if n]
    assert (got["min"], got["max"]) == (min(ns), max(ns))
    assert [length for _, length in got["ring"]] == [s for s, v in zip(steps, ns, strict=True) if v >= 1000]


def test_the_counter_may_wrap(tool):
    start = 2**64 - 5000
    readings = [(start + at) % 2**64 for at in readings_of([10, 4000, 2000, 10], start=0)]
    argv = [tool, "feed", str(GHZ), "1000", "10", "2"]
    done = subprocess.run(argv, input=" ".join(map(str, readings)), capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    assert [length for _, length in got["ring"]] == [4000, 2000]
    assert (got["iterations"], got["negative"]) == (4, 0)
