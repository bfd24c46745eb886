# SPDX-License-Identifier: Apache-2.0
"""What made a wake-up late: who had the CPU longest between the time when the task was due and its running."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import build

from .test_csrc_trace import OURS, event, match

TIMER, RESCHEDULE, DEVICE = "irq_vectors/local_timer_entry", "irq_vectors/reschedule_entry", "irq/irq_handler_entry"
HRTIMER, WHEEL, CALLED = "timer/hrtimer_expire_entry", "timer/timer_expire_entry", "csd/csd_function_entry"
SOFTIRQ, SOFTIRQ_END, END = "irq/softirq_entry", "irq/softirq_exit", "irq/irq_handler_exit"
SWITCHED, WORK, TLB = "sched/sched_switch", "workqueue/workqueue_execute_start", "tlb/tlb_flush"
NET_RX = 3


@pytest.fixture(scope="module")
def tool() -> Path:
    return build.build_program("tests/tracetest.c", build.native_arch()).path


def comes(at, task, tid=9):
    return event(at, SWITCHED, value=tid, text=task)


def idle(at):
    return event(at, SWITCHED, value=0, text="swapper/3")


def ours(at, instead=None):
    """The measured task comes, and ``instead`` (None: nobody) was there before."""
    return event(at, SWITCHED, value=OURS, text=f"{instead}<9" if instead else "swapper/3")


WAITS = {  # each from 1000 to 2000
    "the CPU had to leave its idle state": (
        [idle(500), event(1800, TIMER), event(1810, HRTIMER, value=5), ours(1850)], "idle:exit"),
    "its own timer, where nothing took longer": (
        [idle(500), event(1001, TIMER), event(1002, HRTIMER, value=5), ours(1004)], "vector:local_timer"),
    "a task that was there and did not go": (
        [comes(500, "make"), event(1010, TIMER), event(1020, HRTIMER, value=5), ours(1900, "make")], "task:make"),
    "one that was there, however often it was interrupted": (
        [comes(500, "make"), event(1010, TIMER), event(1400, TIMER), event(1600, DEVICE, value=4, text="eth0"),
         ours(1900, "make")], "task:make"),
    "a task that came first": (
        [idle(500), event(1001, TIMER), comes(1100, "make"), event(1110, TLB), ours(1900, "make")], "task:make"),
    "the work that it did": (
        [idle(500), event(1001, TIMER), comes(1100, "kworker/3:1"), event(1110, WORK, value=7),
         ours(1900, "kworker/3:1")], "work:0x7"),
    "the longer of two tasks": (
        [comes(500, "make"), event(1010, TIMER), comes(1100, "cc1"), ours(1900, "cc1")], "task:cc1"),
    "a softirq, even if it is interrupted": (
        [idle(500), event(1010, TIMER), event(1020, SOFTIRQ, value=NET_RX), event(1300, TIMER),
         event(1700, SOFTIRQ_END, value=NET_RX), ours(1800)], "softirq:NET_RX"),
    "a softirq that a task was interrupted for": (
        [comes(500, "make"), event(1010, TIMER), event(1020, SOFTIRQ, value=NET_RX),
         event(1700, SOFTIRQ_END, value=NET_RX), ours(1800, "make")], "softirq:NET_RX"),
    "not a softirq that was over soon": (
        [comes(500, "make"), event(1010, TIMER), event(1020, SOFTIRQ, value=NET_RX),
         event(1100, SOFTIRQ_END, value=NET_RX), ours(1800, "make")], "task:make"),
    "a timer's function": (
        [idle(500), event(1010, TIMER), event(1020, SOFTIRQ, value=1), event(1030, WHEEL, value=8),
         event(1700, SOFTIRQ_END, value=1), ours(1800)], "timer:0x8"),
    "a device's handler": (
        [comes(500, "make"), event(1010, DEVICE, value=4, text="eth0"), event(1700, END, value=4), ours(1800, "make")],
        "irq:eth0"),
    "a function that another CPU had called": (
        [comes(500, "make"), event(1010, "irq_vectors/call_function_single_entry"), event(1020, CALLED, value=6),
         event(1700, "csd/csd_function_exit", value=6), ours(1800, "make")], "call:0x6"),
    "who took long to send the interrupt, not the CPU": (
        [idle(500), "sent 1700 ipi/ipi_send_cpu 40 0 0 4", event(1750, RESCHEDULE), ours(1760)], "vector:reschedule"),
    "nobody knows who was there": ([event(1900, TIMER), ours(1910)], "vector:local_timer"),
    "it was awake, and nothing came": ([ours(500)], None),
}  # fmt: skip


@pytest.mark.parametrize("what", WAITS)
def test_what_held_a_wake_up(tool, what):
    happened, cause = WAITS[what]
    first = [line for line in happened if line.startswith("sent")]
    got = match(tool, [*first, *(line for line in happened if line not in first), "wait 1000 1000"])
    assert got["gaps"][0]["cause"] == cause
    (total,) = got["attribution"]["causes"]
    assert (total["cause"], total["stolen_ns"]) == (cause, 1000)


def test_each_wait_is_judged_by_itself(tool):
    """Who was there as the second began came during the first."""
    lines = [idle(500), event(1001, TIMER), comes(1100, "make"), "wait 1000 300", event(1900, TIMER),
             ours(1950, "make"), "wait 1500 500"]  # fmt: skip
    assert [gap["cause"] for gap in match(tool, lines)["gaps"]] == ["task:make", "task:make"]


def test_ends_are_no_part_of_a_chain(tool):
    lines = [idle(500), event(1010, TIMER), event(1020, SOFTIRQ, value=NET_RX),
             event(1700, SOFTIRQ_END, value=NET_RX), "wait 1000 1000"]  # fmt: skip
    got = match(tool, lines)
    assert [label for _, label in got["gaps"][0]["chain"]] == ["vector:local_timer", "softirq:NET_RX"]
    assert got["attribution"]["placed"]["inside"] == 3


SOURCES = [TIMER, DEVICE, HRTIMER, WHEEL, SOFTIRQ, SOFTIRQ_END, END, WORK, TLB, CALLED, SWITCHED]


@given(
    happened=st.lists(
        st.tuples(st.integers(0, 3000), st.sampled_from(SOURCES), st.sampled_from([0, 5, OURS])), max_size=60
    ).map(sorted),
    edges=st.lists(st.integers(1, 2999), min_size=2, max_size=8, unique=True).map(sorted),
)
def test_whatever_comes_a_cause_is_something_that_came(tool, happened, edges):
    lines = [event(at, source, value=value, text="x" if source in (SWITCHED, DEVICE) else "")
             for at, source, value in happened]  # fmt: skip
    waits = list(zip(edges[::2], edges[1::2], strict=False))
    lines += [f"wait {begin} {end - begin}" for begin, end in waits]
    got = match(tool, [*lines, "after"])
    assert len(got["gaps"]) == len(waits)
    assert sum(each["stolen_ns"] for each in got["attribution"]["causes"]) == sum(e - b for b, e in waits)
    for gap in got["gaps"]:
        came = {label for _, label in gap["chain"]} | {"idle:exit", "task:x", None}
        assert gap["cause"] in came or gap.get("more")
