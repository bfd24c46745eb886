# SPDX-License-Identifier: Apache-2.0
"""What took the core's time, over the runs of a cell, and two cells' causes beside each other. Pure.

In: ``results[].attribution`` of run.json (docs/formats.md). A cause is known by its class, the entry that began the
gap, and its own name; numbers of interrupts change from boot to boot, and are no part of that. Sides of different
length compare by time taken and times counted *per second of measurement*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cause_sums import Sum, add_results
from .cause_types import CLASSES, LEVELS, OTHER, Causes, ClassTotal, Instruments, Key, Lost, Mismatch, Row
from .quantiles import Spread

__all__ = [
    "CLASSES", "LEVELS", "OTHER", "Beside", "Causes", "ClassTotal", "Instruments", "Key", "Lost", "Mismatch", "Row",
    "Side", "Sum", "add_results", "beside", "of_results", "summed", "total",
]  # fmt: skip


@dataclass(frozen=True)
class Side:
    """A cause on one side: ns taken and times counted, in a second of measurement. ``each``: over its runs."""

    count: int
    per_s: float
    rate_hz: float
    max_ns: int
    each: Spread | None = None


_NONE = Side(0, 0.0, 0.0, 0)


def summed(sides: Iterable[Side]) -> Side:
    """Several causes of one side as one."""
    several = list(sides)
    return Side(
        sum(each.count for each in several),
        sum(each.per_s for each in several),
        sum(each.rate_hz for each in several),
        max((each.max_ns for each in several), default=0),
    )


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
