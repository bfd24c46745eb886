# SPDX-License-Identifier: Apache-2.0
"""What took the core's time, over the runs of a cell, and two cells' causes beside each other. Pure.

In: ``results[].attribution`` of run.json (docs/formats.md). A cause is known by its class, the entry that began the
gap, and its own name; numbers of interrupts change from boot to boot, and are no part of that. Sides of different
length compare by time taken and times counted *per second of measurement*. Files are read with care: what is missing
or of another type counts as nothing said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .quantiles import Spread, spread

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


@dataclass(frozen=True)
class Side:
    """A cause on one side: ns taken and times counted, in a second of measurement. ``each``: over its runs."""

    count: int
    per_s: float
    rate_hz: float
    max_ns: int
    each: Spread | None = None


_NONE = Side(0, 0.0, 0.0, 0)


@dataclass(frozen=True)
class Beside:
    """A cause on several sides; a side without it has zeros."""

    class_: str
    entry: str | None
    cause: str | None
    sides: tuple[Side, ...]

    @property
    def name(self) -> str:
        return self.cause or self.class_

    @property
    def change(self) -> float:
        """The most that any side differs from the first, in ns a second."""
        return max((abs(side.per_s - self.sides[0].per_s) for side in self.sides[1:]), default=0.0)

    def state(self, place: int) -> str:
        """Of the side at ``place``, held against the first: ``new``, ``gone``, ``both``, or ``none``: on neither."""
        first, own = self.sides[0].count > 0, self.sides[place].count > 0
        return {(False, True): "new", (True, False): "gone", (True, True): "both"}.get((first, own), "none")


class Sum:
    """What measurements found, taken in one by one, so that ten thousand runs fit in memory.

    ``bucket`` maps the lowest value of a histogram's bucket (ns) to that of a wider one; by default they stay.
    """

    def __init__(self, bucket: Callable[[int], int] | None = None) -> None:
        self._bucket = bucket
        self._rows: dict[Key, _Adding] = {}
        self._levels: Counter[str] = Counter()
        self._reasons: dict[str, None] = {}
        self._scopes: dict[str, None] = {}
        self._tracers: dict[str, None] = {}
        self._seconds: list[float] = []
        self._holds: Counter[bool | None] = Counter()
        self._wrong: dict[str, list[int]] = {}
        self._unseen: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._samples: list[float | None] = []
        self._errors: list[float] = []
        self._instruments: Counter[str] = Counter()
        self._cost_ns = 0.0
        self._steal_ns: int | None = None

    def add(self, attribution: Mapping[str, Any], seconds: float = 0.0) -> None:
        """A run of a CPU, which took ``seconds``. One that found no causes at all (level ``nothing``) adds no time."""
        level = _level(attribution)
        self._levels[level] += 1
        if attribution.get("reason"):
            self._reasons[str(attribution["reason"])] = None
        if level == LEVELS[0]:
            return
        self._seconds.append(seconds)
        if attribution.get("scope"):
            self._scopes[str(attribution["scope"])] = None
        for cause in _list(attribution.get("causes")):
            if isinstance(cause, Mapping):
                key = (str(cause.get("class")), _text(cause.get("entry")) or "", _text(cause.get("cause")) or "")
                self._rows.setdefault(key, _Adding()).add(len(self._seconds) - 1, cause, self._bucket)
        self._balance(_mapping(attribution.get("conservation")))
        ring, placed = _mapping(attribution.get("ring")), _mapping(attribution.get("placed"))
        for name, number in (
            *((name, ring.get(key)) for name, key in (("records", "lost"), ("missing",) * 2, ("unknown",) * 2)),
            ("gaps", attribution.get("gaps_dropped")),
            ("outside", placed.get("outside")),
            *(("events", placed.get(key)) for key in ("inside", "outside")),
        ):
            self._lost[name] += _count(number)
        self._instrument(_mapping(attribution.get("instruments")))
        if (steal := attribution.get("steal_ns")) is not None:
            self._steal_ns = (self._steal_ns or 0) + _count(steal)
        self._samples.append(_number(attribution.get("sample_ns")))
        if (error := _number(attribution.get("clock_error_ns"))) is not None:
            self._errors.append(error)
        if attribution.get("tracer"):
            self._tracers[f"the tracer {attribution['tracer']}"] = None
        if attribution.get("other_events"):
            self._tracers["somebody else's events"] = None

    def _instrument(self, said: Mapping[str, Any]) -> None:
        self._cost_ns += _number(said.get("cost_ns")) or 0.0
        interrupts = _mapping(said.get("interrupts"))
        for name, number in (
            ("events", said.get("events")),
            *((name, interrupts.get(name)) for name in ("own", "wakeups")),
            ("others", said.get("opened_by_others")),
        ):
            if number is not None:
                self._instruments[name] += _count(number)

    def _balance(self, balance: Mapping[str, Any]) -> None:
        holds = balance.get("holds")
        self._holds[holds if isinstance(holds, bool) else None] += 1
        for name, row in _mapping(balance.get("rows")).items() if holds is False else ():
            events, edge, interrupts = (_count(_mapping(row).get(key)) for key in ("events", "edge", "interrupts"))
            if not events <= interrupts <= events + edge:
                known = self._wrong.setdefault(str(name), [0, 0, 0])
                known[:] = [a + b for a, b in zip(known, (events, events + edge, interrupts), strict=True)]
        for name, number in _mapping(balance.get("unseen")).items():
            self._unseen[str(name)] += _count(number)

    def causes(self) -> Causes:
        rows = sorted(
            (adding.row(key, self._seconds) for key, adding in self._rows.items()),
            key=lambda row: (-row.stolen_ns, -row.count, row.key),
        )
        classes = {}
        for name in dict.fromkeys((*CLASSES, *(row.class_ for row in rows))):
            own = [row for row in rows if row.class_ == name]
            classes[name] = ClassTotal(sum(row.count for row in own), sum(row.stolen_ns for row in own))
        checked = self._holds[True] + self._holds[False]
        return Causes(
            rows=tuple(rows),
            classes=classes,
            level=min(self._levels, key=LEVELS.index, default=LEVELS[0]),
            levels={name: self._levels[name] for name in LEVELS if self._levels[name]},
            reasons=tuple(self._reasons),
            scopes=tuple(self._scopes),
            measurements=sum(self._levels.values()),
            observed_s=sum(self._seconds),
            stolen_ns=sum(row.stolen_ns for row in rows),
            count=sum(row.count for row in rows),
            conserved=False if self._holds[False] else True if checked and not self._holds[None] else None,
            checked=checked,
            wrong=tuple(Mismatch(name, *numbers) for name, numbers in self._wrong.items()),
            unseen={name: number for name, number in self._unseen.items() if number},
            lost=Lost(**self._lost),
            sample_ns=spread(self._samples),
            clock_error_ns=max(self._errors, default=None),
            tracers=tuple(self._tracers),
            instruments=Instruments(cost_ns=self._cost_ns, **self._instruments) if self._instruments else None,
            steal_ns=self._steal_ns,
        )


class _Adding:
    """A cause, while it is added up."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ns = 0
        self.irqs: set[int] = set()
        self.taken: dict[int, int] = {}  # ns, by the number of the measurement
        self.buckets: Counter[int] = Counter()

    def add(self, number: int, cause: Mapping[str, Any], bucket: Callable[[int], int] | None) -> None:
        self.count += _count(cause.get("count"))
        self.max_ns = max(self.max_ns, _count(cause.get("max_ns")))
        self.taken[number] = self.taken.get(number, 0) + _count(cause.get("stolen_ns"))
        if isinstance(irq := cause.get("irq"), int):
            self.irqs.add(irq)
        for pair in _list(cause.get("buckets")):
            if isinstance(pair, list | tuple) and len(pair) == 2:
                low = _count(pair[0])
                self.buckets[bucket(low) if bucket else low] += _count(pair[1])

    def row(self, key: Key, seconds: Sequence[float]) -> Row:
        each = None
        if all(time > 0 for time in seconds):
            each = spread(self.taken.get(number, 0) / time for number, time in enumerate(seconds))
        return Row(
            class_=key[0],
            entry=key[1] or None,
            cause=key[2] or None,
            irq=min(self.irqs) if len(self.irqs) == 1 else None,
            count=self.count,
            stolen_ns=sum(self.taken.values()),
            max_ns=self.max_ns,
            buckets=tuple(sorted(self.buckets.items())),
            runs=len(self.taken),
            per_s=each,
        )


def total(attributions: Iterable[Mapping[str, Any]], seconds: Iterable[float] | None = None) -> Causes:
    """The sum of what measurements found: runs of a cell, CPUs of a run. ``seconds``: how long each of them was.

    Those that found no cause at all (level ``nothing``) count in ``levels`` alone. Without any measurement the level
    is ``nothing``.
    """
    found = [each for each in attributions if isinstance(each, Mapping)]
    times = list(seconds) if seconds is not None else [0.0] * len(found)
    if len(times) != len(found):
        raise ValueError(f"{len(found)} measurements of {len(times)} lengths")
    adding = Sum()
    for each, time in zip(found, times, strict=True):
        adding.add(each, time)
    return adding.causes()


def of_results(results: Iterable[Mapping[str, Any]]) -> Causes | None:
    """Of ``results`` of run.json files; ``None`` where attribution was asked for in none of them."""
    adding = Sum()
    return adding.causes() if add_results(adding, results) else None


def add_results(adding: Sum, results: Iterable[Mapping[str, Any]]) -> int:
    """Take in ``results`` of a run.json; of how many of them attribution was asked for."""
    asked = [each for each in results if isinstance(each.get("attribution"), Mapping)]
    for each in asked:
        adding.add(each["attribution"], (_number(each.get("duration_ns")) or 0.0) / 1e9)
    return len(asked)


def beside(sides: Sequence[Causes]) -> tuple[Beside, ...]:
    """The causes of several sides, matched; the first is what the others are held against. The most changed first.

    Raises :class:`ValueError` for a side whose length is not known, if it has a cause.
    """
    if any(side.rows and side.observed_s <= 0 for side in sides):
        raise ValueError("sides compare by the second, and one does not say how long it was measured")
    names: dict[Key, Row] = {}
    known: list[dict[Key, Row]] = []
    for side in sides:
        own = {row.key: row for row in side.rows}
        known.append(own)
        names = {**own, **names}
    found = [
        Beside(
            row.class_,
            row.entry,
            row.cause,
            tuple(_side(side, own.get(key)) for side, own in zip(sides, known, strict=True)),
        )
        for key, row in names.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.change, -sum(side.per_s for side in each.sides), each.name)))


def _side(side: Causes, row: Row | None) -> Side:
    if row is None:
        return _NONE
    return Side(row.count, row.stolen_ns / side.observed_s, row.count / side.observed_s, row.max_ns, row.per_s)


def _level(attribution: Mapping[str, Any]) -> str:
    level = attribution.get("level")
    return level if level in LEVELS else LEVELS[0]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else 0


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
