# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: asked and become, knobs with their reasons, and what changed while it ran."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report import account


def rows(group: account.Group) -> dict[str, str]:
    return dict(group.rows)


def test_counters_are_told_by_how_much_and_words_from_what_to_what():
    before = {
        "realtime_ns": 1,
        "clocksource": "tsc",
        "users": 0,
        "boot_id": "b-1",
        "interrupts": {"1": {"LOC": 100, "25": 1}, "2": {"LOC": 5}},
        "steal_ticks": {"1": 110},
    }
    after = {
        "realtime_ns": 2,
        "clocksource": "hpet",
        "users": 1,
        "boot_id": "b-1",
        "interrupts": {"1": {"LOC": 230, "25": 1, "TLB": 4}, "2": {"LOC": 5}},
        "steal_ticks": {"1": 113},
    }
    assert rows(account.changed({"facts_before": before, "facts_after": after})) == {
        "clocksource": "tsc → hpet",
        "users": "+1",
        "interrupts, CPU 1": "LOC +130, TLB +4",
        "steal_ticks": "CPU 1 +3",
    }


def test_many_counters_are_cut_and_counted():
    before, after = ({"interrupts": {"0": {str(irq): times * irq for irq in range(1, 31)}}} for times in (1, 2))
    (row,) = account.changed({"facts_before": before, "facts_after": after}).rows
    assert row[1].startswith("1 +1, 2 +2, ")
    assert row[1].endswith(", and 18 more")


def test_a_knob_says_what_was_asked_and_why_not():
    knob = {
        "name": "irq-affinity",
        "requested": "0-2",
        "before": "0-3",
        "effective": "0-3",
        "reason": "24 (EPERM), 25 (EPERM), 26 (EPERM)",
        "advice": "become: sudo",
    }
    assert account.knobs({"knobs": [knob, {"no": "name"}]}).rows == (
        (
            "irq-affinity",
            "asked 0-2 · before 0-3 · effective 0-3 · 24-26 (EPERM) · to change it: become: sudo",
        ),
    )


def test_every_task_is_read_back():
    tasks = {"any": {"start": {"policy": "other"}}, "3": {"start": {"policy": "fifo", "priority": 1}}}
    assert rows(account.effective({"effective": {"provider": "scheduler", "tasks": tasks}})) == {
        "provider": "scheduler",
        "read back, not pinned": "policy other",
        "read back, CPU 3": "policy fifo, priority 1",
    }


def test_a_control_says_what_became_of_it():
    reason = {"rule": "minor-faults", "text": "7 minor page faults after arming"}
    found = {"cpu": 0, "status": "ok", "validity": {"state": "suspect", "reasons": [reason]}}
    assert account.control({"control": found}).rows == (
        ("CPU", "0"), ("state", "suspect"), ("minor-faults", "7 minor page faults after arming"),
    )  # fmt: skip
    found = {"cpu": 0, "status": "unavailable", "reason": "signal 11"}
    assert account.control({"control": found}).rows == (("CPU", "0"), ("state", "unavailable"), ("reason", "signal 11"))
    assert account.control({}).rows == ()


def test_what_was_asked_has_its_command_and_times():
    spec = {
        "bench": "gap",
        "probe": {"params": {"threshold": "1000ns"}},
        "mode": {"name": "fifo", "sched": "fifo:1"},
        "load": {"name": "build", "kind": "argv", "argv": ["make", "-j4"]},
        "duration_ns": 10**10,
        "settle_ns": 5 * 10**8,
    }
    assert rows(account.asked({"spec": spec})) == {
        "bench": "gap threshold=1us",
        "mode": "name fifo, sched fifo:1",
        "load": "build: make -j4",
        "duration": "10 s",
        "settle": "500 ms",
    }


def test_attribution_is_among_what_was_asked():
    assert rows(account.asked({"spec": {"attribution": "perf"}}))["attribution"] == "perf"
    assert "attribution" not in rows(account.asked({"spec": {"attribution": "off"}}))


def test_a_reason_that_there_is_none_of_is_left_out():
    held = {"level": "tracepoints", "reason": None, "cpu": None}
    assert rows(account.effective({"effective": {"held_events": held}})) == {
        "held_events": "level tracepoints, cpu not known"
    }
    assert account.short({"level": "software", "reason": "no root"}) == "level software, reason no root"
    detail = {"timer_slack_ns": 1, "timer_slack_error": None, "idle_states": None}
    (own,) = account.own({"results": [{"probe": "wake", "detail": detail}]})
    assert rows(own) == {"timer_slack_ns": "1", "idle_states": "not known"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
KEYS = ("spec", "control", "effective", "knobs", "load", "facts_before", "facts_after", "results", "identity")


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_a_file_lacks_or_has_instead_it_can_be_told(document):
    for group in account.groups(document):
        assert group.rows
        assert all(isinstance(label, str) and isinstance(text, str) for label, text in group.rows)


def test_a_command_is_as_a_shell_takes_it_and_times_have_units():
    found = rows(account.load({"load": {"argv": ["sh", "-c", "a b; c"], "settle_ns": 2_000_000, "at_ns": 2 * 10**18}}))
    assert found == {"argv": "sh -c 'a b; c'", "settle_ns": "2.00 ms", "at_ns": str(2 * 10**18)}
    asked = rows(account.asked({"spec": {"bench": "gap", "load": {"name": "x", "argv": ["echo", "a b"]}}}))
    assert asked["load"] == "x: echo 'a b'"
