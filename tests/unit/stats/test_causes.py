# SPDX-License-Identifier: Apache-2.0
"""Causes over runs add up to what the probes said, and two sides compare by the second, whatever their length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.causes import Instruments, Mismatch, beside, of_results, total

TICK, TIMER = "hrtimer:tick_nohz_handler", "vector:local_timer"


def cause(name: str | None, stolen_ns: int, count: int = 1, entry: str | None = TIMER, **more) -> dict:
    class_ = "interrupt" if entry else "unexplained"
    return {
        "class": class_, "entry": entry, "cause": name, "count": count, "stolen_ns": stolen_ns,
        "max_ns": stolen_ns, "buckets": [[1000, count]], **more,
    }  # fmt: skip


def told(*causes: dict, level: str = "tracepoints", holds: bool | None = True, **more) -> dict:
    return {
        "requested": "perf", "level": level, "reason": None, "scope": "cpu", "causes": list(causes),
        "conservation": {"holds": holds, "rows": {}, "unseen": {}}, **more,
    }  # fmt: skip


def test_a_cause_of_several_runs_is_one_row_and_the_most_stolen_time_comes_first():
    work = cause("work:vmstat_update", 500, 2, buckets=[[200, 1], [300, 1]])
    again = cause("work:vmstat_update", 900, 3, buckets=[[300, 2], [500, 1]])
    causes = total([told(cause(TICK, 1000, 4), work), told(again)], [1.0, 3.0])
    first, second = causes.rows
    assert (first.name, first.count, first.stolen_ns, first.max_ns, first.runs) == (
        "work:vmstat_update",
        5,
        1400,
        900,
        2,
    )
    assert first.buckets == ((200, 1), (300, 3), (500, 1))
    assert (first.per_s.low, first.per_s.high) == (300, 500)
    assert (second.name, second.runs) == (TICK, 1)
    assert second.per_s.low == 0  # a run without it counts
    assert causes.observed_s == 4
    assert causes.share(second.stolen_ns) == pytest.approx(1000 / 2400)
    assert causes.rate_hz(second.count) == 1
    assert (causes.classes["interrupt"].stolen_ns, causes.classes["syscall"].count) == (2400, 0)


def test_one_cause_by_two_entries_is_two_and_an_interrupt_that_moved_is_one():
    both = total([told(cause("task:find", 1), cause("task:find", 1, entry="vector:reschedule"))])
    assert len(both.rows) == 2
    moved = total([told(cause("irq:eth0", 1, irq=33)), told(cause("irq:eth0", 1, irq=36))])
    assert [(row.count, row.irq) for row in moved.rows] == [(2, None)]


def test_what_is_not_conserved_anywhere_is_said_with_its_rows():
    rows = {"LOC": {"events": 10, "edge": 1, "interrupts": 14}, "RES": {"events": 2, "edge": 1, "interrupts": 3}}
    bad = told(conservation={"holds": False, "rows": rows, "unseen": {"TRM": 2, "MCP": 0}})
    causes = total([told(), bad, bad])
    assert causes.conserved is False
    assert causes.wrong == (Mismatch("LOC", 20, 22, 28),)
    assert causes.unseen == {"TRM": 4}
    assert total([told(), told()]).conserved is True
    assert total([told(), told(holds=None)]).conserved is None
    assert total([]).conserved is None


def test_the_level_is_the_least_of_them_and_what_could_not_look_has_no_time():
    blind = {"requested": "perf", "level": "nothing", "reason": "perf_event_paranoid is 3"}
    causes = total([told(cause(TICK, 5)), blind], [1.0, 1.0])
    assert (causes.level, causes.levels) == ("nothing", {"nothing": 1, "tracepoints": 1})
    assert causes.reasons == ("perf_event_paranoid is 3",)
    assert causes.observed_s == 1
    assert total([]).level == "nothing"


def test_losses_and_events_outside_every_gap_add_up():
    ring, placed = {"lost": 1, "missing": 2, "unknown": 3}, {"inside": 90, "outside": 5}
    one = told(ring=ring, placed=placed, gaps_dropped=4, tracer="function")
    lost = total([one, one]).lost
    assert (lost.records, lost.missing, lost.unknown, lost.gaps, lost.outside, lost.events) == (2, 4, 6, 8, 10, 190)
    assert total([one]).tracers == ("the tracer function",)


def test_what_looking_took_is_added_up_of_those_that_say_so():
    said = {"events": 10, "cost_ns": 3400.0, "interrupts": {"own": 1, "wakeups": None}, "opened_by_others": None}
    causes = total([told(instruments=said, steal_ns=5), told(instruments=said, steal_ns=None), told()])
    assert causes.instruments == Instruments(events=20, cost_ns=6800.0, own=2)
    assert (causes.steal_ns, total([told()]).steal_ns, total([told()]).instruments) == (5, None, None)


def test_sides_of_different_length_compare_by_the_second_the_most_changed_first():
    before = total([told(cause(TICK, 1000, 10), cause("work:a", 50))], [1.0])
    after = total([told(cause(TICK, 20_000, 200), cause("timer:b", 4000, 4))], [10.0])
    first, gone, new = beside([before, after])
    assert (first.name, first.change, first.state(1)) == (TICK, 1000, "both")
    assert [side.rate_hz for side in first.sides] == [10, 20]
    by_name = {each.name: each.state(1) for each in (gone, new)}
    assert by_name == {"work:a": "gone", "timer:b": "new"}
    with pytest.raises(ValueError, match="by the second"):
        beside([before, total([told(cause(TICK, 1))])])


def test_results_without_attribution_have_no_causes():
    assert of_results([{"duration_ns": 10**9}]) is None
    causes = of_results([{"duration_ns": 2 * 10**9, "attribution": told(cause(TICK, 10))}, {"duration_ns": 5}])
    assert causes is not None
    assert (causes.observed_s, causes.per_s(causes.stolen_ns)) == (2, 5)


KEYS = (
    "causes", "class", "count", "stolen_ns", "buckets", "level", "ring", "lost", "placed", "conservation", "holds",
    "rows", "clock_error_ns", "instruments", "interrupts", "own",
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
DAMAGED = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=12
)


@given(DAMAGED)
def test_a_file_that_says_something_else_is_read_with_what_there_is_of_it(damaged):
    total([damaged, told(cause(TICK, 5))])
    total([{**told(), "causes": damaged}, {**told(), "ring": damaged, "conservation": damaged, "placed": damaged}])


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**9)), max_size=5), max_size=4))
def test_nothing_is_lost_in_sums(runs):
    causes = total(told(*(cause(f"task:{name}", ns) for name, ns in run)) for run in runs)
    assert causes.stolen_ns == sum(ns for run in runs for _, ns in run)
    assert causes.count == sum(len(run) for run in runs) == sum(n for row in causes.rows for _, n in row.buckets)
    assert list(causes.rows) == sorted(causes.rows, key=lambda row: -row.stolen_ns)
