# SPDX-License-Identifier: Apache-2.0
"""How long it takes, before it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .cells import Booted, Cell

#: Seconds around each run that are neither settling nor measuring: start, read back, fetch.
OVERHEAD_S = 0.1
#: Seconds more, where several probes wait to begin together.
TOGETHER_S = 0.25
#: Seconds more, to open the kernel's events and to close them.
ATTRIBUTION_S = 1.0
#: Seconds to connect, deploy and ask for facts, once per lane.
CONTACT_S = 3.0
#: Seconds from the order to boot until the machine has answered, where nothing better is known.
BOOT_S = 60.0


@dataclass(frozen=True, slots=True)
class LaneEstimate:
    runs: int
    seconds: float
    boots: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """By target. Lanes run side by side: the whole takes as long as its longest."""

    lanes: dict[str, LaneEstimate]

    @property
    def runs(self) -> int:
        return sum(lane.runs for lane in self.lanes.values())

    @property
    def boots(self) -> int:
        return sum(lane.boots for lane in self.lanes.values())

    @property
    def seconds(self) -> float:
        return max((lane.seconds for lane in self.lanes.values()), default=0.0)

    def __str__(self) -> str:
        return format_seconds(self.seconds)


def estimate(
    cells: Iterable[Cell],
    repeat: int,
    sessions: int,
    *,
    boots: bool = False,
    boot_s: Mapping[str, float] | None = None,
) -> Estimate:
    """The time of ``repeat`` × ``sessions`` runs of each of ``cells``.

    ``boots``: with a boot of ``boot_s`` seconds (by target; BOOT_S where that is not known) before each session of each
    kernel and boot profile, and one after the last, back to what the machine boots by itself.
    """
    each = repeat * sessions
    counts: dict[str, int] = {}
    spans_ns: dict[str, int] = {}
    booted: dict[str, set[Booted]] = {}
    for cell in cells:
        counts[cell.target] = counts.get(cell.target, 0) + 1
        booted.setdefault(cell.target, set()).add(cell.booted)
        extra_s = TOGETHER_S if cell.control or cell.cpus == "all" else 0.0
        extra_s += ATTRIBUTION_S if cell.attribution != "off" else 0.0
        spans_ns[cell.target] = spans_ns.get(cell.target, 0) + cell.settle_ns + cell.duration_ns + round(extra_s * 1e9)
    lanes: dict[str, LaneEstimate] = {}
    for target, count in counts.items():
        each_boot_s = (boot_s or {}).get(target, BOOT_S)
        ups = len(booted[target]) * sessions + 1 if boots else 0
        seconds = CONTACT_S + each * (spans_ns[target] / 1e9 + count * OVERHEAD_S) + ups * each_boot_s
        lanes[target] = LaneEstimate(count * each, seconds, ups)
    return Estimate(lanes)


def format_seconds(seconds: float) -> str:
    """``43 s``, ``2 min 10 s``, ``1 h 05 min``, ``3 d 02 h``."""
    whole = round(seconds)
    for unit, size, below, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part:02d} {below}"
    return f"{whole} s"
