# SPDX-License-Identifier: Apache-2.0
"""One probe process: how it is started, bounded and killed, and what its exit and its files mean."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any, Iterable, Sequence

from .frames import loads_strictly
from .modes import Mode
from .processes import ended, kill_group, pending
from .spec import RunSpec, event_lists, safe_name
from .system import AgentError, Tree

#: Kept of what a probe says: the first and the last half MiB.
LOG_HALF = 512 << 10
MAX_RESULT = 4 << 20
#: What a probe says when it is to be told its start, and is ready for it.
READY = b"ready\n"
#: From when all of them are ready until they begin: they are told so one by one, and spin for the last 10 ms.
START_AHEAD_NS = 50 * 10**6
START_EACH_NS = 10**6
#: A probe refuses to wait for longer than 10 s.
MAX_START_AHEAD_NS = 9 * 10**9
#: A probe's result.json of this schema, or older, is understood.
RESULT_SCHEMA = 1


def command(binary: str, spec: RunSpec, mode: Mode, cpu: int | None, out: str, *, together: bool = False) -> list[str]:
    """The probe of ``spec`` on ``cpu``; it begins when it is ready, or ``together`` with others, when it is told to."""
    argv = [binary, *mode.probe_argv(cpu), "--duration", f"{spec.duration_ns}ns"]
    helper = spec.helper_of(cpu)
    if helper is not None:
        argv += [f"--{spec.probe.helper}", str(helper)]
    if together:
        argv += ["--start-at", "-"]
    if spec.attribution != "off":
        argv += ["--attribution", spec.attribution]
    for name, setting in sorted(spec.probe.params.items()):
        argv += [f"--{name}", setting]
    return [*argv, "--out", out]


def start_of(processes: int, now_ns: int) -> int:
    """When so many probes begin that are all ready ``now_ns``, on that clock."""
    return now_ns + min(START_AHEAD_NS + processes * START_EACH_NS, MAX_START_AHEAD_NS)


def paperwork(spec: RunSpec, affinity: Sequence[int]) -> Sequence[int]:
    """Where a pinned probe of ``spec``, or its control, prepares and writes; only its loop runs on its own CPU.

    Each of them takes some 20 ms of CPU time for that, while others still measure: so they keep to where load and agent
    are, off all measured CPUs, their siblings, and the CPUs of control and helpers as far as there are others. On two
    CPUs a control does its own on its own. ``affinity`` are all CPUs, for a machine without one to keep house.
    """
    return spec.rest or affinity


class BoundedLog:
    """The first and the last :data:`LOG_HALF` bytes of a stream of any length."""

    def __init__(self, half: int = LOG_HALF) -> None:
        self._half = half
        self._first = bytearray()
        self._last = bytearray()
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        room = self._half - len(self._first)
        self._first += data[:room]
        self._last += data[room:] if room > 0 else data
        over = len(self._last) - self._half
        if over > 0:
            del self._last[:over]
            self._left_out += over

    def bytes(self) -> bytes:
        gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        return bytes(self._first) + gap + bytes(self._last)


class ProbeProcess:
    """A started probe. ``cpu`` is None where it is not pinned; ``out`` is the folder it writes to.

    One that begins ``together`` with others is not ``ready`` before it says so, and begins as :meth:`tell` says.
    It dies with the *thread* that makes this object, and refuses to start if that is gone before it can ask for this.
    """

    def __init__(
        self, argv: Sequence[str], out: str, cpu: int | None, affinity: Iterable[int], *, together: bool = False
    ) -> None:
        self.cpu = cpu
        self.ready = not together
        self.out = out
        self.log = BoundedLog()
        self.timed_out = False
        self._overtime = False
        wanted = set(affinity)

        def spread() -> None:
            # The agent itself is pinned to housekeeping; the probe starts from what the machine allows.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, wanted)

        try:
            self._child = subprocess.Popen(
                [*argv, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE if together else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=out,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
                preexec_fn=spread,
            )
        except OSError as error:
            raise AgentError(
                "environment",
                "exec",
                f"the probe cannot be executed here: {error.strerror}",
                "is it built for this machine's architecture, and its folder not mounted noexec?",
            ) from None
        #: As inherited: a probe leaves it as it is, and what an ordinary task gets depends on it.
        self.nice = os.getpriority(os.PRIO_PROCESS, 0)
        assert self._child.stdout is not None
        self.output = self._child.stdout.fileno()
        os.set_blocking(self.output, False)

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        """The exit status once it ended (negative: the signal), else None. Never blocks, and does not reap it."""
        return self._child.returncode if self._child.returncode is not None else ended(self.pid)

    def drain(self) -> bool:
        """Take what it said. False at the end of its output."""
        for _ in range(64):  # a probe that never stops talking must not keep us from the deadline
            try:
                data = os.read(self.output, 1 << 16)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            if not self.ready and data.startswith(READY):  # six bytes in one go, and the first that it says
                self.ready = True
                data = data[len(READY) :]
            self.log.feed(data)
        return True

    def tell(self, start_ns: int) -> None:
        """Begin at this time of CLOCK_MONOTONIC. One that is gone meanwhile tells by its end."""
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            os.write(self._child.stdin.fileno(), b"%d\n" % start_ns)

    def expire(self) -> None:
        """Kill it at its deadline. Was its own timer's signal not served (SIGKILL is what the kernel makes of one that
        ends all threads), then it did not get to run."""
        self.timed_out = True
        self._overtime = bool(pending(Tree(), self.pid) & {signal.SIGALRM, signal.SIGKILL})
        self.kill()

    def kill(self) -> None:
        """SIGKILL to its whole group, and reap it; returns when it is gone. Once reaped, its number is not ours."""
        if self._child.returncode is None:
            kill_group(self.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=5.0)

    def close(self) -> None:
        """Kill what is left of its group (children it forked), take the rest of its output, and reap it if it ended."""
        if self._child.returncode is None:
            kill_group(self.pid)
        self.drain()
        self._child.poll()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()

    def result(self) -> dict[str, Any]:
        """What it measured. :class:`AgentError` with whose fault it is, if it did not."""
        status = self.poll()
        if self._child.stdout is not None and not self._child.stdout.closed:
            self.drain()  # what it said right before it ended
        if self._overtime:
            raise exit_error(-signal.SIGALRM, b"")
        if self.timed_out or status is None:
            raise AgentError("bug", "deadline", "the probe did not end by its deadline and was killed")
        if status != 0:
            raise exit_error(status, self.log.bytes())
        return load_result(self.out)


def exit_error(status: int, log: bytes) -> AgentError:
    """What an exit status other than 0 means: 2 options that a bench file has wrong, 3 the machine lacks something."""
    lines = [line for line in log.decode("utf-8", "replace").split("\n") if line.strip()]
    said = lines[-1].strip()[-500:] if lines else "it said nothing"
    if status == 3:
        return AgentError("environment", "probe", said)
    if status == 2:
        return AgentError(
            "user",
            "probe-usage",
            f"the probe does not take what the bench file says: {said}",
            "correct the bench's params",
        )
    if status == -signal.SIGKILL:
        return AgentError(
            "environment", "probe-killed", "the probe was killed (SIGKILL)", "out of memory? see dmesg on the target"
        )
    if status == -signal.SIGALRM:
        return AgentError(
            "environment",
            "probe-overtime",
            "the probe took longer than its safety timer allows",
            "did something keep it from its CPU (a real-time task, a paused virtual machine)? see dmesg on the target",
        )
    if status < 0:
        return AgentError("bug", "probe-crash", f"the probe crashed with signal {-status}: {said}")
    return AgentError("bug", "probe", f"the probe failed with exit status {status}: {said}")


def one_line(error: AgentError) -> str:
    text = " ".join(str(error).split())
    return f"{text} ({error.advice})" if error.advice else text


def load_result(out: str) -> dict[str, Any]:
    """``result.json`` of a probe that ended well, with the files it names there. Raises :class:`AgentError` (a bug)."""
    path = os.path.join(out, "result.json")
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_RESULT + 1)
    except OSError as error:
        raise AgentError("bug", "no-result", f"the probe left no result.json: {error.strerror}") from None
    problem = f"over {MAX_RESULT} bytes" if len(text) > MAX_RESULT else None
    result: Any = None
    if problem is None:
        try:
            result = loads_strictly(text)
            problem = _problem_of(result, out)
        except ValueError as error:  # SpecError is one
            problem = str(error)
    if problem is not None:
        raise AgentError("bug", "bad-result", f"the probe's result.json is unusable: {problem}")
    checked: dict[str, Any] = result
    return checked


def _problem_of(result: Any, out: str) -> str | None:
    if not isinstance(result, dict):
        return "no object"
    schema = result.get("schema")
    if not isinstance(schema, int) or not 1 <= schema <= RESULT_SCHEMA:
        return f"schema {schema!r}"
    histograms = result.get("histograms", {})
    if not isinstance(histograms, dict) or not all(isinstance(each, dict) for each in histograms.values()):
        return "histograms is no object of objects"
    missing = [name for name in result_files(result) if not os.path.isfile(os.path.join(out, name))]
    return f"names {', '.join(missing)}, which is not there" if missing else None


def result_files(result: dict[str, Any]) -> dict[str, str]:
    """``{file the probe wrote: metric}`` as its result names them; a list of events (``gaps``) goes by its own name."""
    files = {}
    for metric, histogram in (result.get("histograms") or {}).items():
        files[safe_name(histogram.get("file"), f"histograms.{metric}.file")] = safe_name(metric, "metric")
    for name, events in event_lists(result):
        if "file" in events:
            files[safe_name(events["file"], f"{name}.file")] = safe_name(name, "events")
    return files


def spooled_name(file: str, metric: str, cpu: int | None) -> str:
    """``gap_ns.hdr`` of CPU 1 -> ``gap_ns.cpu1.hdr``; of a task that was not pinned ``gap_ns.any.hdr``."""
    suffix = file[file.rfind(".") :] if "." in file else ""
    return f"{metric}.{'any' if cpu is None else f'cpu{cpu}'}{suffix}"
