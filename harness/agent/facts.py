# SPDX-License-Identifier: Apache-2.0
"""What this machine is: read once a contact. Identity, CPUs, privileges, what the kernel offers. Never raises.

A thing that is absent or not ours to read is None. The keys are described in docs/protocol.md.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from typing import Any

from . import board, cgroups, kconfig, services, tracing
from .kernels import state
from .knobs import show_all
from .loads import memory, tools
from .system import Tree, parse_cpus
from .tracers import tracers

_CPU = "/sys/devices/system/cpu"
_CAP_SYS_NICE = 1 << 23
_BUILD_ID_NOTE = 3  # NT_GNU_BUILD_ID
_HYPERVISORS = (("kvm", "kvm"), ("qemu", "qemu"), ("vmware", "vmware"), ("virtualbox", "virtualbox"), ("xen", "xen"))


def gather(tree: Tree | None = None) -> dict[str, Any]:
    """All facts. Takes a few milliseconds, and a call of systemctl where systemd runs (one fork, tens of them)."""
    tree = tree or Tree()
    cpuinfo = tree.read("/proc/cpuinfo") or ""
    return {
        "arch": platform.machine(),
        "hostname": socket.gethostname(),
        "machine_id": tree.read("/etc/machine-id"),
        "serial": board.serial(tree, _field(cpuinfo, "Serial")),
        "uuid": board.uuid(tree),
        "macs": board.macs(tree),
        "cpu_model": _cpu_model(tree, cpuinfo),
        "microcode": _field(cpuinfo, "microcode"),
        "firmware": _firmware(tree),
        "kernel": kernel(tree),
        "kernels": state.facts(tree),
        "boot_id": tree.read("/proc/sys/kernel/random/boot_id"),
        "clocksource": tree.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "tsc": _tsc(tree, cpuinfo),
        "virtual": _virtual(tree, cpuinfo),
        "cpus": cpus(tree),
        "cgroup": cgroups.gather(tree),
        "privileges": privileges(tree),
        "tracefs": tracing.folder(tree) is not None,
        "attribution": tracing.gather(tree),
        "debugfs": bool(tree.names("/sys/kernel/debug")),
        "perf_event_paranoid": tree.number("/proc/sys/kernel/perf_event_paranoid"),
        "python": platform.python_version(),
        "init": _init(tree),
        "selinux": {"1": "enforcing", "0": "permissive"}.get(tree.read("/sys/fs/selinux/enforce") or ""),
        "memory_kb": _meminfo(tree, "MemTotal"),
        "memory_available_kb": memory.available_kb(tree),
        "cache_kb": memory.cache_kb(tree),
        "swap_kb": _meminfo(tree, "SwapTotal"),
        "tools": tools.show_all(tree),
        "meddlers": services.running(tree),
        "tracers": tracers(tree, os.getpid()),
        "knobs": show_all(tree),
    }


def _field(text: str, name: str) -> str | None:
    """The first ``name : value`` of a text like /proc/cpuinfo."""
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip() or None
    return None


def _cpu_model(tree: Tree, cpuinfo: str) -> str | None:
    model = _field(cpuinfo, "model name")
    if model is None and _field(cpuinfo, "CPU part"):
        # arm64 prints numbers only; they are the identity all the same.
        parts = (_field(cpuinfo, f"CPU {name}") for name in ("implementer", "part", "variant", "revision"))
        model = "/".join(part or "?" for part in parts)
    return model or tree.read("/sys/firmware/devicetree/base/model")


def _firmware(tree: Tree) -> str | None:
    parts = [tree.read(f"/sys/class/dmi/id/bios_{what}") for what in ("vendor", "version", "date")]
    return " ".join(part for part in parts if part) or None


def kernel(tree: Tree) -> dict[str, Any]:
    version = tree.read("/proc/sys/kernel/version")
    config = kconfig.text(tree)
    return {
        "release": tree.read("/proc/sys/kernel/osrelease"),
        "version": version,
        "build_id": build_id(tree.read_bytes("/sys/kernel/notes")),
        "cmdline": tree.read("/proc/cmdline"),
        "config_sha256": kconfig.digest(config),
        "options": kconfig.options(config),
        "preempt": _preempt(tree, version or ""),
    }


def _preempt(tree: Tree, version: str) -> str:
    if tree.read("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return "PREEMPT_RT"
    return next((word for word in ("PREEMPT_DYNAMIC", "PREEMPT_LAZY", "PREEMPT") if word in version.split()), "none")


def build_id(notes: bytes | None) -> str | None:
    """The GNU build id in hex among ELF notes (32-bit words of this machine's order; name and text padded to 4)."""
    notes = notes or b""
    at = 0
    while at + 12 <= len(notes):
        name_size, text_size, kind = (
            int.from_bytes(notes[at + skip : at + skip + 4], sys.byteorder) for skip in (0, 4, 8)
        )
        text_at = at + 12 + (name_size + 3) // 4 * 4
        if kind == _BUILD_ID_NOTE and notes[at + 12 : at + 16] == b"GNU\0" and text_at + text_size <= len(notes):
            return notes[text_at : text_at + text_size].hex()
        at = text_at + (text_size + 3) // 4 * 4
    return None


def _tsc(tree: Tree, cpuinfo: str) -> dict[str, Any] | None:
    flags = (_field(cpuinfo, "flags") or "").split()
    if "tsc" not in flags:
        return None
    available = (tree.read("/sys/devices/system/clocksource/clocksource0/available_clocksource") or "").split()
    return {
        "constant": "constant_tsc" in flags,
        "nonstop": "nonstop_tsc" in flags,
        "trusted": "tsc" in available,  # the kernel takes it off the list when it finds it unstable
    }


def _virtual(tree: Tree, cpuinfo: str) -> str | None:
    """The hypervisor's name, ``unknown`` for one without, None on metal."""
    names = [tree.read(f"/sys/class/dmi/id/{what}") or "" for what in ("sys_vendor", "product_name", "bios_vendor")]
    names += [tree.read("/sys/hypervisor/type") or "", tree.read("/sys/firmware/devicetree/base/compatible") or ""]
    names.append(tree.read("/sys/firmware/devicetree/base/hypervisor/compatible") or "")
    text = " ".join(names).lower()
    for needle, name in _HYPERVISORS:
        if needle in text:
            return name
    if "linux,dummy-virt" in text:
        return "qemu"
    clocks = tree.read("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    if "kvm-clock" in clocks:
        return "kvm"
    if "hyperv" in clocks:
        return "hyperv"
    return "unknown" if "hypervisor" in (_field(cpuinfo, "flags") or "").split() else None


def cpus(tree: Tree) -> dict[str, Any]:
    """``{online, isolated, nohz_full, allowed, topology}``; allowed is what this process may be pinned to."""
    online = parse_cpus(tree.read(f"{_CPU}/online"))
    return {
        "online": online,
        "isolated": parse_cpus(tree.read(f"{_CPU}/isolated")),
        "nohz_full": parse_cpus(tree.read(f"{_CPU}/nohz_full")),
        "allowed": _reachable(online),
        "topology": {str(cpu): _topology(tree, cpu) for cpu in online},
    }


def _reachable(online: list[int]) -> list[int]:
    """The CPUs that the kernel lets us have when asked for all of them: those of our cpuset.

    The affinity that we were born with says less: isolcpus takes the isolated CPUs out of init's, and so out of ours,
    but a task may move there all the same.
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, online)
        return sorted(os.sched_getaffinity(0))
    except OSError:
        return sorted(before)
    finally:
        os.sched_setaffinity(0, before)


def _topology(tree: Tree, cpu: int) -> dict[str, Any]:
    folder = f"{_CPU}/cpu{cpu}"
    nodes = [name[4:] for name in tree.names(folder) if name.startswith("node") and name[4:].isdigit()]
    return {
        "core": tree.number(f"{folder}/topology/core_id"),
        "package": tree.number(f"{folder}/topology/physical_package_id"),
        "node": int(nodes[0]) if nodes else None,
        "siblings": parse_cpus(tree.read(f"{folder}/topology/thread_siblings_list")) or [cpu],
        "capacity": tree.number(f"{folder}/cpu_capacity"),
        "max_khz": tree.number(f"{folder}/cpufreq/cpuinfo_max_freq"),
    }


def privileges(tree: Tree) -> dict[str, Any]:
    """uid, CAP_SYS_NICE, and the limits that matter; a limit of -1 is unlimited, None unknown."""
    effective = _field(tree.read("/proc/self/status") or "", "CapEff")
    uid = os.geteuid()
    nice = bool(int(effective, 16) & _CAP_SYS_NICE) if effective else uid == 0
    limits = tree.read("/proc/self/limits") or ""
    return {
        "uid": uid,
        "root": uid == 0,
        "sys_nice": nice,
        "rtprio_limit": _limit(limits, "Max realtime priority"),
        "memlock_limit": _limit(limits, "Max locked memory"),
    }


def _limit(limits: str, name: str) -> int | None:
    for line in limits.split("\n"):
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return -1 if soft == "unlimited" else int(soft) if soft.isdigit() else None
    return None


def _init(tree: Tree) -> str | None:
    if tree.exists("/run/systemd/system"):
        return "systemd"
    return tree.read("/proc/1/comm")


def _meminfo(tree: Tree, name: str) -> int | None:
    value = (_field(tree.read("/proc/meminfo") or "", name) or "").split()
    return int(value[0]) if value and value[0].isdigit() else None
