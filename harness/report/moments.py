# SPDX-License-Identifier: Apache-2.0
"""When events came: the gaps of a run over its time, thinned so that the longest stay and what is left out is counted.

A noisy run has 65,536 gaps, a screen has a thousand columns. The run's time is cut into :data:`BINS` parts of equal
length, and of each part the longest event is kept, of every measured CPU. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Parts of a run's time.
BINS = 60
#: The time of an event is kept in this many parts of the run's: finer than any screen.
TICKS = 10_000

#: Time in ticks, and length in ns.
Moment = tuple[int, int]


@dataclass(frozen=True)
class Moments:
    """The longest events of each part of a run, by CPU (``any`` when not pinned), and how many were ``seen`` in all."""

    kept: Mapping[str, tuple[Moment, ...]]
    seen: int

    @property
    def all(self) -> list[Moment]:
        return [moment for moments in self.kept.values() for moment in moments]


def thin(events: Iterable[Mapping[str, Any]], length: str, duration_ns: int, cpus: Sequence[int | None]) -> Moments:
    """The longest of each part, of the events on the measured ``cpus``. ``length`` is the key of an event's length.

    Streams: a list of any length takes no more memory than what is kept. What has no time or length is passed over.
    """
    longest: dict[str, dict[int, Moment]] = {_name(cpu): {} for cpu in cpus}
    seen = 0
    for event in events:
        own = longest.get(_name(event.get("cpu")))
        at, value = event.get("at_ns"), event.get(length)
        if own is None or type(at) is not int or type(value) is not int:
            continue
        seen += 1
        tick = min(TICKS - 1, max(0, at * TICKS // max(1, duration_ns)))
        part = tick * BINS // TICKS
        if part not in own or value > own[part][1]:
            own[part] = (tick, value)
    kept = {cpu: tuple(own[part] for part in sorted(own)) for cpu, own in longest.items() if own}
    return Moments(kept, seen)


def longest_per_part(moments: Sequence[Sequence[Moment]], room: int) -> list[tuple[int, int, int]]:
    """Of several runs together: (time, length, place of the run), at most ``room``, in order of time.

    Of each part of time as many as there is room for, the longest first, so that no part is empty that had one.
    """
    parts: dict[int, list[tuple[int, int, int]]] = {}
    for run, own in enumerate(moments):
        for tick, value in own:
            parts.setdefault(tick * BINS // TICKS, []).append((value, tick, run))
    each = max(1, room // max(1, len(parts)))
    kept = [(t, v, r) for part in parts.values() for v, t, r in sorted(part, reverse=True)[:each]]
    return sorted(kept)


def _name(cpu: object) -> str:
    return "any" if cpu is None else str(cpu)
