# SPDX-License-Identifier: Apache-2.0
"""What may change while a run goes on: taken right before and right after it. A few milliseconds, no fork.

Everything is optional: what this machine does not have, or does not show us, is None.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any, Sequence

from . import partition, services, tracing
from .system import Tree, format_cpus, parse_cpus
from .tracers import tracers

_CPU = "/sys/devices/system/cpu"
_USER_PROCESS = 7  # utmp's ut_type
USER_HZ = 100  # of /proc/stat, on every architecture we run on
_UTMP_SIZES = (384, 400)  # bytes a record: with 32- and with 64-bit times in it
_COOLS_CPU = re.compile(r"Processor$|(?:thermal-)?(?:cpufreq|cpuidle|idle)-|intel_powerclamp$")
#: Events of hardware errors, which rasdaemon has on all the time: nothing happens until something breaks.
_RARE_EVENTS = re.compile(r"(?:ras|mce|cxl|devlink):|block:block_rq_error|net:net_dev_xmit_timeout")
#: What reaches isolated CPUs, whoever sets it.
_SETTINGS = (
    *(
        f"/proc/sys/kernel/{name}"
        for name in (
            "sched_rt_runtime_us",
            "sched_rt_period_us",
            "timer_migration",
            "numa_balancing",
            "watchdog",
            "nmi_watchdog",
            "watchdog_cpumask",
        )
    ),
    "/proc/sys/vm/stat_interval",
    "/proc/sys/vm/compact_unevictable_allowed",
    "/proc/sys/vm/compaction_proactiveness",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/ksm/run",
    "/sys/devices/virtual/workqueue/cpumask",
)
_ENERGY = (f"{_CPU}/cpufreq/boost", f"{_CPU}/intel_pstate/no_turbo", f"{_CPU}/smt/control")


def take(tree: Tree, cpus: Sequence[int], roaming: Sequence[int] = (), beside: Sequence[int] = ()) -> dict[str, Any]:
    """The snapshot for measured CPUs ``cpus``. Keys: see docs/protocol.md. All numbers are counters since boot.

    ``roaming`` are the CPUs of a task that is not pinned: what may have hit it there counts, not on ``cpus`` alone.
    ``beside`` is the control's CPU: its interrupts are counted as well.
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
        "isolated": _isolated(tree),
        "partition": partition.state(tree),
        "microcode": tree.read(f"{_CPU}/cpu{min(cpus)}/microcode/version") if cpus else None,
        "clocksource": tree.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "clocksources": tree.read("/sys/devices/system/clocksource/clocksource0/available_clocksource"),
        "interrupts": interrupts(tree, [*cpus, *beside]),
        "steal_ticks": {str(cpu): ticks[cpu][1] for cpu in reached if cpu in ticks},
        "busy_ticks": {str(cpu): ticks[cpu][0] for cpu in watched if cpu in ticks},
        "siblings": siblings,
        "throttled": {str(cpu): _throttled(tree, cpu) for cpu in reached},
        "cooling": cooling(tree),
        "frequency": {str(cpu): _frequency(tree, cpu) for cpu in reached},
        "quota_throttled": quota_throttled(tree),
        "energy": {path.rsplit("/", 1)[1]: tree.read(path) for path in _ENERGY},
        "settings": {path: tree.read(path) for path in _SETTINGS if tree.exists(path)},
        "irq_affinity": _irq_affinity(tree),
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
        "tracers": tracers(tree, os.getpid()),
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


def own_cgroups(tree: Tree, controller: str) -> list[str]:
    """The folders of our cgroup and of those above it, from the top, that may have files of ``controller``."""
    found = []
    for line in (tree.read("/proc/self/cgroup") or "").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            root = f"/sys/fs/cgroup/{controllers}".rstrip("/")
            names = [name for name in path.split("/") if name]
            found += ["/".join([root, *names[:depth]]) for depth in range(len(names) + 1)]
    return found


def quota_throttled(tree: Tree) -> int | None:
    """How often a CPU quota has stopped our cgroup or one above it; None where none of them has such a count."""
    found = []
    for folder in own_cgroups(tree, "cpu"):
        stat = tree.read(f"{folder}/cpu.stat") or ""
        found += [words[1] for words in map(str.split, stat.split("\n")) if words[:1] == ["nr_throttled"]]
    counts = [int(count) for count in found if count.isdigit()]
    return sum(counts) if counts else None


def _frequency(tree: Tree, cpu: int) -> dict[str, str | None]:
    folder = f"{_CPU}/cpu{cpu}/cpufreq"
    names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "energy_performance_preference")
    return {name: tree.read(f"{folder}/{name}") for name in names} if tree.exists(folder) else {}


def _irq_affinity(tree: Tree) -> dict[str, str]:
    """``{CPUs: interrupts}``, both as the kernel writes lists: most have the same CPUs."""
    found: dict[str, list[int]] = {}
    for name in tree.names("/proc/irq"):
        allowed = tree.read(f"/proc/irq/{name}/smp_affinity_list") if name.isdigit() else None
        if allowed is not None:
            found.setdefault(allowed, []).append(int(name))
    return {allowed: format_cpus(irqs) for allowed, irqs in found.items()}


def _isolated(tree: Tree) -> list[str | None]:
    """By the boot parameter, and by cpuset partitions (which newer kernels show in the first as well)."""
    return [tree.read(f"{_CPU}/isolated"), tree.read("/sys/fs/cgroup/cpuset.cpus.isolated")]


def cooling(tree: Tree) -> dict[str, int]:
    """``{name and type: state}`` of the cooling devices that slow down a CPU. 0: it is not held back."""
    found = {}
    for name in tree.names("/sys/class/thermal"):
        kind = (tree.read(f"/sys/class/thermal/{name}/type") or "") if name.startswith("cooling_device") else ""
        state = tree.number(f"/sys/class/thermal/{name}/cur_state") if _COOLS_CPU.match(kind) else None
        if state is not None:
            found[f"{name} ({kind})"] = state
    return found


def _modules_digest(tree: Tree) -> str | None:
    text = tree.read("/proc/modules")
    if text is None:
        return None
    # Name and size; the use count changes without anybody loading anything.
    names = sorted(" ".join(line.split()[:2]) for line in text.split("\n"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _tracing(tree: Tree) -> dict[str, Any] | None:
    """Tracer, events and probes of all instances; of the events a digest, how many, and the first few names."""
    folder = tracing.folder(tree)
    tracer = tree.read(f"{folder}/current_tracer") if folder is not None else None
    if tracer is None:
        return None
    instances = [f"{folder}/instances/{name}" for name in tree.names(f"{folder}/instances")]
    events = "\n".join(tree.read(f"{at}/set_event") or "" for at in (folder, *instances)).strip()
    probes = "\n".join(tree.read(f"{folder}/{kind}_events") or "" for kind in ("kprobe", "uprobe", "dynamic"))
    return {
        "tracer": tracer,
        "instances": [f"{os.path.basename(at)}: {tree.read(f'{at}/current_tracer')}" for at in instances],
        "events_sha256": hashlib.sha256(events.encode()).hexdigest(),
        "events": len(events.split("\n")) if events else 0,
        "on": [name for name in events.split("\n") if name and not _RARE_EVENTS.match(name)][:8],
        "probes_sha256": hashlib.sha256(probes.encode()).hexdigest(),
        "kprobes": tree.read("/sys/kernel/debug/kprobes/enabled"),
    }


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
