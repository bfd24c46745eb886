# SPDX-License-Identifier: Apache-2.0
"""An agent of our own for each test: its own folders and socket name, spoken to through a plain pipe. No mock."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.agent import modes
from harness.agent.frames import Frame
from harness.agent.spec import Batch, LoadSpec, ProbeSpec, RunSpec
from harness.agent.system import parse_cpus
from harness.build import build_probe, native_arch
from harness.deadline import Deadline
from harness.errors import BuildError, ConnectionLost
from harness.target.client import AgentClient, split_files
from harness.target.deploy import agent_zip

from .turns import our_turn

PATIENCE_S = 60.0
CPUS = sorted(os.sched_getaffinity(0))
MEASURED, HOUSEKEEPING = CPUS[-1], CPUS[:-1]
EXECUTION = "20261120T010000Z"


def probe_binary(name: str, arch: str | None = None) -> bytes:
    """A probe for this machine, or another; the test that asks is skipped where it cannot be built."""
    try:
        return build_probe(name, arch or native_arch()).path.read_bytes()
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


@pytest.fixture(scope="session")
def gap() -> bytes:
    """The probe of most tests, ready for upload."""
    return probe_binary("gap")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """One that nobody has spoken to yet."""
    with agent_in(tmp_path) as agent:
        yield agent


def soon() -> Deadline:
    return Deadline.after(PATIENCE_S)


class PipeChannel:
    """The least that a :class:`harness.target.transport.Channel` can be: a child process and its pipes."""

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **options
        )
        self._said = b""

    def read(self, n: int, deadline: Deadline) -> bytes:
        assert self.child.stdout is not None
        if not select.select([self.child.stdout], [], [], deadline.remaining())[0]:
            raise ConnectionLost("nothing came in time")
        return os.read(self.child.stdout.fileno(), n)

    def write(self, data: bytes, deadline: Deadline) -> None:
        assert self.child.stdin is not None
        view = memoryview(data)
        while view:
            if not select.select([], [self.child.stdin], [], deadline.remaining())[1]:
                raise ConnectionLost("nothing goes in time")
            try:
                view = view[os.write(self.child.stdin.fileno(), view[:4096]) :]
            except OSError as error:
                raise ConnectionLost(f"broken: {error}") from error

    def close_stdin(self, deadline: Deadline) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()

    def stderr_tail(self) -> str:
        assert self.child.stderr is not None
        while select.select([self.child.stderr], [], [], 0)[0]:
            data = os.read(self.child.stderr.fileno(), 65536)
            if not data:
                break
            self._said += data
        return self._said[-65536:].decode("utf-8", "replace")

    def exit_status(self, deadline: Deadline) -> int | None:
        try:
            return self.child.wait(deadline.remaining())
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            assert stream is not None
            stream.close()


@dataclass
class Agent:
    """One agent on this machine. ``prefix`` is put before its command: another user, another root."""

    base: Path
    prefix: Sequence[str] = ()
    python: str = sys.executable
    idle_s: float = 2.0
    zip_path: str = ""
    folders: str = ""
    clients: list[AgentClient] = field(default_factory=list)
    channels: list[PipeChannel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folders = self.folders or str(self.base)
        self.zip_path = self.zip_path or f"{self.folders}/agent.pyz"
        (self.base / "agent.pyz").write_bytes(agent_zip()[0])

    @property
    def socket(self) -> str:
        return f"isolbench.test-{os.getpid()}-{self.base.name}"

    def argv(self, command: str, *more: str) -> list[str]:
        options = ["--state", f"{self.folders}/state", "--runtime", f"{self.folders}/runtime"]
        options += ["--deploy", f"{self.folders}/deploy", "--socket", self.socket, "--idle", str(self.idle_s)]
        return [*self.prefix, self.python, "-I", "-B", self.zip_path, command, *options, *more]

    def attach(self, owner: str = "me", *, hello: bool = True) -> AgentClient:
        channel = PipeChannel(self.argv("attach"))
        client = AgentClient(channel, "box")
        self.clients.append(client)
        self.channels.append(channel)
        if hello:
            client.hello({"id": owner, "who": f"{owner}@test"}, soon())
        return client

    def command(self, name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(name), capture_output=True, text=True, timeout=PATIENCE_S)

    def daemons(self) -> list[int]:
        """Supervisor and worker: whose command line has our socket's name, and says that it is the daemon."""
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0") if name.isdigit() else []
                if b"--foreground" in words and self.socket.encode() in words:
                    found.append(int(name))
        return sorted(found)

    def marker(self) -> str:
        """What every process of this daemon carries in its environment."""
        for pid in self.daemons():
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if entry.startswith(b"ISOLBENCH_BATCH="):
                    return entry.decode()
        raise AssertionError("no daemon")

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for pid in self.daemons():
            with contextlib.suppress(OSError):
                os.kill(pid, 15)
        until(lambda: not self.daemons(), "the daemon did not end")


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait for something that must come true; how long it takes is not what is tested."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end_s, what
        time.sleep(0.005)


def carrying(marker: str) -> list[int]:
    """Living processes with the marker in their environment."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and marker.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def run_spec(
    repeat: int,
    sha256: str,
    *,
    mode: str = "pinned",
    load: LoadSpec | None = None,
    duration_ns: int = 50_000_000,
    settle_ns: int = 0,
    attempt: int = 1,
    params: dict[str, str] | None = None,
    cell: str = "gap.cell-0123456789ab",
    cpus: Sequence[int] = (MEASURED,),
    housekeeping: Sequence[int] = tuple(HOUSEKEEPING),
    tune: Sequence[str] = (),
) -> RunSpec:
    return RunSpec(
        run=f"{cell}-r{repeat}",
        cell=cell,
        repeat=repeat,
        attempt=attempt,
        bench="gap",
        probe=ProbeSpec("gap", sha256, params or {}),
        mode=modes.from_name(mode).to_spec(),
        load=load or LoadSpec("idle", "idle"),
        cpus=list(cpus),
        housekeeping=list(housekeeping),
        settle_ns=settle_ns,
        duration_ns=duration_ns,
        tune=list(tune),
    )


def submit(client: AgentClient, runs: Sequence[RunSpec], ttl_s: float = 600) -> int:
    token = client.acquire(ttl_s, soon())
    client.submit(Batch(EXECUTION, "lane", token, 1, list(runs)), soon())
    return token


@dataclass
class Heard:
    """What a batch said: its runs by name with their files, its events in order."""

    runs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


def listen(client: AgentClient, *, ack: bool = True, patience_s: float = PATIENCE_S) -> Heard:
    """Until the batch is finished. ``patience_s``: between two frames."""
    heard = Heard()
    while True:
        frame = client.next(Deadline.after(patience_s))
        assert frame is not None, f"silence after {heard.events}"
        if frame.type == "run":
            heard.frames.append(frame)
            heard.runs[frame.head["run"]] = split_files(frame)
            if ack:
                client.ack(EXECUTION, frame.head["run"], soon())
        else:
            heard.events.append(frame.head)
            if frame.head["kind"] == "batch-finished":
                return heard


@contextlib.contextmanager
def agent_in(base: Path, **options: Any) -> Iterator[Agent]:
    """An agent, ended afterwards. One at a time on this machine: their knobs are the same files."""
    with our_turn():
        agent = Agent(base, **options)
        try:
            yield agent
        finally:
            agent.end()


MEMORY = ("vm/stat_interval", "vm/min_free_kbytes", "vm/compact_unevictable_allowed", "vm/compaction_proactiveness")


def settings() -> dict[str, str]:
    """The machine's own settings that a batch may touch: what they are before is what they must be after."""
    names = "kernel/sched_rt_runtime_us kernel/watchdog_cpumask kernel/timer_migration kernel/numa_balancing"
    paths = [Path("/proc/sys", name) for name in [*names.split(), *MEMORY]]
    paths += [Path("/sys/kernel/mm/transparent_hugepage", name) for name in ("enabled", "defrag")]
    paths += [Path("/sys/kernel/mm/ksm/run"), Path("/proc/irq/default_smp_affinity")]
    paths += [Path("/sys/devices/virtual/workqueue", name) for name in ("cpumask", "cpumask_requested")]
    paths += sorted(Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor"))
    paths += sorted(Path("/sys/devices/system/cpu").glob("*/*boost")) + sorted(
        Path("/sys/devices/system/cpu").glob("intel_pstate/no_turbo")
    )
    paths += sorted(Path("/sys/devices/system/cpu").glob("cpu*/power/pm_qos_resume_latency_us"))
    paths += sorted(Path("/sys/kernel/mm/transparent_hugepage").glob("hugepages-*/enabled"))
    paths += sorted(Path("/proc/irq").glob("*/smp_affinity_list"))
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            found[str(path)] = path.read_text().strip()
    return found


def moved_irqs() -> list[str]:
    """IRQs that were kept off the measured CPU."""
    return [
        path
        for path, text in settings().items()
        if path.endswith("smp_affinity_list") and MEASURED not in parse_cpus(text)
    ]


def without_measured() -> str | None:
    """Why this machine cannot carry out a pinned batch beside housekeeping, or None."""
    return None if HOUSEKEEPING else "one CPU only: nothing is left to keep house"
