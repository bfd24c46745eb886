# SPDX-License-Identifier: Apache-2.0
"""How each kind of disturbance shows in a gap: its class and label, by the events that a kernel has. Pure.

Sources: the table of csrc/core/trace_event.c, and what kernels do: `membarrier` runs ``ipi_mb`` on the CPUs of the
process, unmapping runs ``flush_tlb_func``, a wake-up sends a reschedule interrupt. Linux before 6.5 has no events of
functions that are called on another CPU; arm64 has none of vectors, but says who raised an interrupt between CPUs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

#: A sham: an instant at which nothing is done.
SHAM = "none"


@dataclass(frozen=True)
class Mark:
    """A gap of this class with one of these ``labels`` is of this kind.

    ``own``: nothing else gives a gap such a label. ``told``: the kernel says who sent the interrupt, so that of all
    with that label only the injector's are meant. ``task``: the label is the name of a task, which the gap identifies.
    """

    class_: str
    labels: tuple[str, ...]
    own: bool = True
    told: bool = False
    task: bool = False

    @property
    def precise(self) -> bool:
        """Whether a gap with this mark can have come from nobody else: else precision cannot be said."""
        return self.own or self.told


@dataclass(frozen=True)
class _Shown:
    """Where the event ``by`` is open, with that mark; senders are told if one of ``sent`` is open too."""

    by: str
    class_: str
    labels: tuple[str, ...]
    own: bool = True
    sent: tuple[str, ...] = ()


_CALL = "csd/csd_function_entry"
_CALLER = "csd/csd_queue_cpu"
_IPI = "ipi/ipi_entry"
#: The second: arm64's.
_SENDERS = ("ipi/ipi_send_cpu", "ipi/ipi_raise")
_SWITCH = "sched/sched_switch"
_SIGNAL = "signal/signal_deliver"

#: By kind, the first whose event is open.
_SHOWN: dict[str, tuple[_Shown, ...]] = {
    "membarrier": (
        _Shown(_CALL, "interrupt", ("call:ipi_mb",), sent=(_CALLER,)),
        _Shown(
            "irq_vectors/call_function_entry",
            "interrupt",
            ("vector:call_function", "vector:call_function_single"),
            own=False,
        ),
        _Shown(_IPI, "interrupt", ("ipi:Function call interrupts",), own=False, sent=_SENDERS),
    ),
    "tlb": (
        _Shown(_CALL, "interrupt", ("call:flush_tlb_func",), sent=(_CALLER,)),
        _Shown("tlb/tlb_flush", "interrupt", ("tlb:remote_shootdown",)),
    ),
    "reschedule": (
        _Shown("irq_vectors/reschedule_entry", "interrupt", ("vector:reschedule",), own=False, sent=_SENDERS),
        _Shown(_IPI, "interrupt", ("ipi:Rescheduling interrupts",), own=False, sent=_SENDERS),
    ),
    "signal": (_Shown(_SIGNAL, "interrupt", ("signal:SIGUSR1",)),),
    "tick": (_Shown(_SIGNAL, "interrupt", ("signal:SIGPROF",)),),
    "fault": (
        _Shown("exceptions/page_fault_user", "exception", ("fault:user",)),
        _Shown("software/page_fault", "exception", ("fault:user",)),
    ),
    "syscall": (_Shown("raw_syscalls/sys_enter", "syscall", ("syscall:",)),),
    "task": (
        _Shown(_SWITCH, "interrupt", ("task:disturber",)),
        _Shown("software/context_switch", "interrupt", ("switch:preempted",), own=False),
    ),
}

#: In the order of reports.
KINDS = tuple(_SHOWN)
#: Where a label is not its own, a gap may be theirs: they send the same interrupt, and what it is about may come later.
#: (A task that is woken from another CPU is queued by a call to its own, or by a reschedule interrupt.)
SENT_BY = {"membarrier": ("tlb", "task"), "reschedule": ("signal", "task")}
#: Done by the measured task itself: such a gap begins with it.
BY_TASK = frozenset(("syscall", "fault"))


def marks_of(events: Collection[str]) -> dict[str, Mark]:
    """By kind, where one of the open ``events`` shows it."""
    found = {}
    for kind, several in _SHOWN.items():
        shown = next((each for each in several if each.by in events), None)
        if shown is not None:
            told, task = any(sent in events for sent in shown.sent), shown.by == _SWITCH
            found[kind] = Mark(shown.class_, shown.labels, shown.own, told, task)
    return found
