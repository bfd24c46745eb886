# SPDX-License-Identifier: Apache-2.0
"""Loads that are commands, free to run on all housekeeping CPUs, under a keeper (:mod:`.keeper`)."""

from __future__ import annotations

import os
import select
import subprocess
from typing import Any, Mapping, Sequence

from ..processes import Stat, ended, ticks_ns
from ..spec import LoadSpec
from ..system import AgentError, format_cpus
from . import tools
from .base import ProcessLoad, needs_a_cpu, program

#: Python itself has to start first, on a machine that may be slow and busy.
START_S = 30.0
_MOST_SAID = 1 << 16


class CommandLoad(ProcessLoad):
    #: Is it started again when it ends well?
    again = False

    def command(self) -> list[str]:
        """What to execute, its first word a path or a name to be found. :class:`AgentError` where there is none."""
        raise NotImplementedError

    def start(self) -> None:
        super().start()
        self._command = self.command()
        self._said = ""
        path = tools.find(self.tree, self._command[0]) if "/" not in self._command[0] else self._command[0]
        self._sha256 = tools.digest(path) if path else None
        argv = program("keeper", "again" if self.again else "once", *self._command)
        self.spawn(argv, self.housekeeping, stdout=subprocess.PIPE)
        said = self._line(START_S)
        if said != "started":
            self.stop()
            raise AgentError(
                "environment",
                "load",
                f"load {self.spec.name} on CPU {format_cpus(self.housekeeping)}: {said or 'its keeper did not start'}",
                f"install {self._command[0]} on the target, or give its full path",
            )

    def cpu_time_ns(self, members: Mapping[int, Stat]) -> int:
        """Without what the keeper itself uses: it wakes up now and then, and a load that does nothing has none."""
        keepers = (members[child.pid] for child in self.children if child.pid in members)
        return super().cpu_time_ns(members) - ticks_ns(sum(keeper.own for keeper in keepers))

    def due_ns(self, elapsed_ns: int, busy_ns: int) -> int | None:  # noqa: ARG002 (the protocol's)
        """What a command of the campaign's is due is its own affair: more than nothing."""
        return None

    def ended(self) -> str | None:
        """What the keeper said last, which it may outlive: it still kills then what the command left behind."""
        [keeper] = self.children
        status = ended(keeper.pid)
        self._said = self._said or self._line(0.0)
        if status is not None:
            self._said = self._said or f"its keeper ended with exit status {status}"
        return self._said or None

    def end(self) -> dict[str, Any]:
        return {**super().end(), "command": self._command, "tool_sha256": self._sha256}

    def _line(self, patience_s: float) -> str:
        """The next thing that the keeper says; nothing where it says nothing in time."""
        [keeper] = self.children
        assert keeper.stdout is not None
        said = b""
        while len(said) < _MOST_SAID and select.select([keeper.stdout], [], [], patience_s)[0]:
            byte = os.read(keeper.stdout.fileno(), 1)
            if byte in (b"", b"\n"):
                break
            said += byte
        return said.decode("utf-8", "replace")


class ToolLoad(CommandLoad):
    """A program of the target's that keeps all its CPUs busy for as long as it runs, and is started again."""

    tool = ""
    again = True

    @classmethod
    def needs(cls, spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:
        return needs_a_cpu(spec, housekeeping) + tools.missing(cls.tool, facts)

    def options(self) -> list[str]:
        raise NotImplementedError

    def command(self) -> list[str]:
        return [tools.find(self.tree, self.tool) or self.tool, *self.options()]

    def due_ns(self, elapsed_ns: int, busy_ns: int) -> int:
        """All the time that its CPUs were not idle, and at least half of the time there was.

        Its processes may all wait for a moment, as when it starts anew. What others used was due to it.
        """
        return min(max(busy_ns, elapsed_ns * len(self.housekeeping) // 2), elapsed_ns * len(self.housekeeping))
