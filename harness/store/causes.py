# SPDX-License-Identifier: Apache-2.0
"""What interrupted a core, ``kind:name`` as a probe says it (docs/probes.md), in words for people. Pure."""

from __future__ import annotations

#: What is better known by another name than the kernel's own.
_KNOWN = {
    "hrtimer:tick_nohz_handler": "timer tick",
    "hrtimer:tick_sched_timer": "timer tick",
    "hrtimer:hrtimer_wakeup": "timer that wakes a task",
    "vector:local_timer": "local timer interrupt",
    "vector:reschedule": "reschedule interrupt",
    "vector:call_function": "call from another CPU",
    "vector:call_function_single": "call from another CPU",
    "vector:irq_work": "interrupt to self for deferred work (irq_work)",
    "vector:thermal_apic": "thermal interrupt",
    "tlb:remote_shootdown": "TLB shootdown by another CPU",
    "call:flush_tlb_func": "TLB shootdown by another CPU",
    "call:ipi_mb": "memory barrier asked for by another CPU (membarrier)",
    "fault:user": "page fault",
    "fault:kernel": "page fault in the kernel",
    "switch:preempted": "an unnamed task",
    "switch:slept": "its own sleep",
    "idle:exit": "leaving idle",
}
_KINDS = {
    "work": "kernel work {}",
    "task": "task {}",
    "signal": "signal {}",
    "call": "call from another CPU: {}",
    "tlb": "TLB flush: {}",
    "timer": "timer {}",
    "hrtimer": "high-resolution timer {}",
    "nmi": "non-maskable interrupt: {}",
    "ipi": "interrupt from another CPU: {}",
    "vector": "interrupt {}",
    "irq": "device interrupt {}",
    "syscall": "system call {}",
    "fault": "page fault: {}",
    "switch": "task switch: {}",
    "softirq": "softirq {}",
    "tick": "tick {}",
}


def in_words(cause: str) -> str:
    """``timer tick`` for ``hrtimer:tick_nohz_handler``, ``system call read`` for ``syscall:read``.

    What is of no known kind is given back as it is.
    """
    kind, _, name = cause.partition(":")
    return _KNOWN.get(cause) or (_KINDS[kind].format(name) if name and kind in _KINDS else cause)
