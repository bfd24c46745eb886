# SPDX-License-Identifier: Apache-2.0
"""Which label a disturbance's gap has, by the events of a kernel, and whether it can be anybody else's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.stats.marks import KINDS, SENT_BY, marks_of

SOURCE = Path(__file__).parents[3] / "csrc" / "core"
ARM64 = {"ipi/ipi_entry", "ipi/ipi_raise", "signal/signal_deliver", "software/page_fault", "raw_syscalls/sys_enter"}


def test_arm64_says_who_raised_an_interrupt() -> None:
    for kind, label in (("membarrier", "ipi:Function call interrupts"), ("reschedule", "ipi:Rescheduling interrupts")):
        mark = marks_of(ARM64)[kind]
        assert (mark.labels, mark.own, mark.told, mark.precise) == ((label,), False, True, True)
        assert not marks_of(ARM64 - {"ipi/ipi_raise"})[kind].precise


def test_a_function_s_label_is_its_own_and_a_vector_s_is_not() -> None:
    called = {"csd/csd_function_entry", "irq_vectors/call_function_entry"}
    assert (marks_of(called)["membarrier"].own, marks_of(called)["membarrier"].told) == (True, False)
    assert marks_of({*called, "csd/csd_queue_cpu"})["membarrier"].told
    assert not marks_of({"irq_vectors/call_function_entry"})["membarrier"].own


def test_a_task_is_identified_where_its_switch_is_seen() -> None:
    assert marks_of({"sched/sched_switch"})["task"].task
    assert not marks_of({"software/context_switch"})["task"].task


@pytest.mark.parametrize("level", [set(), {"irq/softirq_entry"}])
def test_what_no_event_shows_has_no_mark(level: set[str]) -> None:
    assert marks_of(level) == {}


def test_events_are_those_that_the_probe_opens() -> None:
    """A name that it does not know would never be open: the kind would be blind on every kernel."""
    from harness.stats import marks

    named = {name for several in marks._SHOWN.values() for shown in several for name in (shown.by, *shown.sent)}
    text = (SOURCE / "trace_event.c").read_text()
    opened = set(re.findall(r'"([a-z_]+/[a-z_]+)"', text))
    opened |= {f"irq_vectors/{vector}_entry" for vector in re.findall(r'VECTOR\("([a-z_]+)"', text)}
    assert named <= opened
    assert set(SENT_BY) <= set(KINDS)
