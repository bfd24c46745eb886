# SPDX-License-Identifier: Apache-2.0
"""Finding and killing what a batch started: by process group, by session, and by a marker in the environment.

The daemon itself is executed with the marker, so every descendant carries it, also one that left its group and
session, and one that has not come to its exec yet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from .system import Tree

MARKER = "ISOLBENCH_BATCH"


@dataclass(frozen=True)
class Stat:
    """Of /proc/PID/stat, what we need; ``ticks`` is user + system time, waited-for children included, in USER_HZ."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    ticks: int


def read_stat(tree: Tree, pid: int) -> Stat | None:
    """None when there is no such process. The command's name may hold spaces and parentheses: split at the last one."""
    text = tree.read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rfind(")") + 2 :].split()
    try:
        return Stat(
            pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), sum(int(each) for each in fields[11:15])
        )
    except (IndexError, ValueError):
        return None


def pids(tree: Tree) -> list[int]:
    return [int(name) for name in tree.names("/proc") if name.isdigit()]


def marked(tree: Tree, marker: str, *, spare: frozenset[int]) -> list[int]:
    """Living processes whose environment holds the marker. Without privilege only our own can be read."""
    needle = f"{MARKER}={marker}".encode()
    found = []
    for pid in pids(tree):
        if pid in spare:
            continue
        environment = tree.read_bytes(f"/proc/{pid}/environ")
        if environment and needle in environment.split(b"\0"):
            found.append(pid)
    return found


def kill_marked(marker: str, *, spare: frozenset[int], tree: Tree | None = None, patience_s: float = 5.0) -> list[int]:
    """SIGKILL all that carry the marker until two looks in a row find none. Returns those killed, or still there.

    One look is not enough: a process found dying may have just forked.
    """
    tree = tree or Tree()
    killed: set[int] = set()
    clean = 0
    end = time.monotonic() + patience_s
    while clean < 2 and time.monotonic() < end:
        found = marked(tree, marker, spare=spare)
        clean = 0 if found else clean + 1
        for pid in found:
            killed.add(pid)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if clean < 2:
            time.sleep(0.002 if not found else 0.01)
    return sorted(killed)


def kill_group(leader: int) -> None:
    """SIGKILL the process group of a child that was started as the leader of its own."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def session_ticks(tree: Tree, session: int) -> int:
    """CPU time in USER_HZ of all processes in a session, their waited-for children included."""
    total = 0
    for pid in pids(tree):
        stat = read_stat(tree, pid)
        if stat is not None and stat.session == session:
            total += stat.ticks
    return total


def running_ns(tree: Tree, pid: int) -> int | None:
    """CPU time of one process in ns, from schedstat (exact) or stat (10 ms steps); None when it is gone."""
    fields = (tree.read(f"/proc/{pid}/schedstat") or "").split()
    if fields and fields[0].isdigit() and int(fields[0]):
        return int(fields[0])
    stat = read_stat(tree, pid)
    return None if stat is None else stat.ticks * (10**9 // os.sysconf("SC_CLK_TCK"))
