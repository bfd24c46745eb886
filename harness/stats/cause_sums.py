# SPDX-License-Identifier: Apache-2.0
"""Causes of measurements, added up one by one. Files are read with care: what is missing or of another type counts as
nothing said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..store.documents import mapping, objects, real, text
from .cause_types import CLASSES, LEVELS, Causes, ClassTotal, Instruments, Key, Lost, Mismatch, Row
from .quantiles import spread


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
        for cause in objects(attribution.get("causes")):
            key = (str(cause.get("class")), text(cause.get("entry")) or "", text(cause.get("cause")) or "")
            self._rows.setdefault(key, _Adding()).add(len(self._seconds) - 1, cause, self._bucket)
        self._balance(mapping(attribution.get("conservation")))
        ring, placed = mapping(attribution.get("ring")), mapping(attribution.get("placed"))
        for name, number in (
            *((name, ring.get(key)) for name, key in (("records", "lost"), ("missing",) * 2, ("unknown",) * 2)),
            ("gaps", attribution.get("gaps_dropped")),
            ("outside", placed.get("outside")),
            *(("events", placed.get(key)) for key in ("inside", "outside")),
        ):
            self._lost[name] += _count(number)
        self._instrument(mapping(attribution.get("instruments")))
        if (steal := attribution.get("steal_ns")) is not None:
            self._steal_ns = (self._steal_ns or 0) + _count(steal)
        self._samples.append(real(attribution.get("sample_ns")))
        if (error := real(attribution.get("clock_error_ns"))) is not None:
            self._errors.append(error)
        if attribution.get("tracer"):
            self._tracers[f"the tracer {attribution['tracer']}"] = None
        if attribution.get("other_events"):
            self._tracers["somebody else's events"] = None

    def _instrument(self, said: Mapping[str, Any]) -> None:
        self._cost_ns += real(said.get("cost_ns")) or 0.0
        interrupts = mapping(said.get("interrupts"))
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
        for name, row in mapping(balance.get("rows")).items() if holds is False else ():
            events, edge, interrupts = (_count(mapping(row).get(key)) for key in ("events", "edge", "interrupts"))
            if not events <= interrupts <= events + edge:
                known = self._wrong.setdefault(str(name), [0, 0, 0])
                known[:] = [a + b for a, b in zip(known, (events, events + edge, interrupts), strict=True)]
        for name, number in mapping(balance.get("unseen")).items():
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


def add_results(adding: Sum, results: Iterable[Mapping[str, Any]]) -> int:
    """Take in ``results`` of a run.json; of how many of them attribution was asked for."""
    asked = [each for each in results if isinstance(each.get("attribution"), Mapping)]
    for each in asked:
        adding.add(each["attribution"], (real(each.get("duration_ns")) or 0.0) / 1e9)
    return len(asked)


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
        buckets = cause.get("buckets")
        for pair in buckets if isinstance(buckets, list) else ():
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


def _level(attribution: Mapping[str, Any]) -> str:
    level = attribution.get("level")
    return level if level in LEVELS else LEVELS[0]


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else 0
