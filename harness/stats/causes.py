# SPDX-License-Identifier: Apache-2.0
"""What took the core's time, over the runs of a cell, and two cells' causes beside each other. Pure.

In: ``results[].attribution`` of run.json (docs/formats.md). A cause is known by its class, the entry that began the
gap, and its own name; numbers of interrupts change from boot to boot, and are no part of that. Sides of different
length compare by time taken and times counted *per second of measurement*. Files are read with care: what is missing
or of another type counts as nothing said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
class Causes:
    """``rows``: the most stolen time first. ``level``: the least of the measurements, ``levels`` how many had which;
    ``reasons``: why it was not more. ``conserved``: by the kernel's count of interrupts nothing is missing in any
    measurement; ``False``: in one (``wrong`` says of which interrupts); ``None``: it cannot be said of all.

    ``observed_s``: seconds of measurement behind ``rows``, 0 where the caller did not say. ``sample_ns``: what an event
    adds to what it is of; ``clock_error_ns``: by which one's time may be wrong, at worst.
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


def total(attributions: Iterable[Mapping[str, Any]], seconds: Iterable[float] | None = None) -> Causes:
    """The sum of what measurements found: runs of a cell, CPUs of a run. ``seconds``: how long each of them was.

    Those without a cause to tell (level ``nothing``) count in ``levels`` alone. Without any measurement the level is
    ``nothing``.
    """
    found = [each for each in attributions if isinstance(each, Mapping)]
    times = list(seconds) if seconds is not None else [0.0] * len(found)
    if len(times) != len(found):
        raise ValueError(f"{len(found)} measurements of {len(times)} lengths")
    levels = Counter(_level(each) for each in found)
    told = [(each, time) for each, time in zip(found, times, strict=True) if _level(each) != LEVELS[0]]
    rows = _rows(told)
    classes = {}
    for name in dict.fromkeys((*CLASSES, *(row.class_ for row in rows))):
        own = [row for row in rows if row.class_ == name]
        classes[name] = ClassTotal(sum(row.count for row in own), sum(row.stolen_ns for row in own))
    balances = [_mapping(each.get("conservation")) for each, _ in told]
    errors = [error for each, _ in told if (error := _number(each.get("clock_error_ns"))) is not None]
    return Causes(
        rows=rows,
        classes=classes,
        level=min(levels, key=LEVELS.index, default=LEVELS[0]),
        levels={name: levels[name] for name in LEVELS if levels[name]},
        reasons=tuple(dict.fromkeys(str(each["reason"]) for each in found if each.get("reason"))),
        scopes=tuple(dict.fromkeys(str(each["scope"]) for each, _ in told if each.get("scope"))),
        measurements=len(found),
        observed_s=sum(time for _, time in told),
        stolen_ns=sum(row.stolen_ns for row in rows),
        count=sum(row.count for row in rows),
        conserved=_conserved(balances),
        checked=sum(balance.get("holds") is not None for balance in balances),
        wrong=_wrong(balances),
        unseen=_unseen(balances),
        lost=_lost([each for each, _ in told]),
        sample_ns=spread(_number(each.get("sample_ns")) for each, _ in told),
        clock_error_ns=max(errors, default=None),
        tracers=_tracers(each for each, _ in told),
    )


def of_results(results: Iterable[Mapping[str, Any]]) -> Causes | None:
    """Of ``results`` of run.json files; ``None`` where attribution was asked for in none of them."""
    asked = [each for each in results if isinstance(each.get("attribution"), Mapping)]
    if not asked:
        return None
    return total((each["attribution"] for each in asked), ((_number(r.get("duration_ns")) or 0.0) / 1e9 for r in asked))


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


def _rows(told: Sequence[tuple[Mapping[str, Any], float]]) -> tuple[Row, ...]:
    groups: dict[Key, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for number, (each, _) in enumerate(told):
        for cause in _list(each.get("causes")):
            if isinstance(cause, Mapping):
                key = (str(cause.get("class")), _text(cause.get("entry")) or "", _text(cause.get("cause")) or "")
                groups[key].append((number, cause))
    rows = (_row(key, own, [time for _, time in told]) for key, own in groups.items())
    return tuple(sorted(rows, key=lambda row: (-row.stolen_ns, -row.count, row.key)))


def _row(key: Key, own: Sequence[tuple[int, Mapping[str, Any]]], seconds: Sequence[float]) -> Row:
    taken = [0] * len(seconds)
    buckets: Counter[int] = Counter()
    for number, cause in own:
        taken[number] += _count(cause.get("stolen_ns"))
        for pair in _list(cause.get("buckets")):
            if isinstance(pair, list | tuple) and len(pair) == 2:
                buckets[_count(pair[0])] += _count(pair[1])
    numbers = {irq for _, cause in own if isinstance(irq := cause.get("irq"), int)}
    each = spread(ns / time for ns, time in zip(taken, seconds, strict=True)) if all(t > 0 for t in seconds) else None
    return Row(
        class_=key[0],
        entry=key[1] or None,
        cause=key[2] or None,
        irq=min(numbers) if len(numbers) == 1 else None,
        count=sum(_count(cause.get("count")) for _, cause in own),
        stolen_ns=sum(taken),
        max_ns=max(_count(cause.get("max_ns")) for _, cause in own),
        buckets=tuple(sorted(buckets.items())),
        runs=len({number for number, _ in own}),
        per_s=each,
    )


def _conserved(balances: Sequence[Mapping[str, Any]]) -> bool | None:
    holds = [balance.get("holds") for balance in balances]
    if any(each is False for each in holds):
        return False
    return True if holds and all(each is True for each in holds) else None


def _wrong(balances: Iterable[Mapping[str, Any]]) -> tuple[Mismatch, ...]:
    """By row, summed over the measurements in which it did not hold."""
    found: dict[str, list[int]] = {}
    for balance in balances:
        if balance.get("holds") is not False:
            continue
        for name, row in _mapping(balance.get("rows")).items():
            events, edge, interrupts = (_count(_mapping(row).get(key)) for key in ("events", "edge", "interrupts"))
            if not events <= interrupts <= events + edge:
                known = found.setdefault(str(name), [0, 0, 0])
                found[str(name)] = [a + b for a, b in zip(known, (events, events + edge, interrupts), strict=True)]
    return tuple(Mismatch(name, *numbers) for name, numbers in found.items())


def _unseen(balances: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for balance in balances:
        for name, number in _mapping(balance.get("unseen")).items():
            found[str(name)] += _count(number)
    return {name: number for name, number in found.items() if number}


def _lost(told: Sequence[Mapping[str, Any]]) -> Lost:
    def added(part: str | None, key: str) -> int:
        return sum(_count((each if part is None else _mapping(each.get(part))).get(key)) for each in told)

    return Lost(
        records=added("ring", "lost"),
        missing=added("ring", "missing"),
        unknown=added("ring", "unknown"),
        gaps=added(None, "gaps_dropped"),
        outside=added("placed", "outside"),
        events=added("placed", "inside") + added("placed", "outside"),
    )


def _tracers(told: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for each in told:
        if each.get("tracer"):
            found[f"the tracer {each['tracer']}"] = None
        if each.get("other_events"):
            found["somebody else's events"] = None
    return tuple(found)


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
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
