# SPDX-License-Identifier: Apache-2.0
"""What the parts of a mode need of a machine, by its facts alone: reasons, each with what to do. Pure.

What the facts do not say is not held against the machine.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Sequence

from ..system import format_cpus

#: Partitions of the type ``isolated`` came with this one.
_FIRST_ISOLATED = (6, 1)


def needs_of_pinned(facts: Mapping[str, Any], cpus: Sequence[int]) -> list[str]:
    reasons = []
    known = facts.get("cpus") or {}
    online, allowed = known.get("online"), known.get("allowed")
    for cpu in cpus:
        if online is not None and cpu not in online:
            reasons.append(f"CPU {cpu} is not online: bring it up, or measure another (isolated: …)")
        elif allowed is not None and cpu not in allowed:
            reasons.append(f"CPU {cpu} is outside the CPU set of the agent: widen its cgroup's cpuset.cpus")
    return reasons


def needs_of_nohz_full(facts: Mapping[str, Any], cpus: Sequence[int]) -> list[str]:
    """The tick of the CPU can stop, and the scheduler puts nobody else there. Both are boot parameters."""
    reasons = []
    known = facts.get("cpus") or {}
    lacking = _lacking(cpus, known.get("nohz_full"))
    if lacking:
        at = format_cpus(lacking)
        reasons.append(
            f"the tick of CPU {at} cannot stop: boot with nohz_full={at} rcu_nocbs={at}, on a kernel with NO_HZ_FULL"
        )
    lacking = _lacking(cpus, known.get("isolated"))
    if lacking:
        at = format_cpus(lacking)
        reasons.append(f"CPU {at} is not in isolcpus: boot with isolcpus=managed_irq,domain,{at}")
    return reasons


def needs_of_partition(facts: Mapping[str, Any], cpus: Sequence[int], housekeeping: Sequence[int]) -> list[str]:
    """A cgroup v2 cpuset of our own at the root. What the kernel says of it in the end is read back all the same."""
    cgroup = facts.get("cgroup") or {}
    reason = _no_cpuset(cgroup) if "version" in cgroup else None
    if reason is not None:
        return [reason]
    reasons = []
    release = _release(facts)
    if release is not None and release < _FIRST_ISOLATED:
        reasons.append(
            f"a partition of the type isolated needs kernel 6.1, this is {release[0]}.{release[1]}: use a newer one, "
            "or mode: pinned"
        )
    if (facts.get("privileges") or {}).get("root") is False:
        reasons.append("a partition is made by root: become: sudo in the inventory")
    if not housekeeping:
        reasons.append("a partition must leave the rest of the machine a CPU: add one, or allow it (cpuset)")
    return reasons + _in_the_way(facts, cpus)


def _no_cpuset(cgroup: Mapping[str, Any]) -> str | None:
    version, controllers = cgroup["version"], cgroup.get("controllers") or ()
    if version != 2:
        at = "on cgroup v1" if "cpuset" in controllers else "not mounted"
        return (
            f"a partition needs the cpuset of cgroup v2, and it is {at} here: boot with "
            "systemd.unified_cgroup_hierarchy=1, or mount cgroup2 on /sys/fs/cgroup"
        )
    if "cpuset" not in controllers:
        return (
            "a partition needs the cpuset of cgroup v2, and that has only "
            f"{', '.join(controllers) or 'no controller'}: unmount cgroup v1's, or boot with cgroup_no_v1=cpuset"
        )
    if cgroup.get("root") is False:
        return (
            "a partition is a child of the root cgroup, and this is a container's: run the agent on the machine itself"
        )
    return None


def _in_the_way(facts: Mapping[str, Any], cpus: Sequence[int]) -> list[str]:
    """Boot parameters that a partition conflicts with, or would undo for good.

    Kernels that keep a list of isolated CPUs (``cpuset.cpus.isolated``) refuse CPUs of isolcpus. Older ones take them,
    but give every task and kernel thread all CPUs when the partition ends, and those of unbound workqueues nobody can
    move back: then they are on the isolated CPUs until the next boot.
    """
    known, cgroup = facts.get("cpus") or {}, facts.get("cgroup") or {}
    isolated, nohz_full = known.get("isolated") or (), known.get("nohz_full") or ()
    if "isolated" not in cgroup:
        return []
    if cgroup["isolated"] is not None:
        both = sorted(set(cpus) & set(isolated))
        if not both:
            return []
        return [_refused_by_isolcpus(format_cpus(both))]
    if isolated or nohz_full:
        return [_forgotten(format_cpus({*isolated, *nohz_full}))]
    return []


def _refused_by_isolcpus(at: str) -> str:
    return (
        f"CPU {at} is in isolcpus, and the kernel makes no partition of it: boot without isolcpus, or use mode: "
        "pinned, which has that isolation already"
    )


def _forgotten(at: str) -> str:
    return (
        f"booted with isolcpus or nohz_full ({at}), this kernel forgets whom to keep off CPU {at} when a partition "
        "ends: boot without, use kernel 6.12, or mode: pinned"
    )


def needs_of_fifo(
    sched: str, facts: Mapping[str, Any], housekeeping: Sequence[int], *, pinned: bool, priority: int
) -> list[str]:
    reasons = []
    known = facts.get("cpus") or {}
    # Not pinned, a task stays on what isolcpus leaves: of a single CPU it would leave nothing to anybody.
    shared = set(known.get("allowed") or known.get("online") or ()) - set(known.get("isolated") or ())
    if not pinned and len(shared) == 1:
        reasons.append(
            f"{sched}, not pinned, would starve CPU {min(shared)}, the only one that is not isolated: "
            "use where: pinned, or isolate fewer CPUs"
        )
    elif not housekeeping:
        reasons.append(f"{sched} on a machine without a housekeeping CPU would starve it: use pinned, or add a CPU")
    privileges = facts.get("privileges") or {}
    limit = privileges.get("rtprio_limit")
    if privileges.get("sys_nice") is False and isinstance(limit, int) and 0 <= limit < priority:
        reasons.append(
            f"{sched} needs CAP_SYS_NICE or an rtprio limit of {priority} (it is {limit}): "
            f"become: sudo in the inventory, or `USER - rtprio {priority}` in /etc/security/limits.conf"
        )
    return reasons


def needs_of_deadline(facts: Mapping[str, Any], cpus: Sequence[int], *, pinned: bool, partitioned: bool) -> list[str]:
    """The kernel admits a task that may run on its whole root domain, and on nothing less.

    CPUs of isolated partitions, and of isolcpus, are one root domain together.
    """
    reasons = []
    if (facts.get("privileges") or {}).get("sys_nice") is False:
        reasons.append("deadline needs CAP_SYS_NICE, no rtprio limit will do: become: sudo in the inventory")
    isolated = (facts.get("cpus") or {}).get("isolated")
    if not pinned or isolated is None:
        return reasons
    domain = {*isolated, *cpus} if partitioned else set(isolated)
    if domain != set(cpus) or len(cpus) != 1:
        share = (
            f"shares one with CPU {format_cpus(domain - {min(cpus)})}"
            if set(cpus) < domain or len(cpus) > 1
            else ("is in that of the whole machine")
        )
        reasons.append(
            f"deadline, pinned, needs a root domain of one CPU, and CPU {format_cpus(cpus)} {share}: "
            "use where: partition, cpus: one, and isolate that CPU alone"
        )
    return reasons


def _lacking(cpus: Iterable[int], there: Sequence[int] | None) -> list[int]:
    return [] if there is None else sorted(set(cpus) - set(there))


def _release(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    found = re.match(r"([0-9]+)\.([0-9]+)", str((facts.get("kernel") or {}).get("release") or ""))
    return (int(found.group(1)), int(found.group(2))) if found else None
