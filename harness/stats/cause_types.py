# SPDX-License-Identifier: Apache-2.0
"""The shape of causes, over the runs of a cell. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .quantiles import Spread

#: Of a gap, by its first entry, in the order of reports.
CLASSES = ("interrupt", "exception", "syscall", "unexplained")
#: From the least that is known to the most.
LEVELS = ("nothing", "software", "tracepoints")
#: What a probe calls causes beyond those that it tells apart.
OTHER = "other"

#: Class, entry, cause: see :attr:`Row.key`.
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Row:
    """One cause. ``runs`` of the measurements had it; ``per_s``: ns taken in a second, in each of them all, if known.

    ``buckets``: its histogram, pairs of a bucket's lowest value (ns) and a count, ascending.
    """

    class_: str
    entry: str | None
    cause: str | None
    irq: int | None
    count: int
    stolen_ns: int
    max_ns: int
    buckets: tuple[tuple[int, int], ...]
    runs: int = 1
    per_s: Spread | None = None

    @property
    def key(self) -> Key:
        return self.class_, self.entry or "", self.cause or ""

    @property
    def name(self) -> str:
        """``kind:name``; of a gap without a cause its class."""
        return self.cause or self.class_

    @property
    def mean_ns(self) -> float:
        return self.stolen_ns / self.count if self.count else 0.0


@dataclass(frozen=True)
class ClassTotal:
    count: int = 0
    stolen_ns: int = 0


@dataclass(frozen=True)
class Mismatch:
    """A row of /proc/interrupts of which the events are not as many: ``at_least`` to ``at_most`` were seen."""

    row: str
    at_least: int
    at_most: int
    interrupts: int


@dataclass(frozen=True)
class Lost:
    """Of all measurements: what the rings had no room for, what the kernel counted and never wrote, what nobody can
    read, gaps that came faster than they were taken, and events that lay in no gap, of all ``events``."""

    records: int = 0
    missing: int = 0
    unknown: int = 0
    gaps: int = 0
    outside: int = 0
    events: int = 0


@dataclass(frozen=True)
class Instruments:
    """What looking took, of all measurements that say so: ``events`` that the task paid for, ``cost_ns`` in all.

    Interrupts of the measured CPU by the reader (``own``) and by its ring (``wakeups``) while the loop ran; perf events
    that ``others`` opened meanwhile.
    """

    events: int = 0
    cost_ns: float = 0.0
    own: int = 0
    wakeups: int = 0
    others: int = 0


@dataclass(frozen=True)
class Causes:
    """``rows``: the most stolen time first. ``level``: the least of the measurements, ``levels`` how many had which;
    ``reasons``: why it was not more. ``conserved``: by the kernel's count of interrupts nothing is missing in any
    measurement; ``False``: in one (``wrong`` says of which interrupts); ``None``: it cannot be said of all.

    ``observed_s``: seconds of measurement behind ``rows``, 0 where the caller did not say. ``sample_ns``: what an event
    adds to what it is of; ``clock_error_ns``: by which one's time may be wrong, at worst. ``steal_ns``: what the host
    took of the measured CPUs meanwhile, of all that say so; ``None``: none does.
    """

    rows: tuple[Row, ...] = ()
    classes: Mapping[str, ClassTotal] = field(default_factory=dict)
    level: str = LEVELS[0]
    levels: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    measurements: int = 0
    observed_s: float = 0.0
    stolen_ns: int = 0
    count: int = 0
    conserved: bool | None = None
    checked: int = 0
    wrong: tuple[Mismatch, ...] = ()
    unseen: Mapping[str, int] = field(default_factory=dict)
    lost: Lost = Lost()
    sample_ns: Spread | None = None
    clock_error_ns: float | None = None
    tracers: tuple[str, ...] = ()
    instruments: Instruments | None = None
    steal_ns: int | None = None

    def share(self, stolen_ns: int) -> float:
        """The part of all stolen time that this is, 0 to 1."""
        return stolen_ns / self.stolen_ns if self.stolen_ns else 0.0

    def rate_hz(self, count: int) -> float | None:
        return count / self.observed_s if self.observed_s > 0 else None

    def per_s(self, stolen_ns: int) -> float | None:
        """ns taken in a second of measurement."""
        return stolen_ns / self.observed_s if self.observed_s > 0 else None
