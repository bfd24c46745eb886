# SPDX-License-Identifier: Apache-2.0
"""When events came: the gaps of a run over its time, thinned so that the longest stay and what is left out is counted.

A noisy run has 65,536 gaps, a screen has a thousand columns. The run's time is cut into :data:`BINS` parts of equal
length, and of each part the longest event is kept, of every measured CPU. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..stats.causes import CLASSES
from ..store.documents import LARGEST
from ..store.hdr import Ints

#: Parts of a run's time.
BINS = 60
#: The time of an event is kept in this many parts of the run's: finer than any screen.
TICKS = 10_000

_NOT_PINNED = -1
_NO_CLASS = -1
_CLASSES = {name.encode(): place for place, name in enumerate(CLASSES)}


@dataclass(frozen=True, eq=False)
class Events:
    """A list of events as arrays: CPU (-1 where the task was not pinned), time from the start (ns), length, and class,
    a place in :data:`~harness.stats.causes.CLASSES` (-1 where none is told)."""

    cpu: Ints
    at: Ints
    length: Ints
    class_: Ints


@dataclass(frozen=True, eq=False)
class Moments:
    """The longest events of each part of a run, by CPU (``any`` when not pinned), and how many were ``seen`` in all.

    Each as an array of shape (n, 2), time in ticks and length in ns, in order of time.
    """

    kept: Mapping[str, Ints]
    seen: int

    @property
    def all(self) -> Ints:
        return np.concatenate([*self.kept.values()]) if self.kept else np.zeros((0, 2), dtype=np.int64)


def parse(text: bytes, length: str) -> Events:
    """The events of JSON lines; ``length`` is the key of an event's length. ``ValueError`` for what is no such line.

    The lines are read as the probes write them, by one expression; if that does not fit every line, as JSON (a tenth
    as fast).
    """
    pattern = re.compile(
        rb'\{"cpu":(null|[0-9]{1,6}),"at_ns":([0-9]{1,18}),"%s":([0-9]{1,18})(?:,"class":"([a-z]{1,16})")?[,}]'
        % length.encode()
    )
    found = pattern.findall(text)
    if len(found) != text.count(b"\n{") + text.startswith(b"{"):
        found = _as_json(text, length)
    cpus = [_NOT_PINNED if cpu in (b"null", None) else int(cpu) for cpu, _, _, _ in found]
    classes = [_CLASSES.get(class_, _NO_CLASS) for _, _, _, class_ in found]
    columns = [cpus, [int(at) for _, at, _, _ in found], [int(value) for _, _, value, _ in found], classes]
    return Events(*(np.array(column, dtype=np.int64) for column in columns))


def _as_json(text: bytes, length: str) -> list[tuple[int | None, int, int, bytes]]:
    """What has no time or length is passed over."""
    found: list[tuple[int | None, int, int, bytes]] = []
    for line in text.splitlines():
        event = json.loads(line)
        if not isinstance(event, dict):
            continue
        cpu, at, value = (event.get(key) for key in ("cpu", "at_ns", length))
        if all(type(each) is int and 0 <= each < LARGEST for each in (0 if cpu is None else cpu, at, value)):
            found.append((cpu, int(at or 0), int(value or 0), str(event.get("class", "")).encode()))
    return found


def thin(events: Events, duration_ns: int, cpus: Sequence[int | None]) -> Moments:
    """The longest of each part, of the events on the measured ``cpus``."""
    kept: dict[str, Ints] = {}
    seen = 0
    ticks = np.minimum(TICKS - 1, events.at * (TICKS / max(1, duration_ns))).astype(np.int64)
    for cpu in cpus:
        mine = np.flatnonzero(events.cpu == (_NOT_PINNED if cpu is None else cpu))
        seen += len(mine)
        if len(mine) == 0:
            continue
        parts = ticks[mine] * BINS // TICKS
        order = np.lexsort((events.length[mine], parts))
        last = np.append(np.flatnonzero(np.diff(parts[order])), len(order) - 1)  # of each part
        chosen = mine[order[last]]
        kept["any" if cpu is None else str(cpu)] = np.stack([ticks[chosen], events.length[chosen]], axis=1)
    return Moments(kept, seen)


def longest_by_class(events: Events, duration_ns: int, cpu: int | None, parts: int) -> Ints:
    """The longest of each class in each of ``parts`` equal parts of the time, of the events on ``cpu``: an array of
    shape (n, 3), part, class and length, in this order. One that lasts longer than a part is in all that it reaches
    into. Those without a class are left out."""
    mine = np.flatnonzero((events.cpu == (_NOT_PINNED if cpu is None else cpu)) & (events.class_ != _NO_CLASS))
    if len(mine) == 0:
        return np.zeros((0, 3), dtype=np.int64)
    scale = parts / max(1, duration_ns)
    first, last = (
        np.clip(np.floor(at * scale), 0, parts - 1).astype(np.int64)
        for at in (events.at[mine], events.at[mine].astype(float) + events.length[mine])
    )
    reach = last - first + 1
    if reach.sum() > len(mine) + 2 * parts:  # they lie over each other: no list that a probe writes
        reach[:] = 1
    which = np.repeat(np.arange(len(mine)), reach)
    part = np.repeat(first, reach) + np.arange(len(which)) - np.repeat(np.cumsum(reach) - reach, reach)
    class_, length = events.class_[mine][which], events.length[mine][which]
    place = part * len(CLASSES) + class_
    order = np.lexsort((length, place))
    chosen = order[np.append(np.flatnonzero(np.diff(place[order])), len(order) - 1)]
    return np.stack([part[chosen], class_[chosen], length[chosen]], axis=1)


def longest_per_part(moments: Sequence[Ints], room: int) -> list[tuple[int, int, int]]:
    """Of several runs together: (time, length, place of the run), at most ``room``, in order of time.

    Of each part of time as many as there is room for, the longest first, so that no part is empty that had one.
    """
    parts: dict[int, list[tuple[int, int, int]]] = {}
    for run, own in enumerate(moments):
        for tick, value in own.tolist():
            parts.setdefault(tick * BINS // TICKS, []).append((value, tick, run))
    each = max(1, room // max(1, len(parts)))
    kept = [(t, v, r) for part in parts.values() for v, t, r in sorted(part, reverse=True)[:each]]
    return sorted(kept)
