# SPDX-License-Identifier: Apache-2.0
"""Scheduling policies as modes spell them: ``other``, ``fifo:N``, ``deadline``, ``deadline:RUNTIME/PERIOD``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..spec import SpecError

#: The policies without a parameter, as a probe's ``--sched`` names them.
SCHEDS = ("other",)
#: What else there is, as messages and pages spell it.
FORMS = ("fifo:N", "deadline", "deadline:RUNTIME/PERIOD")
FIFO = "fifo:[1-9][0-9]?"
_TIME = "[1-9][0-9]{0,9}(?:ns|us|ms|s)"
DEADLINE = f"deadline(?::{_TIME}/{_TIME})?"
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
#: The kernel's own bounds: DL_SCALE, and the preset of sched_deadline_period_min_us.
_MIN_RUNTIME_NS = 1024
_MIN_PERIOD_NS = 100 * 10**3
#: The kernel takes 4 s; a probe waits for the end of its last period.
_MAX_PERIOD_NS = 10**9
#: The kernel admits 95 % of a root domain's CPU to real time, and from 6.12 its fair server has 5 % of that.
_MAX_PERCENT = 85


@dataclass(frozen=True)
class Reservation:
    """What SCHED_DEADLINE is asked for: ``runtime_ns`` in each ``period_ns``; the deadline is the period's end."""

    runtime_ns: int
    period_ns: int

    @property
    def option(self) -> str:
        """As a probe's ``--sched`` takes it."""
        return f"deadline:{self.runtime_ns}ns/{self.period_ns}ns"


#: ``deadline`` alone: half of the CPU, in the period of the bench ``wake``.
PRESET = Reservation(500 * 10**3, 10**6)


def canonical(sched: str) -> str:
    """The one spelling of ``sched``, so that one cell has one id; :class:`SpecError` where there is no such policy."""
    if sched == "fifo":
        return "fifo:1"
    if sched in SCHEDS or re.fullmatch(FIFO, sched):
        return sched
    found = reservation(sched)
    if found is None:
        raise SpecError(
            f"sched: {sched!r} is neither {', '.join(SCHEDS)} nor fifo:1 to fifo:99 nor deadline:RUNTIME/PERIOD "
            "(deadline:500us/1ms)"
        )
    if found == PRESET:
        return "deadline"
    return f"deadline:{_spelled(found.runtime_ns)}/{_spelled(found.period_ns)}"


def priority(sched: str) -> int:
    """The real-time priority, 0 without."""
    return int(sched.partition(":")[2]) if re.fullmatch(FIFO, sched) else 0


def reservation(sched: str) -> Reservation | None:
    """None for another policy; :class:`SpecError` for what no kernel grants."""
    if not re.fullmatch(DEADLINE, sched):
        return None
    _, _, parts = sched.partition(":")
    if not parts:
        return PRESET
    runtime_ns, period_ns = (_ns(part) for part in parts.split("/"))
    if not _MIN_PERIOD_NS <= period_ns <= _MAX_PERIOD_NS:
        raise SpecError(f"sched: {sched!r}: periods are of 100us to 1s")
    if runtime_ns < _MIN_RUNTIME_NS:
        raise SpecError(f"sched: {sched!r}: the kernel takes runtimes of {_MIN_RUNTIME_NS}ns or more")
    if runtime_ns * 100 > period_ns * _MAX_PERCENT:
        raise SpecError(
            f"sched: {sched!r}: at most {_MAX_PERCENT} % of the period: the kernel keeps 5 % for other tasks, and from "
            "6.12 another 5 % for its fair server"
        )
    return Reservation(runtime_ns, period_ns)


def word(sched: str) -> str:
    """``sched`` in the name of a mode, which is part of file names: ``fifo50``, ``deadline-200us-1ms``."""
    return sched.replace(":", "") if priority(sched) else sched.replace(":", "-").replace("/", "-")


def _ns(text: str) -> int:
    unit = text.lstrip("0123456789")
    return int(text[: -len(unit)]) * _UNITS_NS[unit]


def _spelled(ns: int) -> str:
    unit = next(unit for unit, scale in _UNITS_NS.items() if ns % scale == 0)
    return f"{ns // _UNITS_NS[unit]}{unit}"
