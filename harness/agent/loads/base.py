# SPDX-License-Identifier: Apache-2.0
"""What every load is: work on the housekeeping CPUs during a run, proven by its CPU time, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Any, Callable, Protocol, Sequence

from ..processes import kill_group
from ..spec import LoadSpec
from ..system import AgentError, Tree, format_cpus

#: Wait this long for a process that was sent SIGKILL: longer means it hangs in the kernel.
REAP_S = 5.0


class Load(Protocol):
    """Started once for runs of equal needs; :meth:`begin` and :meth:`end` bracket each measurement."""

    def start(self) -> None:
        """Start the work. :class:`AgentError` where it cannot be."""

    def begin(self) -> None:
        """Take the CPU time as it is now."""

    def end(self) -> dict[str, Any]:
        """``{name, kind, cpus, cpu_time_ns, due_ns, share, ended}``; ``share`` is None where nothing was due.

        ``ended`` says how a process of the load ended before the measurement did, or is None.
        """

    def stop(self) -> None:
        """Kill it; returns when it is gone."""


class ProcessLoad:
    """A load of child processes, each the leader of its own session and pinned to its CPUs."""

    def __init__(self, spec: LoadSpec, housekeeping: Sequence[int], tree: Tree | None = None) -> None:
        self.spec = spec
        self.housekeeping = list(housekeeping)
        self.tree = tree or Tree()
        self.children: list[subprocess.Popen[bytes]] = []
        self._began_ns = 0
        self._time_ns = 0

    def start(self) -> None:
        if not self.housekeeping:
            raise AgentError(
                "environment",
                "no-housekeeping",
                f"load {self.spec.name}: there is no housekeeping CPU to put it on",
                "use load idle, or a machine with another CPU",
            )

    def spawn(self, argv: Sequence[str], cpus: Sequence[int]) -> None:
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                preexec_fn=pinner(cpus),
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise AgentError(
                "environment",
                "load",
                f"load {self.spec.name}: cannot run {argv[0]} on CPU {format_cpus(cpus)}: {error}",
                f"install {argv[0]} on the target, or give its full path",
            ) from None
        self.children.append(child)

    def cpu_time_ns(self) -> int:
        raise NotImplementedError

    def due_ns(self, elapsed_ns: int) -> int | None:
        raise NotImplementedError

    def begin(self) -> None:
        self._time_ns = self.cpu_time_ns()
        self._began_ns = time.monotonic_ns()

    def end(self) -> dict[str, Any]:
        elapsed_ns = time.monotonic_ns() - self._began_ns
        spent_ns = max(0, self.cpu_time_ns() - self._time_ns)
        due_ns = self.due_ns(elapsed_ns)
        codes = [child.poll() for child in self.children]
        ended = [f"exit status {code}" for code in codes if code is not None]
        return {
            "name": self.spec.name,
            "kind": self.spec.kind,
            "cpus": self.housekeeping,
            "cpu_time_ns": spent_ns,
            "due_ns": due_ns,
            "share": None if due_ns is None else round(spent_ns / max(1, due_ns), 4),
            "ended": ", ".join(ended) or None,
        }

    def stop(self) -> None:
        for child in self.children:
            kill_group(child.pid)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=REAP_S)
        self.children.clear()


def pinner(cpus: Sequence[int]) -> Callable[[], None]:
    """To be called in a child before its exec."""
    wanted = set(cpus)

    def pin() -> None:
        os.sched_setaffinity(0, wanted)

    return pin
