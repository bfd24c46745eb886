# SPDX-License-Identifier: Apache-2.0
"""Who else used the core, or the machine?"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from .. import services
from ..snapshot import USER_HZ
from ..system import parse_cpus
from .evidence import Evidence, Finding

#: A sibling hyperthread that is busy for more than this share of the run shares the core's time.
MAX_SIBLING_SHARE = 0.05
#: Of many interrupts that were moved the first few are named.
_MOST_IRQS = 5
#: The same of tracers, and of what they trace.
_MOST_TRACERS = 5


def siblings(seen: Evidence) -> Iterator[Finding]:
    """A task that is not pinned may itself be what keeps a sibling busy: it shares the machine, as asked."""
    if not seen.mode.pinned or seen.spec.smt == "shared":
        return
    busy = {cpu: after - before for cpu, before, after in seen.entries("busy_ticks")}
    measured = {str(cpu) for cpu in seen.spec.cpus}
    for cpu, others in (seen.before.get("siblings") or {}).items():
        for other in sorted({str(each) for each in others} - measured):
            ticks = busy.get(other, 0)
            share = ticks / USER_HZ / seen.elapsed_s
            if ticks > 1 and share > MAX_SIBLING_SHARE:
                text = f"CPU {other}, the sibling of CPU {cpu}, was busy for {share:.0%} of the run"
                yield Finding("sibling-busy", text)


def taken(seen: Evidence) -> Iterator[Finding]:
    """Time that somebody above the kernel, or a limit of ours, took."""
    for cpu, before, after in seen.entries("steal_ticks"):
        if after > before:
            yield Finding("steal", f"the hypervisor took {(after - before) * 1000 // USER_HZ} ms from CPU {cpu}")
    stops = (seen.after.get("quota_throttled") or 0) - (seen.before.get("quota_throttled") or 0)
    if stops > 0:
        yield Finding("quota", f"a CPU quota stopped the agent's cgroup {stops} times")
    if any(after > before for _, before, after in seen.entries("swap")):
        yield Finding("swapping", "the machine swapped")


def meddlers(seen: Evidence) -> Iterator[Finding]:
    """People and services that change what others have set."""
    moved = [irq for irq, before, after in _by_irq(seen) if before != after]
    if moved:
        more = "" if len(moved) <= _MOST_IRQS else f" and {len(moved) - _MOST_IRQS} more"
        text = f"somebody moved interrupts: {', '.join(moved[:_MOST_IRQS])}{more}"
        yield Finding("irq-affinity-changed", text)
    users = max(seen.before.get("users") or 0, seen.after.get("users") or 0)
    if users:
        yield Finding("logged-in", f"{users} logged in on a terminal")
    names = sorted({*(seen.before.get("meddlers") or []), *(seen.after.get("meddlers") or [])})
    if names:
        yield Finding("meddling-service", f"running: {', '.join(names)}", services.remedy(names))


def tracers(seen: Evidence) -> Iterator[Finding]:
    """Who traces the kernel makes every entry into it longer, on all CPUs. What comes meanwhile counts, too."""
    tracing: Mapping[str, Any] = seen.before.get("tracing") or {}
    names = [tracing.get("tracer"), *(each.partition(": ")[2] for each in tracing.get("instances") or [])]
    for name in dict.fromkeys(name for name in names if name not in (None, "", "nop", "None")):
        yield Finding("tracer-active", f"the {name} tracer was on")
    if tracing.get("on"):
        text = f"trace events were on: {', '.join(tracing['on'][:_MOST_TRACERS])}"
        yield Finding("tracer-active", text, "echo > /sys/kernel/tracing/set_event (Documentation/trace/events.rst)")
    before, after = (side.get("tracers") or {} for side in (seen.before, seen.after))
    held = {**after, **before}
    new = set(after) - set(before) if seen.before.get("tracers") is not None else set()
    for name in sorted(held)[:_MOST_TRACERS]:
        when = " since the run began" if name in new else ""
        yield Finding("tracer-active", f"{name} had {', '.join(held[name])}{when}", "stop it while measuring")


def _by_irq(seen: Evidence) -> Iterator[tuple[str, str, str]]:
    """``(irq, CPUs before, CPUs after)`` of those that were there all the time."""
    before, after = (
        {str(irq): cpus for cpus, irqs in (side.get("irq_affinity") or {}).items() for irq in parse_cpus(irqs)}
        for side in (seen.before, seen.after)
    )
    for irq in before:
        if irq in after:
            yield irq, before[irq], after[irq]
