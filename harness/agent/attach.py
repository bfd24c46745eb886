# SPDX-License-Identifier: Apache-2.0
"""From a login on the target to its daemon: find it, start it when there is none, and pump bytes both ways."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from typing import Sequence

from .frames import MAGIC, Decoder, FrameError, encode
from .paths import Paths
from .processes import MARKER
from .server import dial, held_by, peer_credentials
from .system import AgentError, Tree

START_S = 10.0
#: Another user's agent that has nothing to do ends within seconds: so long it is waited for.
FOREIGN_S = 15.0
_FOREIGN_PAUSE_S = 0.25
_LOG = "daemon.log"
_MAX_LOG = 1 << 20


def self_command() -> tuple[list[str], dict[str, str]]:
    """How to execute this very agent again: ``(argv, environment)``, from a zip or from a package's folder."""
    package = os.path.dirname(os.path.abspath(__file__))
    above = os.path.dirname(package)
    if os.path.isfile(above):
        return [sys.executable, "-I", "-B", above], {}
    name = __name__.rpartition(".")[0]
    for _ in range(name.count(".")):
        above = os.path.dirname(above)
    return [sys.executable, "-B", "-m", name], {"PYTHONPATH": above}


def start(paths: Paths, idle_s: float) -> None:
    """Start the daemon and wait until it answers. :class:`AgentError` with the end of its log if it does not."""
    argv, more = self_command()
    argv += ["start", "--foreground", "--idle", f"{idle_s:g}", "--state", paths.state, "--runtime", paths.runtime]
    argv += ["--deploy", paths.deploy, "--socket", paths.socket]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **more, MARKER: new_marker()}
    if os.environ.get("HOME"):
        environment["HOME"] = os.environ["HOME"]
    log = os.path.join(paths.state, _LOG)
    if not _start_by_systemd(argv, environment):
        _start_detached(argv, environment, log)
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        sock = dial(paths.socket)
        if sock is not None:
            sock.close()
            return
        time.sleep(0.01)
    tail = (Tree().read_bytes(log) or b"")[-2000:].decode("utf-8", "replace").strip()
    raise AgentError("bug", "start", f"the agent did not start within {START_S:g} s: {tail or 'it said nothing'}")


def new_marker() -> str:
    return os.urandom(16).hex()


def _start_by_systemd(argv: Sequence[str], environment: dict[str, str]) -> bool:
    """As a transient unit, so that no login's end takes it along. False where there is no systemd, or it refuses."""
    if os.geteuid() != 0 or not os.path.isdir("/run/systemd/system"):
        return False
    command = ["systemd-run", "--collect", "--quiet", f"--unit=isolbench-agent-{environment[MARKER][:8]}"]
    # mixed: SIGTERM goes to the supervisor alone, which has the worker put everything back.
    command += ["--property=KillMode=mixed", *(f"--setenv={key}={value}" for key, value in environment.items())]
    try:
        done = subprocess.run([*command, *argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=START_S)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _start_detached(argv: Sequence[str], environment: dict[str, str], log: str) -> None:
    """Double fork and setsid: nobody's child, no terminal, none of our descriptors."""
    with contextlib.suppress(OSError):
        if os.path.getsize(log) > _MAX_LOG:
            os.unlink(log)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, source in ((0, null), (1, out), (2, out)):
            os.dup2(source, fd)
        os.closerange(3, 256)
        os.chdir("/")
        os.umask(0o077)
        os.execve(argv[0], list(argv), environment)  # noqa: S606 (no shell is the point)
    finally:
        os._exit(70)


def connect(paths: Paths, idle_s: float) -> tuple[socket.socket, bytes]:
    """A connection to the daemon that has answered, and what it said so far.

    A daemon that was just about to end closes the connection without a word: then another is started. Another user's
    is waited for, unless it is at work: :class:`AgentError` of kind ``busy``.
    """
    said = b""
    foreign_end_s = time.monotonic() + FOREIGN_S
    tries = 5
    while tries:
        sock = dial(paths.socket)
        if sock is None:
            tries -= 1
            start(paths, idle_s)
            continue
        _, uid = peer_credentials(sock)
        sock.settimeout(START_S)
        try:
            said = sock.recv(1 << 16)
        except OSError:
            said = b""
        if uid != os.geteuid():
            sock.close()
            in_use = _says_in_use(said)
            if in_use or time.monotonic() >= foreign_end_s:
                raise held_by(uid, in_use=in_use)
            time.sleep(_FOREIGN_PAUSE_S)
            continue
        tries -= 1
        if said:
            sock.settimeout(None)
            return sock, said
        sock.close()
        time.sleep(0.05)
    raise AgentError("bug", "start", "the agent ends as soon as it starts; see daemon.log in its state folder")


def _says_in_use(said: bytes) -> bool | None:
    """What another user's agent said when it refused us; None where it did not say (nor need it be an agent)."""
    try:
        heads = [frame.head for frame in Decoder(seek_magic=True).feed(said)]
    except FrameError:
        return None
    return next((bool(head["in_use"]) for head in heads if "in_use" in head), None)


def attach(paths: Paths, idle_s: float) -> int:
    """Pump until either end closes. An agent that cannot be had is told in the wire's own language."""
    try:
        sock, said = connect(paths, idle_s)
    except AgentError as error:
        refuse(error)
        return 3
    with sock:
        os.set_blocking(1, True)
        _write_all(1, said)
        pump(sock)
    return 0


def refuse(error: AgentError) -> None:
    """Say on standard output, as frames, why there is no agent."""
    _write_all(1, MAGIC + encode({"t": "error", "id": None, **error.to_json()}))


def pump(sock: socket.socket) -> None:
    """Standard input to the daemon, the daemon to standard output, until one of them ends."""
    poller = select.poll()
    poller.register(0, select.POLLIN)
    poller.register(sock.fileno(), select.POLLIN)
    try:
        while True:
            for fd, _ in poller.poll():
                data = os.read(fd, 1 << 16)
                if not data:
                    return
                if fd == 0:
                    try:
                        sock.sendall(data)
                    except OSError:
                        poller.unregister(0)  # the daemon closed; what it said before that is still to be read
                else:
                    _write_all(1, data)
    except OSError:
        return  # the other end is gone: so are we


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
