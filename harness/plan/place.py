# SPDX-License-Identifier: Apache-2.0
"""Which CPU is measured, and which ones do the rest. Pure: facts in, placement out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..config.units import format_cpu_list
from ..errors import TargetUnfit


class Declared(Protocol):
    """What is read of an inventory's target."""

    @property
    def arch(self) -> str | None: ...
    @property
    def isolated(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """CPU numbers, sorted. ``notes`` say what a reader of the results has to know about the choice.

    No CPU is in both: ``housekeeping`` is empty on a machine with a single CPU.
    """

    measured: tuple[int, ...]
    housekeeping: tuple[int, ...]
    notes: tuple[str, ...] = ()


def place(facts: Mapping[str, Any], target: Declared | None = None) -> Placement:
    """The placement on the machine of ``facts``; :class:`TargetUnfit` if it is not what the inventory says.

    Measured is the last of the isolated CPUs (what the inventory declares, else what the kernel reports), else of the
    nohz_full ones, else of all; where CPUs differ in capacity, the last of the largest. Housekeeping are the others
    that are not isolated, without the measured one's SMT siblings. Only CPUs count that are online and that the agent
    may use.
    """
    if target is not None and target.arch is not None and facts.get("arch") not in (None, target.arch):
        raise TargetUnfit(
            f"the inventory says arch: {target.arch}, but this machine is {facts['arch']}",
            advice="correct the key arch of this target in the inventory, or its address",
        )
    cpus = facts.get("cpus") or {}
    online = set(cpus.get("online") or ())
    allowed = cpus.get("allowed")
    usable = online if allowed is None else online & set(allowed)
    if not usable:
        raise TargetUnfit(f"no CPU to measure on: online {_list(online)}, allowed {_list(allowed or ())}")
    notes: list[str] = []
    isolated = _isolated(cpus, usable, target, notes)
    topology = cpus.get("topology") or {}
    measured = _largest_last(isolated or usable, topology, notes)
    return Placement((measured,), _housekeeping(measured, usable, isolated, topology, notes), tuple(notes))


def _list(cpus: Iterable[int]) -> str:
    return format_cpu_list(cpus) or "none"


def _isolated(cpus: Mapping[str, Any], usable: set[int], target: Declared | None, notes: list[str]) -> set[int]:
    reported = set(cpus.get("isolated") or ())
    declared = None if target is None or target.isolated == "auto" else set(target.isolated)
    wanted = reported if declared is None else declared
    if not wanted:  # nothing isolated, but CPUs without a tick: these were meant
        wanted = set(cpus.get("nohz_full") or ())
        if wanted & usable:
            notes.append(f"nohz_full, but not isolated: the scheduler may put others on CPU {_list(wanted & usable)}")
    found = wanted & usable
    if declared is not None:
        if not found:
            raise TargetUnfit(
                f"the inventory says isolated: {_list(declared)}, but this machine can use {_list(usable)}",
                advice="correct the key isolated of this target in the inventory",
            )
        if found - reported:
            notes.append(f"declared isolated, but not so by the kernel: CPU {_list(found - reported)}")
    if wanted - usable:
        notes.append(f"isolated, but offline or not allowed: CPU {_list(wanted - usable)}")
    return found


def _largest_last(candidates: set[int], topology: Mapping[str, Any], notes: list[str]) -> int:
    """The last CPU of the largest kind: by capacity, else by top frequency (hybrid x86 before 6.12 has no capacity)."""
    for scale in ("capacity", "max_khz"):
        sizes = {cpu: (topology.get(str(cpu)) or {}).get(scale) for cpu in candidates}
        known = [size for size in sizes.values() if size is not None]
        if len(known) < len(candidates) or len(set(known)) == 1:
            continue
        # Favoured cores of one kind differ by a few percent; a smaller kind is slower by much more.
        largest = [cpu for cpu, size in sizes.items() if size is not None and size >= 0.9 * max(known)]
        if len(largest) < len(candidates):
            notes.append(f"CPUs differ: measured is one of the largest, {_list(largest)}")
        return max(largest)
    return max(candidates)


def _housekeeping(
    measured: int, usable: set[int], isolated: set[int], topology: Mapping[str, Any], notes: list[str]
) -> tuple[int, ...]:
    siblings = set((topology.get(str(measured)) or {}).get("siblings") or ())
    others = usable - {measured}
    if others - siblings - isolated:
        return tuple(sorted(others - siblings - isolated))
    if others - siblings:
        notes.append(f"every other CPU is isolated too: CPU {_list(others - siblings)} does the housekeeping")
        return tuple(sorted(others - siblings))
    if others:
        notes.append(f"the only other CPU is an SMT sibling of the measured one: CPU {_list(others)}")
        return tuple(sorted(others))
    notes.append(f"CPU {measured} is the only one: nothing else can keep house")
    return ()
