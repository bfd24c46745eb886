# SPDX-License-Identifier: Apache-2.0
"""Perfetto's trace format, as far as is needed here: tracks, slices, instants, counters and clocks, packet by packet.

A trace is a protobuf message ``Trace`` that is nothing but packets one after the other, so it can be written as a
stream. Of protobuf's wire format two kinds of field are needed, whole numbers and bytes; that is less than a library
of 2 MB at each place of installation. The tests read what is written here with Perfetto's own definitions.

Source: https://perfetto.dev/docs/reference/synthetic-track-event, protos/perfetto/trace in its repository, from which
the numbers of fields below are (they never change: traces of any age open).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

#: Clocks that every tracer of Linux knows: ClockSnapshot.Clock.BuiltinClocks.
CLOCKS = {"realtime": 1, "monotonic": 3, "monotonic_raw": 5, "boottime": 6}

_SLICE_BEGIN, _SLICE_END, _INSTANT, _COUNTER = 1, 2, 3, 4
_EXPLICIT_ORDER = 3  # of a track's children: by their rank
_NO_MERGING = 2  # tracks of one name stay apart
_UNIT_NS = 1
_STATE_CLEARED, _NEEDS_STATE = 1, 2
#: All packets are of one writer, and no other tool's has this number: traces may be concatenated.
_SEQUENCE = int.from_bytes(b"isol", "big")
#: Names are told once and then numbered. So many at most are kept in mind: names come from machines under test.
_NAMES_KEPT = 4096
_U64 = (1 << 64) - 1


def varint(value: int) -> bytes:
    """A whole number of 64 bits: seven bits a byte, the lowest first; a negative one as its two's complement."""
    value &= _U64
    if value < 0x80:
        return value.to_bytes(1, "little")
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


#: By field, what stands before its value: a whole number's, and what has a length.
_NUMBER_KEYS = tuple(varint(field << 3) for field in range(64))
_DATA_KEYS = tuple(varint(field << 3 | 2) for field in range(64))


def number(field: int, value: int) -> bytes:
    """A field that is a whole number, a truth value or an enum."""
    return _NUMBER_KEYS[field] + varint(value)


def data(field: int, *parts: bytes) -> bytes:
    """A field that is text, or a message: its fields one after the other."""
    content = b"".join(parts)
    return _DATA_KEYS[field] + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    return data(field, value.encode("utf-8", "backslashreplace"))  # a lone surrogate becomes its escape


#: Of every packet; of those that use names which were told before.
_OURS = number(10, _SEQUENCE)
_WITH_NAMES = number(13, _NEEDS_STATE)


class TraceWriter:
    """Writes packets to ``out`` as they come; times are ns of ``clock``, a key of CLOCKS. Raises what ``out`` does."""

    def __init__(self, out: BinaryIO, clock: str) -> None:
        self._out = out
        self._clock = CLOCKS[clock]
        self._names: dict[tuple[int, str], int] = {}
        self._fresh = b""  # names that were met since the last packet
        self._instants: dict[tuple[str, str, str], bytes] = {}
        self._begun: dict[tuple[int, int], bytes] = {}  # what every event of a kind on a track begins with
        self._packet(self._cleared())

    def clocks(self, readings: Mapping[str, int]) -> None:
        """What clocks showed at one instant, by keys of CLOCKS. In order of time; that of the trace among them."""
        entries = [data(1, number(1, CLOCKS[name]), number(2, at_ns)) for name, at_ns in readings.items()]
        self._packet(data(6, *entries, number(2, self._clock)))

    def track(self, uuid: int, name: str, *, parent: int = 0, rank: int = 0, about: str = "") -> None:
        """A track, or a group of them: those whose ``parent`` it is, by their ``rank``."""
        self._track(uuid, name, parent, rank, text(14, about) if about else b"")

    def counter_track(self, uuid: int, name: str, *, parent: int, rank: int, scale: str) -> None:
        """A track of numbers, in ns. Those of one ``scale`` are drawn to one."""
        self._track(uuid, name, parent, rank, data(8, number(3, _UNIT_NS), text(7, scale)))

    def begin(self, at_ns: int, track: int, name: str, category: str, args: Mapping[str, int | str]) -> None:
        """A slice begins. On one track they may lie within each other, and may not cross."""
        self._event(at_ns, track, _SLICE_BEGIN, self._told(name, category, args))

    def end(self, at_ns: int, track: int) -> None:
        self._event(at_ns, track, _SLICE_END, b"")

    def instant(self, at_ns: int, track: int, name: str, category: str, args: Mapping[str, int | str]) -> None:
        self._event(at_ns, track, _INSTANT, self._told(name, category, args))

    def plain_instant(self, at_ns: int, track: int, name: str, category: str, label: str) -> None:
        """One of many that say the same: with an argument that is called as its category is."""
        told = self._instants.get((name, category, label))
        if told is None:
            told = self._told(name, category, {category: label})
            self._instants[name, category, label] = told
        self._event(at_ns, track, _INSTANT, told)

    def count(self, at_ns: int, track: int, value: int) -> None:
        self._event(at_ns, track, _COUNTER, number(30, value))

    def _track(self, uuid: int, name: str, parent: int, rank: int, more: bytes) -> None:
        self._packet(
            data(
                60,
                number(1, uuid),
                text(2, name),
                number(5, parent) if parent else b"",
                number(11, _EXPLICIT_ORDER),
                number(12, rank),
                number(15, _NO_MERGING),
                more,
            )
        )

    def _event(self, at_ns: int, track: int, kind: int, more: bytes) -> None:
        begun = self._begun.get((kind, track))
        if begun is None:
            if len(self._begun) > _NAMES_KEPT:
                self._begun.clear()
            begun = self._begun[kind, track] = number(9, kind) + number(11, track)
        content = number(8, at_ns) + _WITH_NAMES + _DATA_KEYS[11] + varint(len(begun) + len(more)) + begun + more
        if self._fresh:
            content += data(12, self._fresh)
            self._fresh = b""
        self._packet(content)

    def _told(self, name: str, category: str, args: Mapping[str, int | str]) -> bytes:
        if len(self._names) > _NAMES_KEPT:
            self._packet(self._cleared())
        found = [number(3, self._named(1, category)), number(10, self._named(2, name))]
        for key, value in args.items():
            given = number(4, value) if isinstance(value, int) else text(6, value)
            found.append(data(4, number(1, self._named(3, key)), given))
        return b"".join(found)

    def _named(self, kind: int, name: str) -> int:
        """The number of a name; ``kind`` is the field of InternedData: 1 categories, 2 names, 3 names of arguments."""
        found = self._names.get((kind, name))
        if found is None:
            found = self._names[kind, name] = len(self._names) + 1
            self._fresh += data(kind, number(1, found), text(2, name))
        return found

    def _cleared(self) -> bytes:
        """Names are told anew from here on, and times are of our clock."""
        self._names.clear()
        self._instants.clear()
        self._begun.clear()
        self._fresh = b""
        return number(13, _STATE_CLEARED) + data(59, number(58, self._clock))

    def _packet(self, *parts: bytes) -> None:
        self._out.write(data(1, _OURS, *parts))
