# SPDX-License-Identifier: Apache-2.0
"""Finding and killing what a batch started: by descent, by session, and by a marker in the environment.

The daemon itself is executed with the marker, so every descendant carries it, also one that left its group and
session, and one that has not come to its exec yet. One that cleared its environment is found by its parents.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Iterable, Mapping

from .system import Tree

MARKER = "ISOLBENCH_BATCH"
#: The same for the processes of one load.
LOAD_MARKER = "ISOLBENCH_LOAD"


@dataclass(frozen=True)
class Stat:
    """Of /proc/PID/stat, what we need. Times are user + system, in USER_HZ: ``own``, and ``waited``, of the children
    that it has waited for."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    own: int
    waited: int

    @property
    def ticks(self) -> int:
        return self.own + self.waited


def read_stat(tree: Tree, pid: int) -> Stat | None:
    """None when there is no such process. The command's name may hold spaces and parentheses: split at the last one."""
    text = tree.read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rfind(")") + 2 :].split()
    try:
        own, waited = (sum(map(int, fields[at : at + 2])) for at in (11, 13))
        return Stat(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), own, waited)
    except (IndexError, ValueError):
        return None


def pids(tree: Tree) -> list[int]:
    return [int(name) for name in tree.names("/proc") if name.isdigit()]


def read_stats(tree: Tree) -> dict[int, Stat]:
    """All processes there are."""
    found = {pid: read_stat(tree, pid) for pid in pids(tree)}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def descendants(stats: Mapping[int, Stat], ancestors: Iterable[int]) -> set[int]:
    """Those of ``stats`` whose parents lead to one of ``ancestors``, these not included."""
    children: dict[int, list[int]] = {}
    for stat in stats.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    ahead = list(ancestors)
    while ahead:
        born = [child for child in children.get(ahead.pop(), ()) if child not in found]
        found.update(born)
        ahead += born
    return found


def carries(tree: Tree, pid: int, name: str, value: str) -> bool:
    """Is ``name=value`` in the environment that ``pid`` was executed with? Without privilege only our own tell."""
    environment = tree.read_bytes(f"/proc/{pid}/environ")
    return bool(environment) and f"{name}={value}".encode() in (environment or b"").split(b"\0")


def marked(tree: Tree, marker: str, *, spare: frozenset[int]) -> list[int]:
    """Living processes that carry the batch's marker, and their descendants."""
    found = {pid for pid in pids(tree) if pid not in spare and carries(tree, pid, MARKER, marker)}
    if found:
        stats = read_stats(tree)
        found |= {pid for pid in descendants(stats, found) if stats[pid].state != "Z"}
    return sorted(found - spare)


def kill_marked(marker: str, *, spare: frozenset[int], tree: Tree | None = None, patience_s: float = 5.0) -> list[int]:
    """SIGKILL all that carry the marker until two looks in a row find none. Returns those killed, or still there.

    One look is not enough: a process found dying may have just forked. Those without a parent among the found come
    last: a keeper (:mod:`.loads.keeper`) holds what is left of its load together for as long as it lives.
    """
    tree = tree or Tree()
    killed: set[int] = set()
    clean = 0
    begin = time.monotonic()
    while clean < 2 and time.monotonic() < begin + patience_s:
        found = marked(tree, marker, spare=spare)
        clean = 0 if found else clean + 1
        parents = {pid: stat.parent for pid in found for stat in [read_stat(tree, pid)] if stat is not None}
        held = [pid for pid in found if parents.get(pid) in found]
        in_turn = held and time.monotonic() < begin + patience_s / 2
        for pid in held if in_turn else found:
            killed.add(pid)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if clean < 2:
            time.sleep(0.002 if not found else 0.01)
    return sorted(killed)


def family(tree: Tree, leaders: Iterable[int], mark: str) -> dict[int, Stat]:
    """All processes of a load: its leaders, what descends from them, is of their sessions or carries ``mark``.

    The leaders are children of ours that nobody has reaped: another process may have the number of one that was.
    Zombies are included: their time counts until somebody reaps them.
    """
    stats = read_stats(tree)
    heads = set(leaders) & set(stats)
    found = heads | descendants(stats, heads) | {pid for pid, stat in stats.items() if stat.session in heads}
    others = (pid for pid in stats if pid not in found)
    strays = {pid for pid in others if carries(tree, pid, LOAD_MARKER, mark)}
    found |= strays | descendants(stats, strays)
    return {pid: stats[pid] for pid in found if pid in stats}


def kill_family(tree: Tree, leaders: Iterable[int], mark: str, *, patience_s: float = 5.0) -> list[int]:
    """SIGKILL a load's whole family, its leaders last, until two looks find nobody. Returns who is still there.

    The leaders are our children, not reaped before this call: they are zombies after it, to be waited for.
    """
    heads = set(leaders)
    clean = 0
    begin = time.monotonic()
    left: set[int] = set()
    while clean < 2 and time.monotonic() < begin + patience_s:
        left = {pid for pid, stat in family(tree, heads, mark).items() if stat.state != "Z"}
        clean = 0 if left else clean + 1
        in_turn = left - heads and time.monotonic() < begin + patience_s / 2
        for pid in left - heads if in_turn else left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if clean < 2:
            time.sleep(0.002)
    return sorted(left)


def ended(child: int) -> int | None:
    """How our ``child`` ended (negative: the signal), or None while it lives. It is not reaped: until it is, its number
    is nobody else's, and neither are its session and its group. Raises ChildProcessError for one that was reaped."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def ticks_ns(ticks: int) -> int:
    """USER_HZ in ns."""
    return ticks * (10**9 // os.sysconf("SC_CLK_TCK"))


def allowed_cpus(tree: Tree, pid: int) -> set[int]:
    """The CPUs that any thread of ``pid`` may run on; empty when it is gone."""
    found: set[int] = set()
    for name in tree.names(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError, ValueError):
            found |= os.sched_getaffinity(int(name))
    return found


def pending(tree: Tree, pid: int) -> set[int]:
    """The signals that were sent to ``pid`` and have not reached it; empty where it is gone."""
    found: set[int] = set()
    for line in (tree.read(f"/proc/{pid}/status") or "").split("\n"):
        name, _, mask = line.partition(":")
        if name in ("SigPnd", "ShdPnd"):
            found |= {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}
    return found


def kill_group(leader: int) -> None:
    """SIGKILL the process group of a child that was started as the leader of its own, and is not reaped."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def running_ns(tree: Tree, pid: int) -> int | None:
    """CPU time of one process in ns, from schedstat (exact) or stat (10 ms steps); None when it is gone."""
    fields = (tree.read(f"/proc/{pid}/schedstat") or "").split()
    if fields and fields[0].isdigit() and int(fields[0]):
        return int(fields[0])
    stat = read_stat(tree, pid)
    return None if stat is None else ticks_ns(stat.ticks)
