# SPDX-License-Identifier: Apache-2.0
"""Was the load what was asked for: at work all the time, and on its CPUs alone?"""

from __future__ import annotations

from typing import Iterator

from ..snapshot import USER_HZ
from ..system import parse_cpus
from .evidence import Evidence, Finding

MIN_LOAD_SHARE = 0.9
#: The CPU time of a running task is as old as its last tick, at the slowest of 100 Hz: so much may be missing.
TICK_NS = 10**9 // USER_HZ
#: A load that works in bursts cannot be told from one that does nothing in less than this.
LEAST_FOR_ARGV_S = 20 * TICK_NS / 1e9


def load(seen: Evidence) -> Iterator[Finding]:
    least = _least_share(seen)
    name, share = seen.load.get("name"), seen.load.get("share")
    if seen.load.get("strayed"):
        yield Finding("load-strayed", f"load {name} may run elsewhere: {', '.join(seen.load['strayed'])}")
    if seen.load.get("ended"):
        yield Finding("load-ended", f"load {name} ended before the measurement did ({seen.load['ended']})")
    elif share is not None and share + _unseen_share(seen) < least:
        yield Finding("load-short", f"load {name} had {share:.0%} of its CPU time, not {least:.0%}")
    elif seen.load.get("kind") == "argv" and not seen.load.get("cpu_time_ns") and seen.elapsed_s >= LEAST_FOR_ARGV_S:
        yield Finding("load-short", f"load {name} used no CPU time at all", "does it do anything?")


def _least_share(seen: Evidence) -> float:
    """The part of its CPUs' time that a load must have had.

    Where the task itself could only run on these CPUs (not pinned, on a machine with isolcpus), it competes with the
    load, as asked: an equal among as many as there are CPUs, or before them all at real-time priority.
    """
    cpus = set(seen.load.get("cpus") or ())
    starts = [(result.get("effective") or {}).get("start") or {} for result in seen.results]
    among = sum(bool(found) and found <= cpus for found in (set(parse_cpus(str(at.get("affinity")))) for at in starts))
    if seen.mode.pinned or not among:
        return MIN_LOAD_SHARE
    left = (len(cpus) - among) / len(cpus) if seen.mode.priority else len(cpus) / (len(cpus) + among)
    return MIN_LOAD_SHARE * max(0.0, left)


def _unseen_share(seen: Evidence) -> float:
    """The part of what the load was due that the kernel may not have counted yet: a tick on each CPU."""
    due_ns = seen.load.get("due_ns")
    return TICK_NS * len(seen.load.get("cpus") or ()) / due_ns if due_ns else 0.0
