# SPDX-License-Identifier: Apache-2.0
"""A mode is *where* x *sched* x *hold*; this is what the parts mean. Pure: the controller's plan asks it too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ..spec import ModeSpec, SpecError

WHERES = ("shared", "pinned")
HOLDS = ("none",)
#: The policies without a priority, as a probe's ``--sched`` names them.
SCHEDS = ("other",)
_FIFO = re.compile(r"fifo:([1-9][0-9]?)")


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
    def priority(self) -> int:
        """The real-time priority, 0 without."""
        match = _FIFO.fullmatch(self.sched)
        return int(match.group(1)) if match else 0

    @property
    def policy(self) -> str:
        """As the probe names it when it reads back its own: ``other``, ``fifo``."""
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
        return [*([] if cpu is None else ["--cpu", str(cpu)]), "--sched", self.sched]

    def to_spec(self) -> ModeSpec:
        return ModeSpec(self.name, self.where, self.sched, self.hold)

    def needs(self, facts: Mapping[str, Any], cpus: Sequence[int], housekeeping: Sequence[int]) -> list[str]:
        """Why this mode cannot be had on the machine of ``facts``, each with what to do; empty when it can.

        What ``facts`` does not say is not held against the machine: it is found out there.
        """
        reasons = []
        known = facts.get("cpus") or {}
        online, allowed = known.get("online"), known.get("allowed")
        if not cpus:
            reasons.append("no CPU to measure: name one in the inventory (isolated: …)")
        if self.pinned:
            for cpu in cpus:
                if online is not None and cpu not in online:
                    reasons.append(f"CPU {cpu} is not online: bring it up, or measure another (isolated: …)")
                elif allowed is not None and cpu not in allowed:
                    reasons.append(f"CPU {cpu} is outside the CPU set of the agent: widen its cgroup's cpuset.cpus")
        if self.priority:
            reasons += self._needs_of_fifo(facts, housekeeping)
        return reasons

    def _needs_of_fifo(self, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:
        reasons = []
        known = facts.get("cpus") or {}
        # Not pinned, a task stays on what isolcpus leaves: of a single CPU it would leave nothing to anybody.
        shared = set(known.get("allowed") or known.get("online") or ()) - set(known.get("isolated") or ())
        if not self.pinned and len(shared) == 1:
            reasons.append(
                f"{self.sched}, not pinned, would starve CPU {min(shared)}, the only one that is not isolated: "
                "use where: pinned, or isolate fewer CPUs"
            )
        elif not housekeeping:
            reasons.append(
                f"{self.sched} on a machine without a housekeeping CPU would starve it: use pinned, or add a CPU"
            )
        privileges = facts.get("privileges") or {}
        limit = privileges.get("rtprio_limit")
        if privileges.get("sys_nice") is False and isinstance(limit, int) and 0 <= limit < self.priority:
            reasons.append(
                f"{self.sched} needs CAP_SYS_NICE or an rtprio limit of {self.priority} (it is {limit}): "
                f"become: sudo in the inventory, or `USER - rtprio {self.priority}` in /etc/security/limits.conf"
            )
        return reasons


def check(where: str, sched: str, hold: str) -> None:
    """Raise :class:`SpecError`, naming what there is, unless all three parts exist."""
    if where not in WHERES:
        raise SpecError(f"where: {where!r} is none of {', '.join(WHERES)}")
    if sched not in SCHEDS and not _FIFO.fullmatch(sched):
        raise SpecError(f"sched: {sched!r} is neither {', '.join(SCHEDS)} nor fifo:1 to fifo:99")
    if hold not in HOLDS:
        raise SpecError(f"hold: {hold!r} is none of {', '.join(HOLDS)}")
