# SPDX-License-Identifier: Apache-2.0
"""The transport over SSH: Fabric's connection with its holes closed.

Fabric on its own accepts any host key, waits for ever on a frozen peer, and tells a lost connection from a failed
command by no more than an exit status of -1. :mod:`harness.target.connect` makes the connection; commands run on raw
channels, each call within its deadline.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import paramiko

from ..deadline import Deadline
from ..errors import ConnectionLost, IsolbenchError, TargetUnfit, Unreachable
from .connect import Link, close_all, connect_all, said, watchdog, ways_to
from .dial import Refused
from .quoting import command_line
from .sshchannel import SshChannel, run_on_channel
from .transport import Completed, Pause, TargetAddress, Waiting

#: One try to connect, all hops and the login, unless inventory or configuration say otherwise.
CONNECT_TIMEOUT_S = 15.0

#: A session that just ended may still be counted over there, for a moment.
_SESSION_PAUSES_S = (0.05, 0.1, 0.2, 0.4)

_KILL_S = 1.0

#: sshd allows 10 (MaxSessions), a careful one fewer, and each is a process on the machine under test.
MOST_SESSIONS = 4


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries while a server sheds load. OpenSSH's penalties last from 1 s to minutes, and knocking on
    them makes them longer: few tries, far apart."""

    first_s: float = 2.0
    most_s: float = 10.0
    tries: int = 6

    def pauses(self) -> Iterator[float]:
        """One pause before each further try, doubled each time, and scattered: lanes must not knock in step."""
        pause = self.first_s
        for _ in range(self.tries - 1):
            yield pause * random.uniform(0.8, 1.2)
            pause = min(2 * pause, self.most_s)


class SshTransport:
    """A connection to one target, through as many jump hosts as it takes. Threads may share it."""

    def __init__(self, name: str, label: str, links: list[Link]) -> None:
        self.name = name
        self._label = label
        self._links = links
        self._sessions = threading.BoundedSemaphore(MOST_SESSIONS)
        self._channels: set[SshChannel] = set()
        self._closed = False

    @classmethod
    def connect(
        cls,
        target: TargetAddress,
        deadline: Deadline | None = None,
        backoff: Backoff | None = None,
        pause: Pause | None = time.sleep,
        waiting: Waiting | None = None,
    ) -> SshTransport:
        """Connect, patiently while the server sheds load, and not at all while its key is in doubt.

        ``pause``, ``waiting``: see :func:`~harness.target.transport.open_transport`.
        """
        backoff = backoff or Backoff()
        ways = ways_to(target)
        last = ways[-1][0]
        each_s = target.connect_timeout or last.connect_timeout_s or CONNECT_TIMEOUT_S
        deadline = deadline or Deadline.after((each_s + backoff.most_s) * backoff.tries)
        pauses = backoff.pauses()
        started = time.monotonic()
        for tried in range(1, backoff.tries + 1):
            try:
                return cls(target.name, last.label, connect_all(ways, deadline.at_most(each_s)))
            except Refused as error:
                pause_s = next(pauses, None)
                if pause is not None and pause_s is not None and pause_s < deadline.remaining():
                    if waiting is not None:
                        waiting(str(error), pause_s)
                    if not pause(pause_s):
                        continue
                tries = f" ({tried} tries in {time.monotonic() - started:.1f} s)" if tried > 1 else ""
                raise Unreachable(f"{error}{tries}", advice=error.advice) from error
        raise AssertionError("a Backoff has at least one try")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        what = argv[0]
        # The shell that we start says where the login shell's own noise (.bashrc, motd) ends, then becomes the command.
        mark = f"isolbench-{random.getrandbits(64):016x}"
        marked = ["/bin/sh", "-c", 'echo "$0 $$"; echo "$0" >&2; exec "$@"', mark, *argv]
        stdout, stderr = bytearray(), bytearray()
        with contextlib.closing(self._open(marked, what, deadline)) as channel:
            try:
                status = run_on_channel(channel, stdin, stdout, stderr, deadline)
            except ConnectionLost:
                self._kill(_after(mark, stdout)[0])
                raise
        pid, out = _after(mark, stdout)
        done = Completed(status, out, _after(mark, stderr)[1])
        if not pid:
            raise TargetUnfit(
                f"the login shell of {self._label} ran no command: {done.last_words()}",
                advice="commands over SSH must work: see the account's shell, .bashrc, and ForceCommand in sshd_config",
            )
        return done

    def _kill(self, pid: bytes) -> None:
        """Nothing that outlasted its deadline stays behind, if the connection still carries that wish.

        SSH has a "signal" request, but OpenSSH refuses it where root logs in.
        """
        if pid.isdigit() and self._links[-1].connection.is_connected:
            with contextlib.suppress(IsolbenchError):
                deadline = Deadline.after(_KILL_S)
                kill = ["/bin/sh", "-c", 'kill -9 "-$0" "$0"', pid.decode()]  # it leads its group, or it does not
                with contextlib.closing(self._open(kill, self.name, deadline)) as channel:
                    channel.exit_status(deadline)

    def open(self, argv: Sequence[str], *, deadline: Deadline) -> SshChannel:
        return self._open(argv, argv[0], deadline)

    def _open(self, argv: Sequence[str], what: str, deadline: Deadline) -> SshChannel:
        line = command_line(argv)
        if not self._sessions.acquire(timeout=deadline.remaining()):
            raise ConnectionLost(f"{what}: all {MOST_SESSIONS} sessions stayed in use for {deadline.budget_s:g} s")
        try:
            session = self._session(what, deadline)
            with self.watchdog(deadline, what):
                session.exec_command(line)
        except BaseException:
            self._sessions.release()
            raise
        channel = SshChannel(session, what, self.watchdog, self._release)
        self._channels.add(channel)
        return channel

    def _session(self, what: str, deadline: Deadline) -> paramiko.Channel:
        pauses = iter(_SESSION_PAUSES_S)
        while True:
            try:
                with self.watchdog(deadline, what):
                    return self._transport(what).open_session(timeout=deadline.remaining() + 1)
            except paramiko.ChannelException as error:
                pause = next(pauses, None)
                if pause is None or pause > deadline.remaining():
                    raise TargetUnfit(
                        f"{what}: {self._label} refuses another session: {error.text}",
                        advice="MaxSessions in the target's sshd_config must be 2 or more (10 is its default)",
                    ) from None
                time.sleep(pause)

    def _release(self, channel: SshChannel) -> None:
        if channel in self._channels:
            self._channels.discard(channel)
            self._sessions.release()

    def _transport(self, what: str) -> paramiko.Transport:
        transport = self._links[-1].connection.transport
        if self._closed or transport is None or not transport.is_active():
            raise ConnectionLost(f"{what}: the connection to {self._label} is gone")
        assert isinstance(transport, paramiko.Transport)
        return transport

    @contextlib.contextmanager
    def watchdog(self, deadline: Deadline, what: str) -> Iterator[None]:
        """Within: whatever paramiko does ends by the deadline, and what breaks is a ConnectionLost that says why."""
        deadline.check(what)
        with watchdog(deadline, self._links[0].line):
            try:
                yield
            except (paramiko.ChannelException, IsolbenchError):
                raise
            except (paramiko.SSHException, EOFError, OSError) as error:
                deadline.check(what)
                raise ConnectionLost(f"{what}: the connection to {self._label} broke{said(error)}") from error

    def close(self) -> None:
        if self._closed:
            return
        for channel in list(self._channels):
            channel.close()
        self._closed = True
        close_all(self._links)


def _after(mark: str, data: bytearray) -> tuple[bytes, bytes]:
    """What stands on the line of ``mark`` and what follows that line; nothing, and all of it, where there is none."""
    _, found, rest = bytes(data).partition(mark.encode())
    line, _, after = rest.partition(b"\n")
    return (line.strip(), after) if found else (b"", bytes(data))
