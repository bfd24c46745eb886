# SPDX-License-Identifier: Apache-2.0
"""Events over time: thinned, the longest stay, and what is left out is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.moments import BINS, TICKS, longest_by_class, longest_per_part, parse, thin
from harness.stats.causes import CLASSES

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "cpu": st.sampled_from([1, 2, 0, None]),
            "at_ns": st.integers(0, 10**9),
            "gap_ns": st.integers(1, 10**6),
        }
    )
)


def lines(events, *, separators=(",", ":")):
    return "".join(json.dumps(event, separators=separators) + "\n" for event in events).encode()


@given(EVENTS)
def test_the_longest_of_each_part_stays_and_all_are_counted(events):
    found = thin(parse(lines(events), "gap_ns"), 10**9, [1, 2])
    measured = [event for event in events if event["cpu"] in (1, 2)]
    assert found.seen == len(measured)
    assert len(found.all) <= 2 * BINS
    for cpu in (1, 2):
        own = [event for event in measured if event["cpu"] == cpu]
        kept = found.kept[str(cpu)].tolist() if str(cpu) in found.kept else []
        longest = {}
        for event in own:
            part = min(TICKS - 1, int(event["at_ns"] * (TICKS / 10**9))) * BINS // TICKS
            longest[part] = max(longest.get(part, 0), event["gap_ns"])
        assert {tick * BINS // TICKS: value for tick, value in kept} == longest
        assert [tick for tick, _ in kept] == sorted(tick for tick, _ in kept)


CLASSED = st.tuples(st.integers(0, 999), st.integers(1, 350), st.sampled_from([*CLASSES, "new", None]))


@given(st.lists(CLASSED, max_size=6))
def test_of_each_class_the_longest_of_each_part_stays(events):
    """One that reaches into further parts is in those too."""
    made = [
        {"cpu": 1, "at_ns": at, "gap_ns": length, **({"class": class_} if class_ else {}), "cause": "task:x"}
        for at, length, class_ in events
    ]
    for text in (lines(made), lines(made, separators=(", ", ": "))):
        found = longest_by_class(parse(text, "gap_ns"), 1000, 1, 10)
        longest: dict[tuple[int, int], int] = {}
        for at, length, class_ in events:
            if class_ in CLASSES:
                for part in range(at // 100, min(9, (at + length) // 100) + 1):
                    key = (part, CLASSES.index(class_))
                    longest[key] = max(longest.get(key, 0), length)
        assert [tuple(row) for row in found.tolist()] == [(*key, longest[key]) for key in sorted(longest)]
        assert longest_by_class(parse(text, "gap_ns"), 1000, 2, 10).shape == (0, 3)


def test_a_list_that_lies_costs_no_more_than_it_is_long():
    made = [{"cpu": 1, "at_ns": 0, "gap_ns": 10**9, "class": "interrupt"}] * 1000
    found = longest_by_class(parse(lines(made), "gap_ns"), 10**9, 1, 160)
    assert found.tolist() == [[0, 0, 10**9]]


@given(EVENTS)
def test_it_does_not_matter_how_the_json_is_written(events):
    """As the probes write it, with other spaces, in another order, with more in it."""
    plain = parse(lines(events), "gap_ns")
    turned = [{"cause": "ipi 3", **dict(reversed(event.items())), "class": "interrupt"} for event in events]
    for text in (lines(events, separators=(", ", ": ")), lines(turned)):
        other = parse(text, "gap_ns")
        for one, two in ((plain.cpu, other.cpu), (plain.at, other.at), (plain.length, other.length)):
            assert one.tolist() == two.tolist()


def test_a_task_that_is_not_pinned_has_events_too():
    found = thin(parse(b'{"cpu":null,"at_ns":5,"gap_ns":9}\n', "gap_ns"), 10, [None])
    assert {cpu: kept.tolist() for cpu, kept in found.kept.items()} == {"any": [[5000, 9]]}


def test_what_has_no_time_or_length_is_passed_over():
    text = lines([{"cpu": 1}, {"cpu": 1, "at_ns": "x", "gap_ns": 1}, {"cpu": 1, "at_ns": 1, "gap_ns": True}, 7])
    assert parse(text + b'{"cpu":1,"at_ns":1,"gap_ns":3}\n', "gap_ns").length.tolist() == [3]


def test_what_is_no_json_is_an_error():
    with pytest.raises(ValueError, match="line 1"):
        parse(b'{"cpu":1,"at_ns":1,"gap_ns":3}\n{"cpu":1,"at_n', "gap_ns")


RUNS = st.lists(st.lists(st.tuples(st.integers(0, TICKS - 1), st.integers(1, 10**6)), max_size=40), max_size=5)


@given(RUNS)
def test_of_several_runs_no_part_is_left_empty_and_there_is_room(several):
    kept = longest_per_part([np.array(own, dtype=np.int64).reshape(-1, 2) for own in several], 2 * BINS)
    every = [(tick, value, run) for run, own in enumerate(several) for tick, value in own]
    assert len(kept) <= 2 * BINS
    assert set(kept) <= set(every)
    assert kept == sorted(kept)
    for part in {tick * BINS // TICKS for tick, _, _ in every}:
        longest = max(value for tick, value, _ in every if tick * BINS // TICKS == part)
        assert longest in {value for tick, value, _ in kept if tick * BINS // TICKS == part}
