# SPDX-License-Identifier: Apache-2.0
"""What may change while a run goes on: taken right before and right after it. A few milliseconds, no fork.

Everything is optional: what this machine does not have, or does not show us, is None.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Sequence

from . import services
from .system import Tree, parse_cpus

_CPU = "/sys/devices/system/cpu"
_USER_PROCESS = 7  # utmp's ut_type
USER_HZ = 100  # of /proc/stat, on every architecture we run on
_UTMP_SIZES = (384, 400)  # bytes a record: with 32- and with 64-bit times in it
_ENERGY = (f"{_CPU}/cpufreq/boost", f"{_CPU}/intel_pstate/no_turbo", f"{_CPU}/smt/control")


def take(tree: Tree, cpus: Sequence[int], roaming: Sequence[int] = ()) -> dict[str, Any]:
    """The snapshot for measured CPUs ``cpus``. Keys: see docs/protocol.md. All numbers are counters since boot.

    ``roaming`` are the CPUs of a task that is not pinned: what may have hit it there counts, not on ``cpus`` alone.
    """
    reached = roaming or cpus
    siblings = {str(cpu): _siblings(tree, cpu) for cpu in cpus}
    watched = sorted({*cpus, *reached, *(other for others in siblings.values() for other in others)})
    ticks = cpu_ticks(tree, watched)
    return {
        "realtime_ns": time.time_ns(),
        "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        "monotonic_ns": time.monotonic_ns(),
        "boot_id": tree.read("/proc/sys/kernel/random/boot_id"),
        "kernel": tree.read("/proc/sys/kernel/osrelease"),
        "kernel_version": tree.read("/proc/sys/kernel/version"),
        "online": tree.read(f"{_CPU}/online"),
        "clocksource": tree.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "clocksources": tree.read("/sys/devices/system/clocksource/clocksource0/available_clocksource"),
        "interrupts": interrupts(tree, cpus),
        "steal_ticks": {str(cpu): ticks[cpu][1] for cpu in reached if cpu in ticks},
        "busy_ticks": {str(cpu): ticks[cpu][0] for cpu in watched if cpu in ticks},
        "siblings": siblings,
        "throttled": {str(cpu): _throttled(tree, cpu) for cpu in reached},
        "frequency": {str(cpu): _frequency(tree, cpu) for cpu in reached},
        "quota_throttled": quota_throttled(tree),
        "energy": {path.rsplit("/", 1)[1]: tree.read(path) for path in _ENERGY},
        "irq_affinity_sha256": _irq_digest(tree),
        "loadavg": tree.read("/proc/loadavg"),
        "users": users(tree),
        "tainted": tree.number("/proc/sys/kernel/tainted"),
        "modules_sha256": _modules_digest(tree),
        "livepatch": {
            name: [tree.read(f"/sys/kernel/livepatch/{name}/{what}") for what in ("enabled", "transition")]
            for name in tree.names("/sys/kernel/livepatch")
        },
        "sched_ext": tree.read("/sys/kernel/sched_ext/root/ops") or tree.read("/sys/kernel/sched_ext/state"),
        "tracing": _tracing(tree),
        "swap": _swap(tree),
        "meddlers": services.running(tree),
    }


def interrupts(tree: Tree, cpus: Sequence[int]) -> dict[str, dict[str, int]]:
    """``{cpu: {irq or vector: count}}`` of /proc/interrupts, zeros left out."""
    lines = (tree.read("/proc/interrupts") or "").split("\n")
    columns = {name: index for index, name in enumerate(lines[0].split())}
    wanted = [(str(cpu), columns[f"CPU{cpu}"]) for cpu in cpus if f"CPU{cpu}" in columns]
    counts: dict[str, dict[str, int]] = {cpu: {} for cpu, _ in wanted}
    for line in lines[1:]:
        name, _, rest = line.partition(":")
        fields = rest.split(None, len(columns))
        for cpu, column in wanted:
            if column < len(fields) and fields[column].isdigit() and fields[column] != "0":
                counts[cpu][name.strip()] = int(fields[column])
    return counts


def _siblings(tree: Tree, cpu: int) -> list[int]:
    found = parse_cpus(tree.read(f"{_CPU}/cpu{cpu}/topology/thread_siblings_list"))
    return [other for other in found if other != cpu]


def cpu_ticks(tree: Tree, cpus: Sequence[int]) -> dict[int, tuple[int, int]]:
    """``{cpu: (busy, steal)}`` in USER_HZ, from /proc/stat; steal is no part of busy."""
    wanted = {f"cpu{cpu}": cpu for cpu in cpus}
    found = {}
    for line in (tree.read("/proc/stat") or "").split("\n"):
        fields = line.split()
        if fields and fields[0] in wanted and len(fields) >= 9 and all(each.isdigit() for each in fields[1:9]):
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(each) for each in fields[1:9])
            found[wanted[fields[0]]] = (user + nice + system + irq + softirq, steal)
    return found


def _throttled(tree: Tree, cpu: int) -> dict[str, int]:
    folder = f"{_CPU}/cpu{cpu}/thermal_throttle"
    counts = {name: tree.number(f"{folder}/{name}") for name in tree.names(folder) if name.endswith("_count")}
    return {name: count for name, count in counts.items() if count is not None}


def quota_throttled(tree: Tree) -> int | None:
    """How often a CPU quota has stopped our cgroup or one above it; None where none of them has such a count."""
    found = []
    for line in (tree.read("/proc/self/cgroup") or "").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        root = f"/sys/fs/cgroup/{controllers}".rstrip("/")
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1):
            stat = tree.read("/".join([root, *names[:depth], "cpu.stat"])) or ""
            found += [words[1] for words in map(str.split, stat.split("\n")) if words[:1] == ["nr_throttled"]]
    counts = [int(count) for count in found if count.isdigit()]
    return sum(counts) if counts else None


def _frequency(tree: Tree, cpu: int) -> dict[str, str | None]:
    folder = f"{_CPU}/cpu{cpu}/cpufreq"
    names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "energy_performance_preference")
    return {name: tree.read(f"{folder}/{name}") for name in names} if tree.exists(folder) else {}


def _irq_digest(tree: Tree) -> str | None:
    digest = hashlib.sha256()
    numbers = [name for name in tree.names("/proc/irq") if name.isdigit()]
    for name in numbers:
        digest.update(f"{name}={tree.read(f'/proc/irq/{name}/smp_affinity_list')};".encode())
    return digest.hexdigest() if numbers else None


def _modules_digest(tree: Tree) -> str | None:
    text = tree.read("/proc/modules")
    if text is None:
        return None
    # Name and size; the use count changes without anybody loading anything.
    names = sorted(" ".join(line.split()[:2]) for line in text.split("\n"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _tracing(tree: Tree) -> dict[str, Any] | None:
    for folder in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        tracer = tree.read(f"{folder}/current_tracer")
        if tracer is not None:
            events = tree.read(f"{folder}/set_event") or ""
            return {
                "tracer": tracer,
                "events_sha256": hashlib.sha256(events.encode()).hexdigest(),
                "events": len(events.split("\n")) if events else 0,
                "kprobes": tree.read("/sys/kernel/debug/kprobes/enabled"),
            }
    return None


def _swap(tree: Tree) -> dict[str, int]:
    found = {}
    for line in (tree.read("/proc/vmstat") or "").split("\n"):
        name, _, count = line.partition(" ")
        if name in ("pswpin", "pswpout") and count.isdigit():
            found[name] = int(count)
    return found


def users(tree: Tree) -> int | None:
    """How many terminals have somebody logged in. A connection without a terminal, such as ours, is none."""
    data = tree.read_bytes("/run/utmp") or tree.read_bytes("/var/run/utmp")
    if data:
        for size in _UTMP_SIZES:
            if len(data) % size == 0:
                return sum(_is_user(data[at : at + size]) for at in range(0, len(data), size))
    if not tree.exists("/run/systemd/sessions"):
        return 0 if data is not None else None
    # Newer distributions have no utmp: systemd-logind's own files then.
    sessions = [tree.read(f"/run/systemd/sessions/{name}") or "" for name in tree.names("/run/systemd/sessions")]
    return sum("\nTTY=" in text and "CLASS=user" in text for text in sessions)


def _is_user(record: bytes) -> bool:
    if int.from_bytes(record[:2], "little") != _USER_PROCESS:
        return False
    pid = int.from_bytes(record[4:8], "little")
    return os.path.exists(f"/proc/{pid}")  # a record of a session that died uncleanly stays behind
