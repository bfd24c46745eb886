# SPDX-License-Identifier: Apache-2.0
"""Was the measured task where, and as, it was asked to be?"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping

from ..cgroups import PARTITION, ROOT
from ..partition import WANTED
from ..system import parse_cpus
from .evidence import Evidence, Finding

#: Probes that begin together do so within microseconds; one that was late has another start and end.
MAX_SKEW_NS = 10 * 10**6
#: As /proc/self/cgroup names it.
IN_CGROUP = PARTITION[len(ROOT) :]


def placement(seen: Evidence) -> Iterator[Finding]:
    """At its start and at its end."""
    if seen.mode.pinned and {result.get("cpu") for result in seen.results} != set(seen.spec.cpus):
        yield Finding("wrong-cpu", "not each asked CPU was measured")
    reserved = seen.mode.reservation
    for result in seen.results:
        cpu = result.get("cpu")
        effective = result.get("effective") or {}
        start, end = (effective.get(when) or {} for when in ("start", "end"))
        if not seen.mode.pinned and start and end and start.get("affinity") != end.get("affinity"):
            text = f"allowed on CPU {start.get('affinity')} at its start, on {end.get('affinity')} at its end"
            yield Finding("affinity-changed", text)
        for when in ("start", "end"):
            state = effective.get(when)
            if not isinstance(state, Mapping):
                yield Finding("unknown-placement", f"the probe did not read back its {when}")
                continue
            affinity = parse_cpus(str(state.get("affinity", "")))
            if seen.mode.pinned and (affinity != [cpu] or state.get("cpu", cpu) != cpu):
                text = f"asked for CPU {cpu}, at its {when} on {state.get('cpu')}, allowed {state.get('affinity')}"
                yield Finding("affinity-lost", text)
            if (state.get("policy"), state.get("priority") or 0) != (seen.mode.policy, seen.mode.priority):
                text = f"asked for {seen.mode.sched}, at its {when} {state.get('policy')}:{state.get('priority')}"
                yield Finding("policy-lost", text)
            elif reserved and (state.get("runtime_ns"), state.get("period_ns")) != (
                reserved.runtime_ns,
                reserved.period_ns,
            ):
                text = (
                    f"asked for {seen.mode.sched}, at its {when} {state.get('runtime_ns')}/{state.get('period_ns')} ns"
                )
                yield Finding("policy-lost", text)
        if effective.get("memory_locked") is False:
            yield Finding("memory-unlocked", f"memory not locked: {effective.get('memory_error') or 'refused'}")


def partition(seen: Evidence) -> Iterator[Finding]:
    """It was one before and after, and the task was in it at its start and at its end."""
    if not seen.mode.partitioned:
        return
    for when, side in (("before", seen.before), ("after", seen.after)):
        if side.get("partition", WANTED) != WANTED:
            yield Finding("partition-lost", f"{when} the run the partition reads {side.get('partition')!r}")
    for result in seen.results:
        effective = result.get("effective") or {}
        for when in ("start", "end"):
            found = (effective.get(when) or {}).get("cgroup")
            if found != IN_CGROUP:
                text = f"asked for cgroup {IN_CGROUP}, at its {when} in {found}"
                yield Finding("partition-lost", text)


def start_skew_ns(results: Iterable[Mapping[str, Any]]) -> int:
    """How far apart the first and the last of them began."""
    starts = [(result.get("started") or {}).get("monotonic_raw_ns") for result in results]
    known = [start for start in starts if isinstance(start, int)]
    return max(known, default=0) - min(known, default=0)


def together(seen: Evidence) -> Iterator[Finding]:
    """The probes of one run, on several CPUs, cover the same time."""
    skew_ns = start_skew_ns(seen.results)
    if skew_ns > max(MAX_SKEW_NS, seen.spec.duration_ns // 100):
        text = f"the probes began up to {skew_ns // 10**6} ms apart: they did not measure the same time"
        yield Finding("started-apart", text)


def faults(seen: Evidence) -> Iterator[Finding]:
    """A probe touches all its memory before it arms, and counts what comes after."""
    for result in seen.results:
        found = result.get("faults") or {}
        if found.get("major"):
            yield Finding("major-faults", f"{found['major']} major page faults")
        minor = (found.get("minor") or 0) - (found.get("injected") or 0)  # those that the probe made on purpose
        if minor > 0:
            yield Finding("minor-faults", f"{minor} minor page faults after arming")
