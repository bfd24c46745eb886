# SPDX-License-Identifier: Apache-2.0
"""Copies on each housekeeping CPU of more than the last-level cache holds: what is shared, its memory and its cache, is
taken from the measured CPU. At most a quarter of the memory that is free, so that nothing is ever swapped."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..snapshot import own_cgroups
from ..spec import LoadSpec
from ..system import Tree
from .base import needs_a_cpu
from .generator import GeneratorLoad

_MIB = 1 << 20
_CPUS = "/sys/devices/system/cpu"
#: Where the kernel does not say how large a cache is (arm64 without ACPI, virtual machines).
UNKNOWN_CACHE_KB = 32 << 10
#: Each process copies as much as this many caches; all of them together less than two would be no pressure.
_CACHES, _LEAST_CACHES = 4, 2
#: Of a cgroup: its limit, its use, and what of that in memory.stat can be had back; of version 2 and of version 1.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
#: Of the memory that is free, in percent.
_MOST = 25


def cache_kb(tree: Tree) -> int | None:
    """The largest cache of the first and the last CPU (clusters may differ), in KiB; None where none is shown."""
    sizes = []
    cpus = sorted(int(name[3:]) for name in tree.names(_CPUS) if name[:3] == "cpu" and name[3:].isdigit())
    for cpu in {*cpus[:1], *cpus[-1:]}:
        for index in tree.names(f"{_CPUS}/cpu{cpu}/cache"):
            size = tree.read(f"{_CPUS}/cpu{cpu}/cache/{index}/size") or ""
            if size.endswith("K") and size[:-1].isdigit():
                sizes.append(int(size[:-1]))
    return max(sizes, default=None)


def available_kb(tree: Tree) -> int | None:
    """What can be had without swapping, in KiB: as the kernel reckons, and as the limits of our cgroups allow.

    A cgroup's use includes the files that it read: those that nobody needs go first, so they are as good as free.
    """
    found = []
    for line in (tree.read("/proc/meminfo") or "").split("\n"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable" and rest.split()[:1] and rest.split()[0].isdigit():
            found.append(int(rest.split()[0]))
    for folder in own_cgroups(tree, "memory"):
        for limit, used, cached in _CGROUP_FILES:
            most, now = tree.number(f"{folder}/{limit}"), tree.number(f"{folder}/{used}")  # "max" is no number
            if most is not None and now is not None:
                found.append(max(0, most - max(0, now - _stat(tree, folder, cached))) >> 10)
    return min(found, default=None)


def _stat(tree: Tree, folder: str, key: str) -> int:
    """A number of memory.stat, of the whole subtree, in bytes."""
    for line in (tree.read(f"{folder}/memory.stat") or "").split("\n"):
        name, _, number = line.partition(" ")
        if name == key and number.isdigit():
            return int(number)
    return 0


def plan_kb(cache: int, available: int | None, processes: int) -> int:
    """KiB that each of ``processes`` may copy between (two buffers); 0 where that would be no pressure on ``cache``."""
    size = _CACHES * cache
    if available is not None:
        size = min(size, available * _MOST // 100 // max(1, processes))
    return size if size * processes >= _LEAST_CACHES * cache else 0


class Memory(GeneratorLoad):
    kind = "memory"

    @classmethod
    def needs(cls, spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:
        reasons = needs_a_cpu(spec, housekeeping)
        available = facts.get("memory_available_kb")
        cache = facts.get("cache_kb") or UNKNOWN_CACHE_KB
        if housekeeping and available is not None and not plan_kb(cache, available, len(housekeeping)):
            least = _LEAST_CACHES * cache * 100 // _MOST >> 10
            reasons.append(
                f"load {spec.name} needs {least} MiB of free memory to outgrow a cache of {cache >> 10} MiB and "
                f"never swap, and there are {available >> 10}: stop what uses memory there, or use another load"
            )
        return reasons

    def arguments(self) -> list[str]:
        cache = cache_kb(self.tree) or UNKNOWN_CACHE_KB
        # Little is free by now? Then as little as there was admitted.
        size = plan_kb(cache, available_kb(self.tree), len(self.housekeeping)) or cache
        return [str(max(_MIB, (size << 10) // 2))]
