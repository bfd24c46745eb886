# SPDX-License-Identifier: Apache-2.0
"""What attribution a target can have, and what would give it more, before anything is opened there. Pure.

The rules are the kernel's (perf_event_open(2), kernel/events/core.c), as csrc/core/trace_open.c meets them; a test
holds both together on the machine that it runs on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .state import get

TRACEPOINTS, SOFTWARE, NOTHING = "tracepoints", "software", "nothing"
#: What each is worth, in the words of plan and doctor.
WORTH = {
    TRACEPOINTS: "each gap by the kernel's tracepoints",
    SOFTWARE: "software events only: task switches and page faults",
    NOTHING: "nothing: gaps have no cause",
}
_SYSCTL = "Documentation/admin-guide/sysctl/kernel.rst"
_SECURITY = "Documentation/admin-guide/perf-security.rst"
_AS_ROOT = f"measure as root (become: sudo in the inventory), or give the agent CAP_PERFMON ({_SECURITY})"
#: Above 2 these refuse perf events to everybody unprivileged, by a patch of their own; Linux itself stops at 2.
#: Ubuntu's asks for CAP_SYS_ADMIN, and in newer ones begins at 4.
_PATCHED = re.compile(r"debian|ubuntu|hardened", re.IGNORECASE)
_FILTERED = "or less: system calls are filtered here (seccomp)"


@dataclass(frozen=True)
class Forecast:
    """``level`` is a probe's, None where the target does not say enough; ``reason``: why it is not more, "" for all.

    ``doubt``: what cannot be seen from outside, and may make it another.
    """

    level: str | None
    reason: str = ""
    advice: str = ""
    doubt: str = ""

    @property
    def sure(self) -> bool:
        return not self.doubt

    def __str__(self) -> str:
        if self.level is None:
            return f"unknown: {self.reason}"
        text = WORTH[self.level] + (f" ({self.reason})" if self.reason else "")
        return text if self.sure else f"{text}; {self.doubt}"

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "reason": self.reason, "advice": self.advice, "sure": self.sure}


def forecast(facts: Mapping[str, Any]) -> Forecast:
    """What a probe with ``--attribution perf`` would have on the machine of ``facts``."""
    told = get(facts, "attribution")
    if not isinstance(told, Mapping):
        return Forecast(None, "its agent was older when it was asked", "ask again: isolbench plan --contact")
    doubt = _FILTERED if told.get("seccomp") else ""
    paranoid = told.get("paranoid")
    if not isinstance(paranoid, int):
        return Forecast(
            NOTHING,
            "no perf events in this kernel, or no /proc/sys",
            "a kernel with CONFIG_PERF_EVENTS, and CONFIG_EVENT_TRACING for tracepoints",
            doubt,
        )
    lacking = [*_no_tracefs(facts, told), *_no_privilege(told, paranoid)]
    reason = "; ".join(why for why, _ in lacking)
    advice = "; ".join(dict.fromkeys(part for _, what in lacking for part in what.split("; ")))
    if _refuses_all(facts, told, paranoid):
        why = f"perf_event_paranoid is {paranoid}, and this kernel then gives perf events to root alone"
        what = [advice or _AS_ROOT, f"for software events: sysctl kernel.perf_event_paranoid=2 ({_SYSCTL})"]
        return Forecast(NOTHING, "; ".join(filter(None, [why, reason])), "; ".join(what), doubt)
    if not lacking:
        return Forecast(TRACEPOINTS, doubt=doubt)
    if told.get("lockdown") == "confidentiality" and "lockdown=" not in str(get(facts, "kernel", "cmdline")):
        doubt = doubt or "or more: it may have been locked down after it booted"
    return Forecast(SOFTWARE, reason, advice, doubt)


def _refuses_all(facts: Mapping[str, Any], told: Mapping[str, Any], paranoid: int) -> bool:
    kernel = f"{get(facts, 'kernel', 'version')} {get(facts, 'kernel', 'release')}"
    enough = told.get("sys_admin") or (told.get("perfmon") and "ubuntu" not in kernel.lower())
    return paranoid > 2 and not enough and bool(_PATCHED.search(kernel))


def _no_tracefs(facts: Mapping[str, Any], told: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Why events cannot be looked up, and what would help: one pair, or none."""
    state, lockdown = told.get("tracefs"), told.get("lockdown")
    if state == "readable":
        return
    if lockdown == "confidentiality":
        yield (
            "lockdown is confidentiality: tracing is closed, to root as well",
            "boot with lockdown=integrity at most (kernel_lockdown(7)); where Secure Boot sets it, boot without",
        )
    elif not told.get("tracefs_known") or state == "empty":
        yield "no tracepoints in this kernel", "a kernel with CONFIG_EVENT_TRACING (Documentation/trace/events.rst)"
    elif state == "denied":
        yield "tracefs is not ours to read", _AS_ROOT
    elif told.get("own_user_namespace"):
        yield (
            "tracefs is not mounted, and a container cannot mount it",
            "mount it into the container: mount -t tracefs tracefs /sys/kernel/tracing, outside of it",
        )
    elif not told.get("sys_admin"):
        yield (
            "tracefs is not mounted, and only root may mount it",
            f"{_AS_ROOT}; with that alone also mount -t tracefs tracefs /sys/kernel/tracing, readable to the agent",
        )
    elif _release(facts) < (5, 2):  # fsopen(2)
        yield (
            "tracefs is not mounted, and this kernel has no private mounts",
            "mount -t tracefs tracefs /sys/kernel/tracing (Documentation/trace/ftrace.rst)",
        )


def _no_privilege(told: Mapping[str, Any], paranoid: int) -> Iterable[tuple[str, str]]:
    if told.get("perfmon") or paranoid < 0:
        return
    if told.get("own_user_namespace"):
        yield "a container's root has no CAP_PERFMON on the machine", "run the agent outside of the container"
    else:
        yield f"no CAP_PERFMON, and perf_event_paranoid is {paranoid}", _AS_ROOT


def _release(facts: Mapping[str, Any]) -> tuple[int, int]:
    """Major and minor; of an unreadable one, the newest there can be."""
    found = re.match(r"([0-9]+)\.([0-9]+)", str(get(facts, "kernel", "release")))
    return (int(found[1]), int(found[2])) if found else (1 << 30, 0)
