# SPDX-License-Identifier: Apache-2.0
"""The transport to this machine: child processes in sessions of their own, so that a whole group can be ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Sequence

from ..deadline import Deadline
from ..errors import ConnectionLost
from .tail import Tail
from .transport import Completed

#: How long a killed group may take to vanish before we stop waiting for it (it may belong to sudo's root).
_REAP_S = 2.0
_CHUNK = 64 * 1024


def _spawn(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    home = os.path.expanduser("~")
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home if os.path.isdir(home) else "/",  # where sshd would have put us
        start_new_session=True,
        bufsize=0,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, also when its leader is gone, and reap the leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)


class LocalChannel:
    """A child process over three pipes. For one thread at a time."""

    def __init__(self, process: subprocess.Popen[bytes], what: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._what = what
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._tail = Tail()
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._stderr_open = True
        self._closed = False

    def _wait(self, fd: int, event: int, deadline: Deadline) -> bool:
        """Until ``fd`` is ready or something came on standard error (which is taken); True if ``fd`` is ready."""
        poll = select.poll()
        poll.register(fd, event)
        if self._stderr_open:
            poll.register(self._stderr.fileno(), select.POLLIN)
        deadline.check(self._what)
        ready = {which for which, _ in poll.poll(deadline.remaining() * 1000)}
        if self._stderr_open and self._stderr.fileno() in ready:
            self._drain_stderr()
        return fd in ready

    def _drain_stderr(self) -> None:
        while self._stderr_open:
            try:
                data = os.read(self._stderr.fileno(), _CHUNK)
            except BlockingIOError:
                return
            self._tail.add(data)
            self._stderr_open = bool(data)

    def read(self, n: int, deadline: Deadline) -> bytes:
        self._check_open()
        while True:
            if self._wait(self._stdout.fileno(), select.POLLIN, deadline):
                return os.read(self._stdout.fileno(), n)

    def write(self, data: bytes, deadline: Deadline) -> None:
        self._check_open()
        rest = memoryview(data)
        while rest:
            if not self._wait(self._stdin.fileno(), select.POLLOUT, deadline):
                continue
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ConnectionLost(f"{self._what}: it no longer reads what we send") from None

    def close_stdin(self, deadline: Deadline) -> None:  # noqa: ARG002 - a pipe closes at once, SSH may not
        self._stdin.close()

    def stderr_tail(self) -> str:
        self._drain_stderr()
        return self._tail.text()

    def exit_status(self, deadline: Deadline) -> int | None:
        try:
            return self._process.wait(deadline.remaining())
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        if not self._closed:
            self._drain_stderr()
            self._closed, self._stderr_open = True, False
            _end(self._process)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost(f"{self._what}: the channel is closed")


class LocalTransport:
    """This machine."""

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self._channels: list[LocalChannel] = []

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        deadline.check(argv[0])
        try:
            process = _spawn(argv)
        except OSError as error:  # as a shell would say it: 127 not found, 126 not executable
            status = 127 if isinstance(error, FileNotFoundError) else 126
            return Completed(status, b"", f"{argv[0]}: {error.strerror}\n".encode())
        try:
            stdout, stderr = process.communicate(stdin, deadline.remaining())
            return Completed(process.returncode, stdout, stderr)
        except subprocess.TimeoutExpired:
            raise ConnectionLost(f"{argv[0]}: no end within {deadline.budget_s:g} s") from None
        finally:
            _end(process)

    def open(self, argv: Sequence[str], *, deadline: Deadline) -> LocalChannel:
        deadline.check(argv[0])
        try:
            channel = LocalChannel(_spawn(argv), argv[0])
        except OSError as error:
            raise ConnectionLost(f"{argv[0]}: {error.strerror}") from None
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels.clear()
