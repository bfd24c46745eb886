# SPDX-License-Identifier: Apache-2.0
"""When a run was, by its machine's clocks: times of its events to those of other traces. Pure.

A run.json comes from a machine under test, and may lack anything or have it of another type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .documents import at, objects, whole
from .runs import Run

#: A clock that ran faster or slower than this, beside another one, was set in between.
_LARGEST_SLEW = 1 / 500


@dataclass(frozen=True)
class Moment:
    """What the clocks of a machine showed at one instant, in ns, by name (``realtime``, ``boottime``, ...)."""

    readings: Mapping[str, int]

    def __getitem__(self, clock: str) -> int:
        return self.readings[clock]


@dataclass(frozen=True)
class Clock:
    """Times of a run, ns from its first reading of the counter, to those of the trace's clock."""

    start_ns: int
    #: By the trace's clock and by the counter from the begin to the end: they differ where NTP is at work.
    elapsed_ns: int = 1
    counted_ns: int = 1

    def at(self, ns: int) -> int:
        return max(0, self.start_ns + ns * self.elapsed_ns // self.counted_ns)


def begins(run: Run) -> Moment | None:
    """When the measurement began, by the clocks of its machine; None where the run does not say."""
    found = [moment_of(each.get("started")) for each in results_of(run)]
    return next(filter(None, [*found, moment_of(run.document.get("started"))]), None)


def clock_of(result: Mapping[str, Any], otherwise: Moment, clock: str) -> Clock:
    """Of one probe, to times of ``clock``: its own begin, and how that ran beside the counter until its end."""
    begin, end = moment_of(result.get("started")) or otherwise, moment_of(result.get("ended"))
    if end is None or "monotonic_raw" not in begin.readings or "monotonic_raw" not in end.readings:
        return Clock(begin[clock])
    counted = end["monotonic_raw"] - begin["monotonic_raw"]
    elapsed = end[clock] - begin[clock]
    if counted <= 0 or abs(elapsed / counted - 1) > _LARGEST_SLEW:
        return Clock(begin[clock])
    return Clock(begin[clock], elapsed, counted)


def with_monotonic(begin: Moment, run: Run) -> Moment:
    """And CLOCK_MONOTONIC, which lies behind CLOCK_BOOTTIME by the time asleep: the agent read both, one by one."""
    boottime, monotonic = (at(run.document, "facts_before", f"{name}_ns") for name in ("boottime", "monotonic"))
    if not (whole(boottime) and whole(monotonic)):
        return begin
    return Moment({**begin.readings, "monotonic": begin["boottime"] - max(0, boottime - monotonic)})


def moment_of(value: object) -> Moment | None:
    if not isinstance(value, Mapping):
        return None
    found = {name: value[f"{name}_ns"] for name in ("realtime", "boottime", "monotonic_raw") if f"{name}_ns" in value}
    good = {name: at for name, at in found.items() if whole(at)}
    return Moment(good) if {"realtime", "boottime"} <= set(good) else None


def results_of(run: Run) -> list[Mapping[str, Any]]:
    return objects(run.document.get("results"))


def cpu_of(result: Mapping[str, Any]) -> int | None:
    cpu = result.get("cpu")
    return cpu if type(cpu) is int else None
