# SPDX-License-Identifier: Apache-2.0
"""How long it takes, before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .cells import Cell

#: Seconds around each run that are neither settling nor measuring: start, read back, fetch.
OVERHEAD_S = 0.1
#: Seconds more, where several probes wait to begin together.
TOGETHER_S = 0.25
#: Seconds to connect, deploy and ask for facts, once per lane.
CONTACT_S = 3.0


@dataclass(frozen=True, slots=True)
class LaneEstimate:
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """By target. Lanes run side by side: the whole takes as long as its longest."""

    lanes: dict[str, LaneEstimate]

    @property
    def runs(self) -> int:
        return sum(lane.runs for lane in self.lanes.values())

    @property
    def seconds(self) -> float:
        return max((lane.seconds for lane in self.lanes.values()), default=0.0)

    def __str__(self) -> str:
        return format_seconds(self.seconds)


def estimate(cells: Iterable[Cell], repeat: int, sessions: int) -> Estimate:
    """The time of ``repeat`` × ``sessions`` runs of each of ``cells``."""
    each = repeat * sessions
    counts: dict[str, int] = {}
    spans_ns: dict[str, int] = {}
    for cell in cells:
        counts[cell.target] = counts.get(cell.target, 0) + 1
        together_ns = round(TOGETHER_S * 1e9) if cell.control or cell.cpus == "all" else 0
        spans_ns[cell.target] = spans_ns.get(cell.target, 0) + cell.settle_ns + cell.duration_ns + together_ns
    return Estimate(
        {
            target: LaneEstimate(count * each, CONTACT_S + each * (spans_ns[target] / 1e9 + count * OVERHEAD_S))
            for target, count in counts.items()
        }
    )


def format_seconds(seconds: float) -> str:
    """``43 s``, ``2 min 10 s``, ``1 h 05 min``, ``3 d 02 h``."""
    whole = round(seconds)
    for unit, size, below, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {below}"
    return f"{whole} s"
