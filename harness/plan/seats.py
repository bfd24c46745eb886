# SPDX-License-Identifier: Apache-2.0
"""Who sits where on the housekeeping CPUs: the control, the probes' helpers, the load. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .place import Placement, cpu_list, siblings_of, size_of


@dataclass(frozen=True, slots=True)
class Seats:
    """CPU numbers. ``load`` is where load and agent run, ``helpers`` has one for each measured CPU, in their order.

    ``lacks`` says why not everybody can be seated, and what to do.
    """

    load: tuple[int, ...]
    helpers: tuple[int, ...] = ()
    control: int | None = None
    notes: tuple[str, ...] = ()
    lacks: str | None = None


def placement_json(placement: Placement, seats: Iterable[Seats]) -> dict[str, Any]:
    """Who runs where, as ``lanes/<target>.json`` has it: what the ``seats`` of all cells have in common."""
    known = list(seats)
    return {
        "measured": list(placement.measured),
        "housekeeping": list(placement.housekeeping),
        "helpers": list(next((each.helpers for each in known if each.helpers), ())),
        "control": next((each.control for each in known if each.control is not None), None),
        "notes": list(dict.fromkeys([*placement.notes, *(note for each in known for note in each.notes)])),
    }


def seat(placement: Placement, facts: Mapping[str, Any], *, control: bool, helper: bool, load: bool) -> Seats:
    """The seats of a cell that asks for a ``control``, whose probe needs a ``helper``, whose ``load`` is not idle.

    The control has a CPU to itself, or it would measure its neighbour. A helper has one where that leaves the load as
    many, else it shares, and a note says so. Taken is the last CPU of the node, and then of the kind, of the measured
    one, if possible on a core that nobody of these sits on: the first ones do the machine's own work.
    """
    cpus = facts.get("cpus") or {}
    topology = cpus.get("topology") or {}
    free = list(placement.housekeeping)
    notes: list[str] = []
    chosen: int | None = None
    if control and placement.measured:
        beside = siblings_of(placement.measured, topology)
        fit = [cpu for cpu in free if cpu not in beside]
        lacks = _no_control(free, fit, helper=helper, load=load)
        if lacks is not None:
            return Seats(placement.housekeeping, lacks=lacks)
        chosen = _nearest(fit, placement.measured[-1], topology, ())
        free.remove(chosen)
        if chosen in set(cpus.get("isolated") or ()):
            notes.append(f"the control's CPU {chosen} is isolated itself, as every other one is")
    helpers: tuple[int, ...] = ()
    if helper and placement.measured:
        if not free:
            lacks = "the probe's helper needs a second CPU: use a machine with another one, or allow it (cpuset)"
            return Seats(placement.housekeeping, control=chosen, lacks=lacks)
        helpers, free = _helpers(placement.measured, free, topology, chosen, notes, load=load)
    # With idle load a control may have taken the last CPU: the agent sleeps beside it.
    return Seats(tuple(free or placement.housekeeping), helpers, chosen, tuple(notes))


def _no_control(free: Sequence[int], fit: Sequence[int], *, helper: bool, load: bool) -> str | None:
    what = "control: true needs a housekeeping CPU of its own"
    if not free:
        return f"{what}, and the measured CPU is the only one: add a CPU, or leave the control out"
    if not fit:
        text = f"{what}, and CPU {cpu_list(free)} shares its core with the measured one"
        return f"{text}: isolate fewer CPUs, switch SMT off, or leave the control out"
    if len(free) == 1 and (load or helper):
        user = "the load" if load else "the probe's helper"
        text = f"{what}, and CPU {free[0]} is the only one and {user}'s"
        return f"{text}: use a machine with another CPU, or {'load idle' if load else 'another bench'}, or no control"
    return None


def _helpers(
    measured: Sequence[int],
    free: Sequence[int],
    topology: Mapping[str, Any],
    control: int | None,
    notes: list[str],
    *,
    load: bool,
) -> tuple[tuple[int, ...], list[int]]:
    """A helper CPU for each of ``measured``, and what is left: at least half of ``free``."""
    places = max(1, len(free) // 2)
    taken: list[int] = []
    helpers: list[int] = []
    for cpu in measured:
        left = [other for other in free if other not in taken]
        if len(taken) < places:
            seats = taken if control is None else [*taken, control]
            taken.append(_nearest(left, cpu, topology, seats))
            helpers.append(taken[-1])
        else:  # one of the taken ones, those that help least first
            helpers.append(min(taken, key=lambda other: (helpers.count(other), *_distance(other, cpu, topology, ()))))
    rest = [cpu for cpu in free if cpu not in taken]
    if len(taken) < len(measured):
        notes.append(f"the helpers of {len(measured)} measured CPUs share CPU {cpu_list(taken)}")
    if not rest and load:
        notes.append(f"the probe's helper shares CPU {cpu_list(taken)} with the load: it may be late itself")
    far = [cpu for cpu, other in zip(measured, helpers, strict=True) if _node(cpu, topology) != _node(other, topology)]
    if far:
        notes.append(f"no free CPU on the node of CPU {cpu_list(far)}: its helper is on another node")
    return tuple(helpers), rest or list(free)


def _nearest(candidates: Sequence[int], to: int, topology: Mapping[str, Any], taken: Sequence[int]) -> int:
    return min(candidates, key=lambda cpu: _distance(cpu, to, topology, taken))


def _distance(cpu: int, to: int, topology: Mapping[str, Any], taken: Sequence[int]) -> tuple[bool, bool, bool, int]:
    return (
        _node(cpu, topology) != _node(to, topology),
        bool(siblings_of({cpu}, topology) & set(taken)),
        not _alike(cpu, to, topology),
        -cpu,
    )


def _node(cpu: int, topology: Mapping[str, Any]) -> Any:
    return (topology.get(str(cpu)) or {}).get("node")


def _alike(cpu: int, other: int, topology: Mapping[str, Any]) -> bool:
    """Whether two CPUs are of one kind, as far as is known: cores of one kind differ by a few percent."""
    for scale in ("capacity", "max_khz"):
        one, two = size_of(cpu, topology, scale), size_of(other, topology, scale)
        if one is not None and two is not None:
            return min(one, two) >= 0.9 * max(one, two)
    return True
