# SPDX-License-Identifier: Apache-2.0
"""The affinity of every task, as found, and put back: what a cpuset partition changes and a kernel may not undo.

A partition takes its CPUs from everybody else. When it ends, kernels from 6.2 on give each task what it had asked for,
and kernel threads all CPUs; older ones give all CPUs to everybody, also to those that had been pinned to one.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from .processes import pids
from .system import Tree, errno_name, format_cpus, parse_cpus

#: Flag of a task whose affinity user space may not set: threads of one CPU, and of workqueues.
_NO_SETAFFINITY = 0x04000000
_ESRCH, _EINVAL = 3, 22

#: ``(tid, start)``: a number alone may be another task's by then.
Task = tuple[int, int]


def found(tree: Tree) -> dict[Task, str]:
    """``{task: CPU list}`` of all threads whose affinity may be set, kernel threads included. Tens of ms."""
    every = {}
    for pid in pids(tree):
        for name in tree.names(f"/proc/{pid}/task"):
            start = _start(tree, int(name)) if name.isdigit() else None
            cpus = None if start is None else tree.affinity(int(name))
            if start is not None and cpus:
                every[(int(name), start)] = format_cpus(cpus)
    return every


def _start(tree: Tree, tid: int) -> int | None:
    """When it began, in ticks since boot; None for one that is gone, or is not to be moved."""
    text = tree.read(f"/proc/{tid}/stat") or ""
    fields = text[text.rfind(")") + 2 :].split()
    try:
        return None if int(fields[6]) & _NO_SETAFFINITY else int(fields[19])
    except (IndexError, ValueError):
        return None


def packed(tasks: Mapping[Task, str]) -> dict[str, list[list[int]]]:
    """As a journal keeps it: ``{CPU list: [[tid, start], …]}``; most tasks have the same."""
    groups: dict[str, list[list[int]]] = {}
    for (tid, start), cpus in tasks.items():
        groups.setdefault(cpus, []).append([tid, start])
    return groups


def unpacked(groups: Any) -> dict[Task, str]:
    """The inverse; what is no such thing is left out."""
    tasks = {}
    for cpus, members in groups.items() if isinstance(groups, dict) else ():
        for each in members:
            tasks[(int(each[0]), int(each[1]))] = str(cpus)
    return tasks


def without(cpus: str, away: Iterable[int]) -> str:
    return format_cpus(set(parse_cpus(cpus)) - set(away))


def put(tree: Tree, wanted: Mapping[Task, str]) -> list[str]:
    """Give each task its CPUs, where it has others now. Returns what was refused: ``12: EPERM``.

    A task that has ended meanwhile needs nothing. One that became unmovable (EINVAL) is left, as its owner is.
    """
    refused = []
    for (tid, start), cpus in wanted.items():
        now = tree.affinity(tid)
        if now is None or format_cpus(now) == cpus or _start(tree, tid) != start:
            continue
        number = tree.set_affinity(tid, parse_cpus(cpus))
        if number and number not in (_ESRCH, _EINVAL):
            refused.append(f"{tid}: {errno_name(number)}")
    return refused


def wanted_after(
    before: Mapping[Task, str], now: Mapping[Task, str], during: str, every: str, away: Iterable[int]
) -> dict[Task, str]:
    """What each task should have once the partition of CPUs ``away`` is gone.

    ``before``: what was found, ``now``: what there is. The kernel has left tasks ``during`` in the partition's time,
    and ``every`` after it. A task that came meanwhile has what it inherited; what an owner changed meanwhile stays.
    """
    away = set(away)
    ordinary = next((cpus for (tid, _), cpus in before.items() if tid == 1), every)
    wanted = {}
    for task, cpus in now.items():
        had = before.get(task)
        if had is not None:
            wanted[task] = had if cpus in (had, without(had, away), during, every) else cpus
        else:
            wanted[task] = ordinary if cpus == without(ordinary, away) else cpus
    return wanted
