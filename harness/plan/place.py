# SPDX-License-Identifier: Apache-2.0
"""Which CPUs are measured, and which ones do the rest. Pure: facts in, placement out."""

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
    @property
    def smt(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """CPU numbers, sorted. ``notes`` say what a reader of the results has to know about the choice.

    No CPU is in both: ``housekeeping`` is empty on a machine with a single CPU. ``lacks`` says why what was asked for
    cannot be had here, and what to do; then nothing is measured.
    """

    measured: tuple[int, ...]
    housekeeping: tuple[int, ...]
    notes: tuple[str, ...] = ()
    lacks: str | None = None


def place(facts: Mapping[str, Any], target: Declared | None = None, cpus: str = "one") -> Placement:
    """The placement on the machine of ``facts``; :class:`TargetUnfit` if it is not what the inventory says.

    Measured is ``one``: the last of the isolated CPUs (what the inventory declares, else what the kernel reports), else
    of the nohz_full ones, else of all; where CPUs differ in capacity, the last of the largest. Or ``all``: every
    isolated CPU, of each core one, or each one of a core where ``smt: shared`` declares siblings to be in use.
    Housekeeping are the others that are not isolated, without the SMT siblings of measured ones. Only CPUs count that
    are online and that the agent may use.
    """
    if target is not None and target.arch is not None and facts.get("arch") not in (None, target.arch):
        raise TargetUnfit(
            f"the inventory says arch: {target.arch}, but this machine is {facts['arch']}",
            advice="correct the key arch of this target in the inventory, or its address",
        )
    known = facts.get("cpus") or {}
    online = set(known.get("online") or ())
    allowed = known.get("allowed")
    usable = online if allowed is None else online & set(allowed)
    if not usable:
        raise TargetUnfit(f"no CPU to measure on: online {cpu_list(online)}, allowed {cpu_list(allowed or ())}")
    notes: list[str] = []
    isolated = _isolated(known, usable, target, notes)
    topology = known.get("topology") or {}
    if cpus == "all":
        return _all(isolated, usable, topology, notes, threads=target is not None and target.smt == "shared")
    if not isolated:  # but CPUs without a tick: these were meant
        isolated = set(known.get("nohz_full") or ()) & usable
        if isolated:
            notes.append(f"nohz_full, but not isolated: the scheduler may put others on CPU {cpu_list(isolated)}")
    measured = _largest_last(isolated or usable, topology, notes)
    return Placement((measured,), _housekeeping(measured, usable, isolated, topology, notes), tuple(notes))


def cpu_list(cpus: Iterable[int]) -> str:
    return format_cpu_list(cpus) or "none"


def siblings_of(cpus: Iterable[int], topology: Mapping[str, Any]) -> set[int]:
    """The other hardware threads of their cores."""
    own = set(cpus)
    return {other for cpu in own for other in (topology.get(str(cpu)) or {}).get("siblings") or ()} - own


def _isolated(known: Mapping[str, Any], usable: set[int], target: Declared | None, notes: list[str]) -> set[int]:
    """The usable ones of what the inventory declares isolated, else of what the kernel reports."""
    reported = set(known.get("isolated") or ())
    declared = None if target is None or target.isolated == "auto" else set(target.isolated)
    wanted = reported if declared is None else declared
    found = wanted & usable
    if declared is not None:
        if not found:
            raise TargetUnfit(
                f"the inventory says isolated: {cpu_list(declared)}, but this machine can use {cpu_list(usable)}",
                advice="correct the key isolated of this target in the inventory",
            )
        if found - reported:
            notes.append(f"declared isolated, but not so by the kernel: CPU {cpu_list(found - reported)}")
    if wanted - usable:
        notes.append(f"isolated, but offline or not allowed: CPU {cpu_list(wanted - usable)}")
    return found


def _all(
    isolated: set[int], usable: set[int], topology: Mapping[str, Any], notes: list[str], *, threads: bool
) -> Placement:
    """Every isolated CPU at once. Two threads of a core would measure each other: the last one is taken, for the core;
    with ``threads``, all of them.

    Nothing stands in for an isolated CPU, nor does one keep house: who asked for all of them gets all, or the reason.
    """
    others = usable - isolated
    if not isolated:
        lacks = (
            "cpus: all measures every isolated CPU, and none is isolated here: boot with isolcpus=, name them in the "
            "inventory (isolated: …), or measure one (cpus: one)"
        )
        return Placement((), tuple(sorted(others)), tuple(notes), lacks)
    if not others:
        lacks = (
            f"cpus: all would measure every CPU there is here ({cpu_list(isolated)}), and leave none for housekeeping: "
            "isolate fewer (isolated: … in the inventory, isolcpus=), or measure one (cpus: one)"
        )
        return Placement((), (), tuple(notes), lacks)
    measured = {cpu if threads else max({cpu} | siblings_of({cpu}, topology) & isolated) for cpu in isolated}
    if any(siblings_of({cpu}, topology) & measured for cpu in measured):
        notes.append("siblings are measured at once, as declared by smt: shared: each has what the other leaves")
    if isolated - measured:
        left = cpu_list(isolated - measured)
        notes.append(f"isolated, but left idle, as a sibling of theirs is measured: CPU {left}")
    for scale in ("capacity", "max_khz"):
        sizes = [size for cpu in measured if (size := size_of(cpu, topology, scale)) is not None]
        if sizes and min(sizes) < 0.9 * max(sizes):
            notes.append("the measured CPUs differ in size: compare each with itself alone")
            break
    siblings = siblings_of(measured, topology)
    if not others - siblings:
        notes.append(f"the only other CPUs are SMT siblings of measured ones: CPU {cpu_list(others)}")
    return Placement(tuple(sorted(measured)), tuple(sorted(others - siblings or others)), tuple(notes))


def size_of(cpu: int, topology: Mapping[str, Any], scale: str) -> int | None:
    """By ``scale``: ``capacity`` or ``max_khz``; None where it is not known."""
    size = (topology.get(str(cpu)) or {}).get(scale)
    return size if isinstance(size, int) else None


def _largest_last(candidates: set[int], topology: Mapping[str, Any], notes: list[str]) -> int:
    """The last CPU of the largest kind: by capacity, else by top frequency (hybrid x86 before 6.12 has no capacity)."""
    for scale in ("capacity", "max_khz"):
        sizes = {cpu: size_of(cpu, topology, scale) for cpu in candidates}
        known = [size for size in sizes.values() if size is not None]
        if len(known) < len(candidates) or len(set(known)) == 1:
            continue
        # Favoured cores of one kind differ by a few percent; a smaller kind is slower by much more.
        largest = [cpu for cpu, size in sizes.items() if size is not None and size >= 0.9 * max(known)]
        if len(largest) < len(candidates):
            notes.append(f"CPUs differ: measured is one of the largest, {cpu_list(largest)}")
        return max(largest)
    return max(candidates)


def _housekeeping(
    measured: int, usable: set[int], isolated: set[int], topology: Mapping[str, Any], notes: list[str]
) -> tuple[int, ...]:
    siblings = siblings_of({measured}, topology)
    others = usable - {measured}
    if others - siblings - isolated:
        return tuple(sorted(others - siblings - isolated))
    if others - siblings:
        notes.append(f"every other CPU is isolated too: CPU {cpu_list(others - siblings)} does the housekeeping")
        return tuple(sorted(others - siblings))
    if others:
        notes.append(f"the only other CPU is an SMT sibling of the measured one: CPU {cpu_list(others)}")
        return tuple(sorted(others))
    notes.append(f"CPU {measured} is the only one: nothing else can keep house")
    return ()
