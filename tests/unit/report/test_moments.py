# SPDX-License-Identifier: Apache-2.0
"""Events over time: thinned, the longest stay, and what is left out is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report.moments import BINS, TICKS, longest_per_part, thin

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"cpu": st.sampled_from([1, 2, 0]), "at_ns": st.integers(0, 10**9), "gap_ns": st.integers(1, 10**6)}
    )
)


@given(EVENTS)
def test_the_longest_of_each_part_stays_and_all_are_counted(events):
    found = thin(events, "gap_ns", 10**9, [1, 2])
    measured = [event for event in events if event["cpu"] in (1, 2)]
    assert found.seen == len(measured)
    assert len(found.all) <= 2 * BINS
    for cpu in (1, 2):
        own = [event for event in measured if event["cpu"] == cpu]
        kept = found.kept.get(str(cpu), ())
        assert max((value for _, value in kept), default=0) == max((event["gap_ns"] for event in own), default=0)
        assert [tick for tick, _ in kept] == sorted(tick for tick, _ in kept)
        assert all(0 <= tick < TICKS for tick, _ in kept)


def test_a_task_that_is_not_pinned_has_events_too():
    assert thin([{"cpu": None, "at_ns": 5, "gap_ns": 9}], "gap_ns", 10, [None]).kept == {"any": ((5000, 9),)}


def test_what_has_no_time_is_passed_over():
    events = [
        {"cpu": 1},
        {"cpu": 1, "at_ns": "x", "gap_ns": 1},
        {"cpu": 1, "at_ns": 1, "gap_ns": True},
        {"cpu": 1, "at_ns": 1, "gap_ns": 3},
    ]
    assert thin(events, "gap_ns", 10, [1]).seen == 1


@given(st.lists(st.lists(st.tuples(st.integers(0, TICKS - 1), st.integers(1, 10**6)), max_size=40), max_size=5))
def test_of_several_runs_no_part_is_left_empty_and_there_is_room(several):
    kept = longest_per_part(several, 2 * BINS)
    every = [(tick, value, run) for run, own in enumerate(several) for tick, value in own]
    assert len(kept) <= 2 * BINS
    assert set(kept) <= set(every)
    assert kept == sorted(kept)
    parts = {tick * BINS // TICKS for tick, _, _ in every}
    assert {tick * BINS // TICKS for tick, _, _ in kept} == parts
    for part in parts:
        assert max(v for t, v, _ in every if t * BINS // TICKS == part) in {
            v for t, v, _ in kept if t * BINS // TICKS == part
        }
