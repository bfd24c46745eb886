# SPDX-License-Identifier: Apache-2.0
"""What can be set while the machine runs: the knobs that ``tune`` takes (docs/knobs.md), by their own names."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Measure


def _knob(name: str, text: str, doc: str) -> tuple[str, Measure]:
    return name, Measure("knob", text, doc, lambda state: state.knob(name), knob=name)


MEASURES: Mapping[str, Measure] = dict(
    (
        _knob("services", "stop the daemons and timers that meddle, for as long as it is measured", "systemctl(1)"),
        _knob(
            "governor", "a clock that does not follow the load: nobody has to change it", "admin-guide/pm/cpufreq.rst"
        ),
        _knob("turbo", "no turbo: the clock does not depend on the other cores", "admin-guide/pm/cpufreq.rst"),
        _knob("workqueues", "keep kernel work that may run anywhere off the CPU", "core-api/workqueue.rst"),
        _knob(
            "stat-interval",
            "gather memory counters once in two minutes, not every second",
            "admin-guide/sysctl/vm.rst",
        ),
        _knob("watchdog", "take the CPU off those that the lockup detectors watch", "admin-guide/lockup-watchdogs.rst"),
        _knob(
            "timer-migration", "keep timers of idle CPUs from coming to this busy one", "admin-guide/sysctl/kernel.rst"
        ),
        _knob(
            "numa-balancing", "no faults made on purpose to see which node uses a page", "admin-guide/sysctl/kernel.rst"
        ),
        _knob("thp", "no transparent huge pages: khugepaged has nothing to do", "admin-guide/mm/transhuge.rst"),
        _knob(
            "compaction", "memory is not compacted ahead of need, and locked pages stay", "admin-guide/sysctl/vm.rst"
        ),
        _knob("ksm", "same pages are not merged: ksmd has nothing to do", "admin-guide/mm/ksm.rst"),
        _knob("irq-affinity", "keep the interrupts of devices off the CPU", "core-api/irq/irq-affinity.rst"),
        _knob("cpu-dma-latency", "no deep idle states on the CPU", "admin-guide/pm/cpuidle.rst"),
        _knob(
            "rt-throttling", "no throttling: it stops a FIFO task 50 ms of each second", "scheduler/sched-rt-group.rst"
        ),
        _knob(
            "fair-server",
            "no fair server: it stops a FIFO task 50 ms of a second, for ordinary ones that wait (since Linux 6.12)",
            "scheduler/sched-deadline.rst",
        ),
    )
)
