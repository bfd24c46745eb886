# SPDX-License-Identifier: Apache-2.0
"""What every load is: work on the housekeeping CPUs during a run, proven by its CPU time, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Protocol, Sequence

from ..processes import LOAD_MARKER, Stat, allowed_cpus, ended, family, kill_family, ticks_ns
from ..snapshot import USER_HZ, cpu_ticks
from ..spec import LoadSpec
from ..system import AgentError, Tree, format_cpus

#: Between SIGTERM and SIGKILL: time to take its files and semaphores away.
GRACE_S = 2.0
#: How often it looks meanwhile whether they have ended, in seconds.
_LOOK_S = 0.005
#: Of processes that went astray so many are named.
_NAMED = 5


class Load(Protocol):
    """Started once for runs of equal needs; :meth:`begin` and :meth:`end` bracket each measurement."""

    @classmethod
    def needs(cls, spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:
        """Why it cannot be had on the machine of ``facts``, each with what to do. Pure: the plan asks it too.

        What ``facts`` does not say is not held against the machine: it is found out there.
        """

    def start(self) -> None:
        """Start the work. :class:`AgentError` where it cannot be."""

    def begin(self) -> None:
        """Take the CPU time as it is now."""

    def end(self) -> dict[str, Any]:
        """What :func:`report` gives."""

    def stop(self) -> list[int]:
        """Kill it; returns when it is gone, or with those that do not die."""


def report(spec: LoadSpec, cpus: Sequence[int], spent_ns: int = 0, due_ns: int | None = None) -> dict[str, Any]:
    """What a record says of a load.

    ``share`` is None where nothing was due. ``ended`` says how the load ended before the measurement did, or is None;
    ``strayed`` names its processes that were allowed elsewhere than on ``cpus``; ``command`` is what was executed, and
    ``tool_sha256`` of which file, for one that is of the target.
    """
    return {
        "name": spec.name,
        "kind": spec.kind,
        "cpus": list(cpus),
        "cpu_time_ns": spent_ns,
        "due_ns": due_ns,
        "share": None if due_ns is None else round(spent_ns / max(1, due_ns), 4),
        "ended": None,
        "strayed": [],
        "command": None,
        "tool_sha256": None,
    }


def needs_a_cpu(spec: LoadSpec, housekeeping: Sequence[int]) -> list[str]:
    if housekeeping:
        return []
    return [f"load {spec.name} has no CPU to run on but the measured one: use idle, or add a CPU"]


@dataclass(frozen=True)
class Reading:
    """The clock, how long its CPUs have been busy, and the CPU time that the load has had.

    Taken right one after the other, and in this order at both ends of a measurement: what was spent is of as long a
    time as what was due, however long it takes to look at all the processes.
    """

    clock_ns: int
    busy_ns: int
    spent_ns: int


class ProcessLoad:
    """A load of child processes, each the leader of its own session and pinned to its CPUs."""

    def __init__(self, spec: LoadSpec, housekeeping: Sequence[int], tree: Tree | None = None) -> None:
        self.spec = spec
        self.housekeeping = list(housekeeping)
        self.tree = tree or Tree()
        self.children: list[subprocess.Popen[bytes]] = []
        self.mark = os.urandom(8).hex()
        self._began = Reading(0, 0, 0)
        self._strayed: list[str] = []

    @classmethod
    def needs(cls, spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:  # noqa: ARG003
        return needs_a_cpu(spec, housekeeping)

    def start(self) -> None:
        for reason in needs_a_cpu(self.spec, self.housekeeping):
            raise AgentError("environment", "no-housekeeping", reason)

    def spawn(self, argv: Sequence[str], cpus: Sequence[int], stdout: int = subprocess.DEVNULL) -> None:
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, LOAD_MARKER: self.mark},
                start_new_session=True,
                preexec_fn=pinner(cpus),
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise AgentError(
                "environment",
                "load",
                f"load {self.spec.name}: cannot run {argv[0]} on CPU {format_cpus(cpus)}: {error}",
            ) from None
        self.children.append(child)

    def family(self) -> dict[int, Stat]:
        """All processes of this load, by pid."""
        return family(self.tree, [child.pid for child in self.children], self.mark)

    def cpu_time_ns(self, members: Mapping[int, Stat]) -> int:
        """Of the whole family, those that ended and were waited for included."""
        return ticks_ns(sum(stat.ticks for stat in members.values()))

    def due_ns(self, elapsed_ns: int, busy_ns: int) -> int | None:
        """Of ``elapsed_ns``, of which its CPUs together were busy for ``busy_ns``, by whomever."""
        raise NotImplementedError

    def ended(self) -> str | None:
        """How a child ended that should be running, or None."""
        codes = [ended(child.pid) for child in self.children]
        return ", ".join(f"exit status {code}" for code in codes if code is not None) or None

    def begin(self) -> None:
        self._strayed = self._astray(self.family())
        self._began = self._reading()

    def end(self) -> dict[str, Any]:
        began, now = self._began, self._reading()
        due_ns = self.due_ns(now.clock_ns - began.clock_ns, now.busy_ns - began.busy_ns)
        return {
            **report(self.spec, self.housekeeping, max(0, now.spent_ns - began.spent_ns), due_ns),
            "ended": self.ended(),
            "strayed": self._strayed or self._astray(self.family()),
        }

    def _reading(self) -> Reading:
        busy = cpu_ticks(self.tree, self.housekeeping).values()
        clock_ns = time.monotonic_ns()
        return Reading(clock_ns, sum(ticks for ticks, _ in busy) * (10**9 // USER_HZ), self.cpu_time_ns(self.family()))

    def stop(self) -> list[int]:
        """SIGTERM, a moment for what tidies up after itself, and SIGKILL for all that is left of the family.

        The children are reaped last: until then they hold their numbers, by which the others are found.
        """
        for child in self.children:
            with contextlib.suppress(OSError):
                os.kill(child.pid, signal.SIGTERM)  # Popen's own would reap it
        end_s = time.monotonic() + GRACE_S
        while any(ended(child.pid) is None for child in self.children) and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
        left = kill_family(self.tree, [child.pid for child in self.children], self.mark)
        for child in self.children:
            if child.pid not in left:
                child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self.children.clear()
        return left

    def _astray(self, members: Mapping[int, Stat]) -> list[str]:
        """``hackbench (77): CPU 0-3`` for the first few that may run elsewhere than on the housekeeping CPUs."""
        wanted = set(self.housekeeping)
        found = []
        for pid in sorted(members):
            allowed = allowed_cpus(self.tree, pid)
            if not allowed <= wanted:
                name = self.tree.read(f"/proc/{pid}/comm") or "a process"
                found.append(f"{name} ({pid}): CPU {format_cpus(allowed)}")
        return found[:_NAMED]


def pinner(cpus: Sequence[int]) -> Callable[[], None]:
    """To be called in a child before its exec: to its CPUs, and the first to go where memory runs out."""
    wanted = set(cpus)

    def pin() -> None:
        os.sched_setaffinity(0, wanted)
        with contextlib.suppress(OSError):
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(fd, b"1000")
            os.close(fd)

    return pin


def program(name: str, *arguments: str) -> list[str]:
    """The command that executes ``name``.py of this folder, by its text: we may lie in an archive."""
    loader: Any = __spec__.loader
    text = loader.get_data(os.path.join(os.path.dirname(__file__), f"{name}.py")).decode("utf-8")
    return [sys.executable, "-I", "-S", "-B", "-c", text, str(os.getpid()), *arguments]
