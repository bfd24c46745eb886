# SPDX-License-Identifier: Apache-2.0
"""A cpuset partition of the measured CPUs: made, read back, and ended in the order in which kernels survive it.

A write of ``isolated`` succeeds also where the kernel rejects it: what counts is what the file reads then, and
``isolated invalid (reason)`` is a rejection. Three habits of kernels decide the order here:

* Before 6.2 every task's affinity is forgotten when a partition begins (:mod:`.affinity`).
* 6.1 loses the CPUs of a partition whose cgroup is removed while it is one: first ``member``, then rmdir. Where it
  happened all the same (cpuset switched off above it, for one), a partition that is ended in order brings them back.
* A sibling whose ``cpuset.cpus`` overlap is a conflict; from 6.7 ``cpuset.cpus.exclusive`` ends it, written after that.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import affinity, cgroups
from .system import Tree, errno_name, format_cpus, parse_cpus

NAME = "partition"
WANTED = "isolated"
PATH = cgroups.PARTITION
_CONTROL = f"{cgroups.ROOT}/cgroup.subtree_control"
_EFFECTIVE = f"{cgroups.ROOT}/cpuset.cpus.effective"
_ONLINE = "/sys/devices/system/cpu/online"
#: A task may fork while it is moved out: a few looks find them all.
_LOOKS = 8


def entry(tree: Tree, cpus: str, tasks: Mapping[affinity.Task, str]) -> dict[str, Any]:
    """For the undo: to be written before :func:`make`. ``tasks`` is what :func:`.affinity.found` found."""
    return {
        "kind": NAME,
        "name": NAME,
        "path": PATH,
        "cpus": cpus,
        "enabled": switched_on(tree),
        "home": cgroups.own(tree),
        "tasks": affinity.packed(tasks),
    }


def switched_on(tree: Tree) -> bool:
    """Have the children of the root cgroup the files of cpuset?"""
    return "cpuset" in (tree.read(_CONTROL) or "").split()


def state(tree: Tree) -> str | None:
    """What the kernel says of it: ``isolated``, ``isolated invalid (reason)``, ``member``; None where there is none."""
    return tree.read(f"{PATH}/cpuset.cpus.partition")


def make(tree: Tree, cpus: str) -> tuple[int, str]:
    """The first errno, and what it was about; (0, "") where all was taken, which does not say that it is in effect."""
    if not switched_on(tree):
        number = tree.write(_CONTROL, "+cpuset")
        if number:
            return number, f"+cpuset in {_CONTROL}"
    number = tree.make_folder(PATH)
    if number:
        return number, PATH
    number = tree.write(f"{PATH}/cpuset.cpus", cpus)
    if number:
        return number, f"{PATH}/cpuset.cpus"
    number = tree.write(f"{PATH}/cpuset.cpus.partition", WANTED)
    if not number and state(tree) != WANTED and tree.exists(f"{PATH}/cpuset.cpus.exclusive"):
        # In this order: before the first try it has been seen to make no difference.
        tree.write(f"{PATH}/cpuset.cpus.exclusive", cpus)
        number = tree.write(f"{PATH}/cpuset.cpus.partition", WANTED)
    return number, f"{PATH}/cpuset.cpus.partition" if number else ""


def play(recorded: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """End the partition that ``recorded`` is about; the outcome as :meth:`harness.agent.undo.Undo.play` reports it."""
    cpus = parse_cpus(str(recorded.get("cpus")))
    outcome: dict[str, Any] = {"kind": NAME, "name": NAME, "path": PATH, "before": "absent", "found": state(tree)}
    before = affinity.unpacked(recorded.get("tasks"))
    there = tree.exists(PATH)
    home = str(recorded.get("home") or cgroups.ROOT)
    _empty(tree, home)
    now = affinity.found(tree)
    during = tree.read(_EFFECTIVE) or ""
    problem = _end(tree, home) if there else None
    lost = _lost(tree, cpus)
    if problem is None and lost:
        problem = _mend(tree, cpus)
    notes = []
    if problem is None and not recorded.get("enabled"):
        notes += _switch_off(tree)
    every = tree.read(_EFFECTIVE) or tree.read(_ONLINE) or ""
    wanted = affinity.wanted_after(before, now, during, every, cpus)
    if not (there or lost):  # gone already, tasks and all: what has come since is not ours
        wanted = {task: rest for task, rest in wanted.items() if task in before}
    refused = affinity.put(tree, wanted)
    if refused:
        notes.append(f"affinity not put back of tasks {', '.join(refused[:5])}")
    outcome.update(ok=problem is None and not refused, reason=problem or "; ".join(notes) or None)
    return outcome


def _empty(tree: Tree, home: str) -> None:
    """Everybody out, to where the agent was, or else to the root."""
    for _ in range(_LOOKS):
        inside = (tree.read(f"{PATH}/cgroup.procs") or "").split()
        if not inside:
            return
        for pid in inside:
            if tree.write(f"{home}/cgroup.procs", pid):
                tree.write(f"{cgroups.ROOT}/cgroup.procs", pid)


def _end(tree: Tree, home: str) -> str | None:
    """Empty it, make it an ordinary cgroup, remove it. What stands in the way, or None."""
    _empty(tree, home)
    if tree.exists(f"{PATH}/cpuset.cpus.partition"):
        if state(tree) != "member":
            tree.write(f"{PATH}/cpuset.cpus.partition", "member")
        now = state(tree)
        if now != "member":  # removed as it is, its CPUs would be lost
            return f"{PATH} stays a partition: it reads {now!r} after member was written"
    number = tree.remove_folder(PATH)
    return f"{PATH} cannot be removed ({errno_name(number)})" if number and tree.exists(PATH) else None


def _lost(tree: Tree, cpus: Sequence[int]) -> bool:
    """Has the root no use of CPUs that are online, and no partition's?"""
    effective = tree.read(_EFFECTIVE)
    if effective is None:
        return False
    usable = set(cpus) & set(parse_cpus(tree.read(_ONLINE)))
    return bool(usable - set(parse_cpus(effective)))


def _mend(tree: Tree, cpus: Sequence[int]) -> str | None:
    """Bring back CPUs that 6.1 lost: a partition of them that is ended in order."""
    enabled = switched_on(tree)
    make(tree, format_cpus(cpus))
    problem = _end(tree, cgroups.ROOT)
    if not enabled:
        tree.write(_CONTROL, "-cpuset")
    if problem is None and _lost(tree, cpus):
        problem = f"CPU {format_cpus(cpus)} is lost to the root cgroup until the next boot"
    return problem


def _switch_off(tree: Tree) -> list[str]:
    """cpuset in the root's children, which we had switched on; not where somebody has come to use it."""
    if not switched_on(tree):
        return []
    for name in tree.names(cgroups.ROOT):
        child = f"{cgroups.ROOT}/{name}"
        below = "cpuset" in (tree.read(f"{child}/cgroup.subtree_control") or "").split()
        if below or tree.read(f"{child}/cpuset.cpus") or tree.read(f"{child}/cpuset.mems"):
            return [f"cpuset stays switched on: {child} uses it"]
    number = tree.write(_CONTROL, "-cpuset")
    return [f"cpuset cannot be switched off again ({errno_name(number)})"] if number else []
