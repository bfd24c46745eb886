# SPDX-License-Identifier: Apache-2.0
"""Are the kernel's events complete, by which a run's gaps have their causes, and was nobody else at it?"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from .evidence import Evidence, Finding


def attribution(seen: Evidence) -> Iterator[Finding]:
    """What was not asked for, or could not be had at all, is no fault: the level is part of a run's identity."""
    # Each of several probes that measure together opens two while the others do.
    together = sum(bool(result.get("attribution")) for result in seen.results)
    for result in seen.results:
        told = result.get("attribution") or {}
        where = "the task" if result.get("cpu") is None else f"CPU {result['cpu']}"
        if told.get("cpu_gone"):
            yield Finding("events-lost", f"{where} was taken away in mid-run, and there were no events from then on")
        lost = _lost(told)
        if lost:
            yield Finding("events-lost", f"attribution of {where}: {lost}")
        wrong = _not_conserved(told.get("conservation") or {}, (told.get("ring") or {}).get("missing") or 0)
        if wrong:
            yield Finding("events-not-conserved", f"attribution of {where}: {wrong}")
        opened = (told.get("instruments") or {}).get("opened_by_others") or 0
        if opened > 2 * max(together - 1, 0):
            text = f"others opened perf events while {where} was measured: {opened}"
            yield Finding("tracer-active", text, "stop perf, bpftrace and what monitors with them")
        if told.get("tracer") or told.get("other_events"):
            who = f"the tracer {told['tracer']}" if told.get("tracer") else "somebody else's events"
            yield Finding("tracer-active", f"{who} traced {where}, beside attribution")


def _lost(told: Mapping[str, Any]) -> str:
    ring = told.get("ring") or {}
    counts = {
        "events found no room in the ring": ring.get("lost"),
        "records could not be read": ring.get("unknown"),
        "times the kernel held events back, which were too many": ring.get("throttled"),
        "gaps came faster than they were taken": told.get("gaps_dropped"),
        "records of what other CPUs sent found no room, so that senders may be wrong": ring.get("sent_lost"),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _not_conserved(conservation: Mapping[str, Any], missing: int) -> str:
    """By row of /proc/interrupts. Where losses are known nothing follows, and the probe says so (null).

    ``missing``: events that the kernel counted as well, and wrote no record of.
    """
    if conservation.get("holds") is not False:
        return ""
    wrong = []
    for name, row in (conservation.get("rows") or {}).items():
        events, edge, interrupts = row.get("events", 0), row.get("edge", 0), row.get("interrupts", 0)
        if not events <= interrupts <= events + edge:
            row_of = f"irq {name}" if str(name).isdigit() else name
            wrong.append(f"{row_of}: {events} events, {interrupts} interrupts")
    text = ", ".join(wrong) or "events and interrupts differ"
    return f"{text} ({missing} events were counted and withheld by the kernel)" if missing else text
