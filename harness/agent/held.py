# SPDX-License-Identifier: Apache-2.0
"""Attribution's events, held open from one attributed run to the next.

The first to open a tracepoint and the last to close it have the kernel patch its code, with interrupts to every CPU
and a wait for all of them; whoever comes between patches nothing. So a process of the probe itself, off the measured
CPU, has each of them open (disabled: it counts nothing) while attributed runs follow each other. It sleeps until its
stdin ends, and dies with us: descriptors are all that it has, and nothing is left to be put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import Any, Callable, Mapping, Sequence

from .processes import ended, kill_group
from .spec import RunSpec

#: Some 10 ms on a machine of its own, seconds on an emulated one.
_OPEN_S = 20.0
#: Closing waits for every CPU (RCU).
_CLOSE_S = 30.0
#: A second after a task's last event the kernel patches what changes tasks (perf_sched_work): not in the next run.
_LATER_S = 1.25
_MAX_SAID = 4096


class HeldEvents:
    """Of the batch of ``runs``. ``wait`` is the batch's own, and may raise."""

    def __init__(self, runs: Sequence[RunSpec], wait: Callable[[float, tuple[int, ...]], set[int]]) -> None:
        # The events of a task that is not pinned take more of the kernel than those of a CPU.
        roams = any(run.attribution != "off" and run.mode.where == "shared" for run in runs)
        self._scope = "task" if roams else "cpu"
        self._wait = wait
        self._child: subprocess.Popen[bytes] | None = None
        self._told: dict[str, Any] | None = None

    @property
    def told(self) -> Mapping[str, Any] | None:
        """What is held: ``{scope, level, events, reason}``; None where nothing is asked for. Runs go on without it."""
        return self._told

    def before(self, spec: RunSpec, binary: str) -> None:
        """For an attributed run they are open, by ``binary``; for another they are not: it would pay for them."""
        if spec.attribution == "off":
            late = self._child is not None and self._told is not None and _of_a_task(self._told)
            self.close()
            end_s = time.monotonic() + _LATER_S
            while late and time.monotonic() < end_s:
                self._wait(end_s, ())
        elif self._child is not None and ended(self._child.pid) is not None:
            self.close()
        if spec.attribution != "off":
            if self._told is None:
                self._open(binary)
            self._keep_to(spec.rest)

    def close(self) -> None:
        """Returns when they are closed, as far as the kernel lets it come to that."""
        child, self._child, self._told = self._child, None, None
        if child is None:
            return
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        try:
            child.wait(timeout=_CLOSE_S)
        except subprocess.TimeoutExpired:
            kill_group(child.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5.0)

    def _open(self, binary: str) -> None:
        found: Mapping[str, Any]
        try:
            self._child = subprocess.Popen(
                [binary, "--hold-events", self._scope, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            found = {"reason": f"it cannot be executed: {error.strerror}"}
        else:
            found = _read_told(self._hear(self._child))
        told = {"scope": self._scope, "level": "nothing", "events": 0, "reason": None, **found}
        if told["level"] == "nothing":
            self.close()
        self._told = told

    def _keep_to(self, cpus: Sequence[int]) -> None:
        """Where it is when it comes to close them."""
        if self._child is not None and cpus:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self._child.pid, cpus)

    def _hear(self, child: subprocess.Popen[bytes]) -> bytes:
        """What it says, to the end of the line: less if it ends, or takes too long."""
        assert child.stdout is not None
        fd = child.stdout.fileno()
        deadline_s = time.monotonic() + _OPEN_S
        said = b""
        while b"\n" not in said and len(said) < _MAX_SAID and time.monotonic() < deadline_s:
            if fd in self._wait(deadline_s, (fd,)):
                data = os.read(fd, _MAX_SAID)
                if not data:
                    break
                said += data
        return said


def _of_a_task(told: Mapping[str, Any]) -> bool:
    return bool(told["scope"] == "task" or told["level"] == "software")


def _read_told(said: bytes) -> dict[str, Any]:
    """Of its one line what a run's record keeps; a probe without this option says what is wrong with it."""
    line = said.partition(b"\n")[0].decode("utf-8", "replace").strip()
    try:
        found = json.loads(line)
        return {"level": str(found["level"]), "events": int(found["events"]), "reason": found["reason"]}
    except (ValueError, TypeError, KeyError):
        return {"reason": line[:200] or "it did not say what it holds"}
