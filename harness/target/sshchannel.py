# SPDX-License-Identifier: Apache-2.0
"""A command held open over SSH, on a raw paramiko channel."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable
from typing import Protocol

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from ..deadline import Deadline
from ..errors import ConnectionLost
from .tail import Tail

_CHUNK = 64 * 1024
_SENT = 512 * 1024

#: paramiko's sign for "no exit status came".
_NO_STATUS = -1

#: What a goodbye may take: on a frozen connection it would never end.
_GOODBYE_S = 1.0


class Watchdog(Protocol):
    def __call__(self, deadline: Deadline, what: str) -> contextlib.AbstractContextManager[None]: ...


class SshChannel:
    """One session. One thread may read while another writes."""

    def __init__(
        self, session: paramiko.Channel, what: str, watchdog: Watchdog, released: Callable[[SshChannel], None]
    ) -> None:
        self._session = session
        self.what = what
        self._watchdog = watchdog
        self._released = released
        self._tail = Tail()
        self._on_stderr: Callable[[bytes], None] = self._tail.add
        self._fd = session.fileno()  # readable when either output has data or ended
        self._closed = False

    def read(self, n: int, deadline: Deadline) -> bytes:
        while True:
            self._drain_stderr(deadline)
            if self._session.recv_ready():
                return self._take(self._session.recv, n, deadline)
            if self._ended():
                # between the two looks the last bytes may have come
                return self._take(self._session.recv, n, deadline) if self._session.recv_ready() else b""
            self._wait(deadline)

    def write(self, data: bytes, deadline: Deadline) -> None:
        # A command that does not read is no reason to cut the connection: it must not come to the watchdog.
        patient = Deadline(deadline.at_s + _GOODBYE_S, deadline.budget_s)
        with self._watchdog(patient, self.what):
            try:
                self._session.settimeout(deadline.remaining())
                view = memoryview(data)
                for at in range(0, len(data), _SENT):  # paramiko copies the rest anew for each packet of 32 KiB
                    self._session.sendall(bytes(view[at : at + _SENT]))
            except TimeoutError:
                raise ConnectionLost(f"{self.what}: not read within {deadline.budget_s:g} s") from None

    def close_stdin(self, deadline: Deadline) -> None:
        with self._watchdog(deadline, self.what):
            self._session.shutdown_write()

    def stderr_tail(self) -> str:
        with contextlib.suppress(ConnectionLost):
            self._drain_stderr(Deadline.after(_GOODBYE_S))
        return self._tail.text()

    def exit_status(self, deadline: Deadline) -> int | None:
        if not self._session.status_event.wait(deadline.remaining()):
            return None
        if self._session.exit_status != _NO_STATUS:
            return self._session.exit_status
        # No status came: killed by a signal, if the far end said its goodbyes; else the connection is gone.
        if self._session.eof_received and self._alive():
            return _NO_STATUS
        raise ConnectionLost(f"{self.what}: the connection was lost before the command ended")

    def close(self) -> None:
        """Ends the command as far as the server lets us: it sees its input end, and is sent SIGKILL (which OpenSSH
        refuses where root logs in)."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ConnectionLost, paramiko.SSHException, EOFError, OSError):
            if self._alive():
                with self._watchdog(Deadline.after(_GOODBYE_S), self.what):
                    if not self._session.exit_status_ready():
                        self._kill()
                    self._session.close()
        self._released(self)

    def read_both(self, stdout: bytearray, stderr: bytearray, deadline: Deadline) -> None:
        """Everything that comes, until both outputs ended."""
        self._on_stderr = stderr.extend
        while data := self.read(_CHUNK, deadline):
            stdout += data
        self._drain_stderr(deadline)

    def _wait(self, deadline: Deadline) -> None:
        deadline.check(self.what)
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.poll(deadline.remaining() * 1000)

    def _take(self, receive: Callable[[int], bytes], n: int, deadline: Deadline) -> bytes:
        # Also taking what lies ready may block or fail: now and then paramiko opens the window from in there.
        with self._watchdog(deadline, self.what):
            return receive(n)

    def _drain_stderr(self, deadline: Deadline) -> None:
        # Both outputs share one window: what nobody takes from here would stop the other.
        while self._session.recv_stderr_ready():
            self._on_stderr(self._take(self._session.recv_stderr, _CHUNK, deadline))

    def _ended(self) -> bool:
        """Whether the command closed its output; ConnectionLost if it is the connection that ended."""
        if self._closed:
            raise ConnectionLost(f"{self.what}: the channel is closed")
        if self._session.eof_received:
            return True
        if self._session.closed or not self._alive():
            if self._session.exit_status != _NO_STATUS:
                return True
            raise ConnectionLost(f"{self.what}: the connection was lost before the command ended")
        return False

    def _alive(self) -> bool:
        transport = self._session.get_transport()
        return bool(transport.is_active())

    def _kill(self) -> None:
        """RFC 4254's "signal", to the command's process group. Paramiko has no call for it; old servers ignore it."""
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self._session.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string("KILL")
        self._session.get_transport()._send_user_message(message)  # type: ignore[attr-defined]


def run_on_channel(channel: SshChannel, stdin: bytes, stdout: bytearray, stderr: bytearray, deadline: Deadline) -> int:
    """Feed ``stdin`` while reading both outputs, so that neither side ever waits for the other; the exit status.

    ``stdout`` and ``stderr`` are filled also when this raises.
    """

    def feed() -> None:
        # A command may end without having read it all; whether that matters, its status says.
        with contextlib.suppress(ConnectionLost):
            if stdin:
                channel.write(stdin, deadline)
            channel.close_stdin(deadline)

    feeder = threading.Thread(target=feed, name="stdin", daemon=True)
    feeder.start()
    channel.read_both(stdout, stderr, deadline)
    status = channel.exit_status(deadline)
    if status is None:
        deadline.check(channel.what)
        raise ConnectionLost(f"{channel.what}: it closed its output and did not end")
    return status
