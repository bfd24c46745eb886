# SPDX-License-Identifier: Apache-2.0
"""What stands between us and the kernel's events: read, never tried, for opening one interrupts every CPU.

What follows from it for attribution is said by the controller (harness/advice/attribution.py), which is held to what
the probes do (csrc/core/trace_open.c).
"""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

from .system import Tree

_TRACEFS, _BELOW_DEBUGFS = "/sys/kernel/tracing", "/sys/kernel/debug/tracing"
#: Kernels with tracepoints have these.
_EVENTS = ("sched/sched_switch", "irq/irq_handler_entry", "raw_syscalls/sys_enter")
_CAP_SYS_ADMIN = 1 << 21
_CAP_PERFMON = 1 << 38


def gather(tree: Tree) -> Dict[str, Any]:
    """``tracefs``: ``readable``, ``denied``, ``empty`` or ``unmounted``; ``tracefs_known``: the kernel has one.

    ``paranoid`` is None where the kernel has no perf events. ``perfmon`` and ``sys_admin`` are the capabilities that
    count, of the machine's own user namespace; ``seccomp``: whether system calls are filtered.
    """
    status = tree.read("/proc/self/status") or ""
    capabilities = int(_field(status, "CapEff", "[0-9a-f]+") or "0", 16)
    at_home = (tree.read("/proc/self/uid_map") or "0 0 4294967295").split()[:3] == ["0", "0", "4294967295"]
    return {
        "paranoid": tree.number("/proc/sys/kernel/perf_event_paranoid"),
        "tracefs": _tracefs(tree),
        "tracefs_known": bool(re.search(r"\btracefs$", tree.read("/proc/filesystems") or "", re.MULTILINE)),
        "perfmon": at_home and bool(capabilities & (_CAP_PERFMON | _CAP_SYS_ADMIN)),
        "sys_admin": at_home and bool(capabilities & _CAP_SYS_ADMIN),
        "own_user_namespace": not at_home,
        "seccomp": (_field(status, "Seccomp", "[0-9]+") or "0") != "0",
        "lockdown": _lockdown(tree.read("/sys/kernel/security/lockdown")),
    }


def folder(tree: Tree) -> Optional[str]:
    """Where tracefs lies that we may read; None: nowhere. Below debugfs only where it is mounted: a look mounts it."""
    places = [_TRACEFS, *([_BELOW_DEBUGFS] if _mounted(tree, _BELOW_DEBUGFS) else [])]
    return next((place for place in places if tree.exists(f"{place}/current_tracer")), None)


def _mounted(tree: Tree, where: str) -> bool:
    return f" {where} tracefs " in (tree.read("/proc/self/mounts") or "")


def _tracefs(tree: Tree) -> str:
    """Of where it belongs, and where probes look for it."""
    if any(tree.read(f"{_TRACEFS}/events/{event}/format") for event in _EVENTS):
        return "readable"
    if not _mounted(tree, _TRACEFS):
        return "unmounted"
    return "empty" if tree.names(_TRACEFS) and not tree.exists(f"{_TRACEFS}/events") else "denied"


def _lockdown(text: Optional[str]) -> Optional[str]:
    """Of ``none [integrity] confidentiality`` the one in brackets; None where the kernel has no lockdown."""
    found = re.search(r"\[([a-z]+)\]", text or "")
    return found.group(1) if found else None


def _field(status: str, name: str, pattern: str) -> Optional[str]:
    found = re.search(rf"^{name}:\s*({pattern})$", status, re.MULTILINE)
    return found.group(1) if found else None
