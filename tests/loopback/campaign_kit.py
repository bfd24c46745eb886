# SPDX-License-Identifier: Apache-2.0
"""Whole campaigns of short runs: a machine of our own, the command line and its functions, and what has to hold after.

Agents find each other by one name a machine, and root's keep their state in one place. So each test gets a machine of
its own as far as the kernel gives one: a network namespace (abstract sockets belong to it), with private mounts over
the places of root's state. What is left running in it at the end is what the test left running, and is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.agent.paths import SOCKET
from harness.agent.processes import MARKER
from harness.agent.server import dial, peer_credentials
from harness.build import BuildError, build_probe
from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.events import Event, Listener
from harness.campaign.execution import Execution
from harness.campaign.outcome import Outcome
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.store.runs import load_run
from harness.target.ssh import Backoff

from .agent_kit import settings
from .turns import our_turn

if TYPE_CHECKING:
    from .conftest import Server

ROOT = os.getuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="namespaces, mounts and users need root")

#: For tests on connections that freeze: what is waited for in earnest takes minutes.
SHORT_S = 1.2

_CLONE_NEWNS, _CLONE_FS, _CLONE_NEWNET = 0x00020000, 0x00000200, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_PRIVATE = ("/var/lib/isolbench", "/run/isolbench")


# -- a machine of our own -------------------------------------------------------------------------------------------


def _libc(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@contextlib.contextmanager
def own_namespaces() -> Iterator[None]:
    """A machine of our own, for this thread and all that it starts. Root's alone."""
    here = os.getcwd()
    kinds = ("net", "mnt")
    before = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    _libc("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        for path in _PRIVATE:
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", path], check=True)
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        yield
    finally:
        _end_namespace()
        _libc("unshare", _CLONE_FS)  # threads that share it would keep us from leaving
        for kind in before:
            _libc("setns", kind, 0)
            os.close(kind)
        os.chdir(here)


def inhabitants() -> list[int]:
    """The processes in our network namespace but this one."""
    ours = os.readlink("/proc/thread-self/ns/net")
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) != os.getpid() and os.readlink(f"/proc/{name}/ns/net") == ours:
                found.append(int(name))
    return found


def _end_namespace() -> None:
    end_s = time.monotonic() + 10.0
    while (left := inhabitants()) and time.monotonic() < end_s:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def agent_pid() -> int | None:
    """The supervisor of the agent that lives on this machine."""
    found = dial(SOCKET)
    if found is None:
        return None
    with found:
        return peer_credentials(found)[0]


def no_agent() -> bool:
    """Whether none lives in our namespace. Looked at from outside: whoever dials an agent keeps it waiting for more."""
    return not any(" start --foreground" in command_of(pid) for pid in inhabitants())


def _end_agent() -> None:
    pid = agent_pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        end_s = time.monotonic() + 30.0
        while agent_pid() == pid and time.monotonic() < end_s:
            time.sleep(0.05)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No other test session of this user is in here."""
    with our_turn():
        yield


@pytest.fixture
def own_machine() -> Iterator[None]:
    if ROOT:
        with own_namespaces():
            yield
    else:
        _end_agent()
        yield
        _end_agent()


# -- what has to be as it was ---------------------------------------------------------------------------------------


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def command_of(pid: int) -> str:
    return (_read(f"/proc/{pid}/cmdline") or "").replace("\0", " ")


def measuring() -> list[int]:
    """Whatever agents started on this machine and still runs: probes and loads; the agents themselves are none."""
    everybody = inhabitants() if ROOT else [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = []
    for pid in everybody:
        dead = (_read(f"/proc/{pid}/stat") or ") Z").rpartition(")")[2].split()[0] == "Z"
        if not dead and MARKER.encode() in environment_of(pid) and " start --foreground" not in command_of(pid):
            found.append(pid)
    return found


def machine_state() -> dict[str, Any]:
    """Everything that a measurement may change: equal before and after."""
    state: dict[str, Any] = {**settings()}
    state["processes"] = [command_of(pid) for pid in measuring()]
    runtime = "/run/isolbench" if ROOT else f"{os.environ.get('XDG_RUNTIME_DIR', '')}/isolbench"
    state["undo"] = _read(f"{runtime}/undo.jsonl")
    return state


def wait_for(what: Callable[[], Any], why: str, within_s: float = 60.0) -> Any:
    """The first true value of ``what``."""
    end_s = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end_s, f"{why}: not within {within_s:g} s"
        time.sleep(0.01)
    return found


# -- campaigns ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command of ours left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What was wrong, in the lines that begin with our name."""
        return [line for line in self.err.splitlines() if line.startswith("isolbench: ")]


@dataclass
class Lab:
    """A folder to work in, and targets in its inventory."""

    folder: Path
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.folder / "lab.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def add(self, server: Server, name: str = "box", **changes: Any) -> str:
        """Enter a server of :func:`start_sshd`; a :class:`Proxy` in front of it by ``port=proxy.port``."""
        keys = {
            "address": "127.0.0.1",
            "port": server.port,
            "user": changes.pop("user", "root" if ROOT else os.environ.get("USER", "")),
            "identity": str(server.user_key),
            "host_key": server.host_key,
            **changes,
        }
        self.enter(name, **{key: value for key, value in keys.items() if value is not None})
        return name

    def enter(self, name: str, **keys: Any) -> None:
        """Write these keys of a target into the inventory, beside what it says of it already."""
        self.targets[name] = {**self.targets.get(name, {}), **keys}
        self.inventory.write_text(json.dumps({"targets": self.targets}))

    def campaign(self, name: str = "short", **changes: Any) -> Path:
        """A campaign file (JSON is YAML): two runs of 50 ms on all targets, unless told otherwise."""
        document = {
            "campaign": name,
            "targets": list(self.targets) or ["local"],
            "benches": ["gap"],
            "axes": {"mode": ["pinned"], "load": ["idle"]},
            "settle": "0s",
            "duration": "50ms",
            "repeat": 2,
            "retry": {"infrastructure": 0, "invalid": 0},
            **changes,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(document))
        return path

    def execution(self, **changes: Any) -> Execution:
        """A new execution of :meth:`campaign`, nothing of it carried out yet."""
        if not self.inventory.exists():
            self.inventory.write_text("targets: {}\n")
        plan = build_plan(load_campaign(self.campaign(**changes)), load_inventory(self.inventory))
        return executions.create(plan, self.results, self.inventory)

    def carry_out(self, execution: Execution, *listeners: Listener, lanes: Sequence[str] = ()) -> Outcome:
        """As ``resume`` does it, in this process."""
        again = executions.load(execution.path)
        return carry_out(again, again.inventory(), lanes=lanes, listeners=listeners)

    def words(self, *words: str) -> list[str]:
        command = [sys.executable, "-c", "from harness.cli import main; main()", *words]
        if words[0] in ("run", "resume"):
            command += ["--results", str(self.results), "--no-report"]
        if words[0] in ("run", "resume", "restore") and self.inventory.exists():
            command += ["--inventory", str(self.inventory)]
        return command

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*words), cwd=self.folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def cli(self, *words: str) -> Said:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        return Said(process.returncode, out, err)

    def newest(self) -> Execution:
        return executions.load(executions.executions(self.results)[-1])

    def events(self, kind: str | None = None) -> list[Event]:
        """Of the newest execution, while it may still be under way."""
        found = executions.executions(self.results)
        text = _read(str(found[-1] / "events.jsonl")) if found else None
        lines = [json.loads(line) for line in (text or "").splitlines(keepends=True) if line.endswith("\n")]
        return [event for event in lines if kind in (None, event["kind"])]


@pytest.fixture
def lab(own_machine: None, tmp_path: Path, probe_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(probe_cache))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    folder = tmp_path / "lab"
    folder.mkdir()
    before = machine_state()
    yield Lab(folder)
    wait_for(lambda: machine_state() == before, f"the machine is as it was: {before}, not {machine_state()}", 20.0)


@pytest.fixture(scope="session")
def probe_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe is compiled once for all tests, and not in anybody's own cache."""
    cache = tmp_path_factory.mktemp("cache")
    try:
        build_probe("gap", os.uname().machine, cache=cache / "isolbench" / "build")
    except BuildError as error:
        pytest.skip(f"no probe: {error}")
    return cache


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that is closed, or a connection that broke, is tried again at once."""
    monkeypatch.setattr("harness.target.ssh.Backoff", partial(Backoff, first_s=0.05, most_s=0.1, tries=2))
    monkeypatch.setattr("harness.campaign.lane.BACK_OFF_S", (0.05,))
    monkeypatch.setattr("harness.campaign.lane.AWAY_S", 0.0)


@contextlib.contextmanager
def hurry() -> Iterator[None]:
    """A connection that is frozen is given up in seconds. So may be a slow one: within, nothing has to succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.target.session.STEP_S", SHORT_S)
        patch.setattr("harness.campaign.conversation.ANSWER_S", SHORT_S)
        patch.setattr("harness.campaign.conversation.CANCEL_S", SHORT_S)
        patch.setattr("harness.campaign.conversation.WIRE_SLACK_S", SHORT_S - 5.0)  # the agent's own allowance is 5 s
        yield


# -- what has to hold -----------------------------------------------------------------------------------------------


def complete(execution: Execution) -> None:
    """Every run that was planned exists exactly once, readable, and nothing half-written lies about."""
    for target, wanted in execution.run_names.items():
        folder = execution.path / "runs" / target
        assert {path.name for path in folder.iterdir()} == wanted
        for name in wanted:
            run = load_run(folder / name)
            assert run.name == name
            assert run.document["identity"]["cpu_model"] is not None or os.uname().machine != "x86_64"
    tidy(execution)


def tidy(execution: Execution) -> None:
    """Nothing half-written, no attempt twice, and nothing where nothing belongs."""
    assert not list(execution.path.rglob(".tmp-*"))
    top = {path.name for path in execution.path.iterdir()}
    assert top <= {"plan.json", "events.jsonl", "runs", "attempts", "lanes", "report.html"}
    for attempt in execution.path.glob("attempts/*/*"):
        assert re.fullmatch(r".+-r\d+-a\d+", attempt.name)
        assert json.loads((attempt / "attempt.json").read_text())["reason"]


def spooled(home: Path | None = None) -> list[str]:
    """The names of all entries in the spools on this machine."""
    places = [Path("/var/lib/isolbench")] if ROOT else [Path.home() / ".local/state/isolbench"]
    if home is not None:
        places.append(home / ".local/state/isolbench")
    return sorted(path.name for place in places for path in place.glob("spool/*/*"))


def once(action: Callable[[], object], kind: str, number: int = 1) -> Listener:
    """Do ``action`` at the ``number``-th event of a kind."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        if event["kind"] == kind:
            seen += 1
            if seen == number:
                action()

    return listen
