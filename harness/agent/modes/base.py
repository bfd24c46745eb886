# SPDX-License-Identifier: Apache-2.0
"""A mode is *where* x *sched* x *hold*; this is what the parts mean. Pure: the controller's plan asks it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from .. import cgroups
from ..spec import ModeSpec, SpecError
from . import sched as policies
from .needs import needs_of_deadline, needs_of_fifo, needs_of_nohz_full, needs_of_partition, needs_of_pinned

WHERES = ("shared", "pinned", "nohz-full", "partition")
HOLDS = ("none",)
SCHEDS = policies.SCHEDS


@dataclass(frozen=True)
class Mode:
    """``name`` is for people; two modes with equal :attr:`key` are the same."""

    name: str
    where: str
    sched: str
    hold: str = "none"

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.where, self.sched, self.hold)

    @property
    def pinned(self) -> bool:
        return self.where != "shared"

    @property
    def partitioned(self) -> bool:
        """Does it need a cpuset partition? That is no knob: without it the run is not what was asked for."""
        return self.where == "partition"

    @property
    def provider(self) -> str:
        """What puts it into effect, as the record names it."""
        return {"partition": "cgroup", "nohz-full": "boot parameter"}.get(self.where, "scheduler")

    @property
    def priority(self) -> int:
        """The real-time priority, 0 without."""
        return policies.priority(self.sched)

    @property
    def reservation(self) -> policies.Reservation | None:
        """What it asks of SCHED_DEADLINE."""
        return policies.reservation(self.sched)

    @property
    def policy(self) -> str:
        """As the probe names it when it reads back its own: ``other``, ``fifo``, ``deadline``."""
        return self.sched.partition(":")[0]

    @property
    def knobs(self) -> tuple[str, ...]:
        """What is set on the machine by default, best effort."""
        quiet = ("irq-affinity", "cpu-dma-latency") if self.pinned else ()
        return quiet + (("rt-throttling", "fair-server") if self.priority else ())

    def probe_argv(self, cpu: int | None) -> list[str]:
        """The options that make a probe put itself there; ``cpu`` is None for one that is not pinned.

        Also ``other`` is asked for: whoever started the agent may have left it SCHED_BATCH or SCHED_IDLE.
        """
        reserved = self.reservation
        return [
            *([] if cpu is None else ["--cpu", str(cpu)]),
            *(["--cgroup", cgroups.PARTITION] if self.partitioned else []),
            "--sched",
            self.sched if reserved is None else reserved.option,
        ]

    def to_spec(self) -> ModeSpec:
        return ModeSpec(self.name, self.where, self.sched, self.hold)

    def needs(self, facts: Mapping[str, Any], cpus: Sequence[int], housekeeping: Sequence[int]) -> list[str]:
        """Why this mode cannot be had on the machine of ``facts``, each with what to do; empty when it can.

        What ``facts`` does not say is not held against the machine: it is found out there.
        """
        reasons = []
        if not cpus:
            reasons.append("no CPU to measure: name one in the inventory (isolated: …)")
        if self.pinned:
            reasons += needs_of_pinned(facts, cpus)
        if self.where == "nohz-full":
            reasons += needs_of_nohz_full(facts, cpus)
        if self.partitioned:
            reasons += needs_of_partition(facts, cpus, housekeeping)
        if self.priority:
            reasons += needs_of_fifo(self.sched, facts, housekeeping, pinned=self.pinned, priority=self.priority)
        if self.reservation:
            reasons += needs_of_deadline(facts, cpus, pinned=self.pinned, partitioned=self.partitioned)
        return reasons

    def suits(self, *, helper: bool, polls: bool) -> list[str]:
        """Why a probe cannot be measured in this mode, on whatever machine: with a ``helper``, or that ``polls``."""
        reasons = []
        if helper and self.partitioned:
            reasons.append(
                "a probe with a helper is one process, and a partition takes all of it: the helper would run on the "
                "measured CPU; use mode: pinned or nohz-full for this bench"
            )
        elif helper and self.reservation:
            reasons.append("a task of SCHED_DEADLINE may start no helper: use another sched for this bench")
        if polls and self.reservation:
            reasons.append(
                "deadline with a bench that polls measures how the kernel throttles it: exclude the mode, or take a "
                "bench that sleeps (wake)"
            )
        return reasons


def check(where: str, sched: str, hold: str) -> None:
    """Raise :class:`SpecError`, naming what there is, unless all three parts exist."""
    if where not in WHERES:
        raise SpecError(f"where: {where!r} is none of {', '.join(WHERES)}")
    policies.canonical(sched)
    if hold not in HOLDS:
        raise SpecError(f"hold: {hold!r} is none of {', '.join(HOLDS)}")
