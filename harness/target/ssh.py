# SPDX-License-Identifier: Apache-2.0
"""The transport over SSH: Fabric's connection with its holes closed.

Fabric accepts any host key, waits for ever on a frozen peer and tells a lost connection from a failed command by no
more than an exit status of -1. Here every hop's key is verified before anything is said to it, the socket is ours, and
a watchdog ends whatever call outlasts its deadline by shutting that socket: paramiko then fails at once, everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from ..deadline import Deadline
from ..errors import ConnectionLost, HostKeyError, IsolbenchError, TargetUnfit, Unreachable
from .auth import KeyAuth
from .dial import Line, Refused, connect_tcp, start_proxy_command
from .keys import HostKey, KnownHosts
from .quoting import command_line
from .route import Hop, route
from .sshchannel import SshChannel, run_on_channel
from .transport import AuthenticationFailed, Completed, TargetAddress

# Without a handler, logging prints paramiko's tracebacks to our standard error; the exceptions say all of it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: One try to connect, all hops and the login, unless inventory or configuration say otherwise.
CONNECT_TIMEOUT_S = 15.0

_HANG_UP_S = 2.0

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

    def __init__(self, name: str, label: str, links: list[_Link]) -> None:
        self.name = name
        self._label = label
        self._links = links
        self._sessions = threading.BoundedSemaphore(MOST_SESSIONS)
        self._channels: set[SshChannel] = set()
        self._closed = False

    @classmethod
    def connect(
        cls, target: TargetAddress, deadline: Deadline | None = None, backoff: Backoff | None = None
    ) -> SshTransport:
        """Connect, patiently while the server sheds load, and not at all while its key is in doubt."""
        backoff = backoff or Backoff()
        hops = route(target)
        known = [_known_hosts(target, hop, last=hop is hops[-1]) for hop in hops]
        each_s = target.connect_timeout or hops[-1].connect_timeout_s or CONNECT_TIMEOUT_S
        deadline = deadline or Deadline.after((each_s + backoff.most_s) * backoff.tries)
        pauses = backoff.pauses()
        started = time.monotonic()
        for tried in range(1, backoff.tries + 1):
            try:
                links = _connect_all(hops, known, deadline.at_most(each_s))
                return cls(target.name, hops[-1].label, links)
            except Refused as error:
                pause = next(pauses, None)
                if pause is None or pause >= deadline.remaining():
                    spent = time.monotonic() - started
                    raise Unreachable(
                        f"{target.name}: {error} ({tried} tries in {spent:.1f} s)", advice=error.advice
                    ) from error
                time.sleep(pause)
            except (AuthenticationFailed, HostKeyError):
                raise
            except Unreachable as error:
                raise Unreachable(f"{target.name}: {error}", advice=error.advice) from error
        raise AssertionError("a Backoff has at least one try")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        what = f"{self.name}: {argv[0]}"
        # The shell that we start says where the login shell's own noise (.bashrc, motd) ends, then becomes the command.
        marked = ["/bin/sh", "-c", 'echo "$0"; echo "$0" >&2; exec "$@"', (mark := _mark()), *argv]
        with contextlib.closing(self._open(marked, what, deadline)) as channel:
            done = run_on_channel(channel, stdin, deadline)
        out, seen = _after(mark, done.stdout)
        err, _ = _after(mark, done.stderr)
        if not seen:
            raise TargetUnfit(
                f"{self.name}: the login shell of {self._label} ran no command: {done.last_words()}",
                advice="commands over SSH must work: see the account's shell, .bashrc, and ForceCommand in sshd_config",
            )
        return Completed(done.status, out, err)

    def open(self, argv: Sequence[str], *, deadline: Deadline) -> SshChannel:
        return self._open(argv, f"{self.name}: {argv[0]}", deadline)

    def _open(self, argv: Sequence[str], what: str, deadline: Deadline) -> SshChannel:
        line = command_line(argv)
        if not self._sessions.acquire(timeout=deadline.remaining()):
            raise ConnectionLost(f"{what}: all {MOST_SESSIONS} sessions stayed in use for {deadline.budget_s:g} s")
        try:
            with self.watchdog(deadline, what):
                session = self._transport(what).open_session(timeout=deadline.remaining() + 1)
                session.exec_command(line)
        except paramiko.ChannelException as error:
            self._sessions.release()
            raise TargetUnfit(
                f"{what}: {self._label} refuses another session: {error.text}",
                advice="MaxSessions in the target's sshd_config must be 2 or more (10 is its default)",
            ) from None
        except BaseException:
            self._sessions.release()
            raise
        channel = SshChannel(session, what, self.watchdog, self._release)
        self._channels.add(channel)
        return channel

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
        with _watchdog(deadline, self._links[0].line):
            try:
                yield
            except (paramiko.ChannelException, IsolbenchError):
                raise
            except (paramiko.SSHException, EOFError, OSError) as error:
                deadline.check(what)
                raise ConnectionLost(f"{what}: the connection to {self._label} broke{_said(error)}") from error

    def close(self) -> None:
        if self._closed:
            return
        for channel in list(self._channels):
            channel.close()
        self._closed = True
        _close_all(self._links)


@dataclass
class _Link:
    """One hop's connection and what it runs over; the first link's line is the socket under all of them."""

    connection: fabric.Connection
    line: Line | None


@contextlib.contextmanager
def _watchdog(deadline: Deadline, line: Line | None) -> Iterator[None]:
    assert line is not None
    timer = threading.Timer(deadline.remaining(), line.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _connect_all(hops: list[Hop], known: list[KnownHosts], deadline: Deadline) -> list[_Link]:
    """Hop by hop, each through the one before it; all or none."""
    links: list[_Link] = []
    try:
        for hop, trusted in zip(hops, known, strict=True):
            if not links:
                line = start_proxy_command(hop.proxy_command) if hop.proxy_command else None
                line = line or connect_tcp(hop.host, hop.port, deadline)
                connection = _fabric(hop, trusted, line.sock, _pin_command(hop, last=hop is hops[-1]), deadline)
                links.append(_Link(connection, line))
            else:
                channel = _tunnel(links, hops[len(links) - 1], hop, deadline)
                connection = _fabric(hop, trusted, channel, _pin_command(hop, last=hop is hops[-1]), deadline)
                links.append(_Link(connection, None))
            with _watchdog(deadline, links[0].line):
                _login(connection, hop, deadline)
    except BaseException:
        _close_all(links)
        raise
    return links


def _tunnel(links: list[_Link], through: Hop, to: Hop, deadline: Deadline) -> paramiko.Channel:
    try:
        with _watchdog(deadline, links[0].line):
            transport: paramiko.Transport = links[-1].connection.transport
            return transport.open_channel("direct-tcpip", (to.host, to.port), ("", 0), timeout=deadline.remaining() + 1)
    except paramiko.ChannelException as error:
        message = f"{to.label}: {through.label} cannot reach it: {error.text}"
        if error.code == 2:  # SSH_OPEN_CONNECT_FAILED: refused there, as it might be to us
            raise Refused(message) from None
        raise Unreachable(message, advice=f"AllowTcpForwarding in sshd_config of {through.host}") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(f"{to.label}: the connection to {through.label} broke{_said(error)}") from error


def _fabric(
    hop: Hop, known: KnownHosts, sock: socket.socket | paramiko.Channel, pin: str, deadline: Deadline
) -> fabric.Connection:
    """Fabric's connection with our socket, our keys and our word on the host's key; its own files are not read."""
    connection = fabric.Connection(
        host=hop.host,
        user=hop.user,
        port=hop.port,
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_kwargs={
            "sock": sock,
            "auth_strategy": KeyAuth(hop),
            "transport_factory": functools.partial(_paramiko_transport, hop=hop, known=known),
            "banner_timeout": deadline.remaining() + 1,  # the watchdog comes first
            "auth_timeout": deadline.remaining() + 1,
        },
    )
    connection.client.set_missing_host_key_policy(_Verify(hop, known, pin))
    return connection


def _paramiko_transport(
    sock: socket.socket, *, hop: Hop, known: KnownHosts, disabled_algorithms: dict[str, list[str]] | None = None
) -> paramiko.Transport:
    transport = paramiko.Transport(sock, disabled_algorithms=disabled_algorithms)
    options = transport.get_security_options()
    options.key_types = known.algorithms(hop.key_host, hop.port, options.key_types)
    return transport


class _Verify(paramiko.MissingHostKeyPolicy):
    """Asked about every key, since the client itself is given none: accepts what is known, rejects all else."""

    def __init__(self, hop: Hop, known: KnownHosts, pin_command: str) -> None:
        self._hop = hop
        self._known = known
        self._pin_command = pin_command

    def missing_host_key(self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey) -> None:
        shown = HostKey.of(key)
        self._known.verify(self._hop.key_host, self._hop.port, shown, pin_command=self._pin_command)


def _login(connection: fabric.Connection, hop: Hop, deadline: Deadline) -> None:
    """Banner, key exchange, the host's key, ours. Raises Refused where a later try may do better."""
    try:
        connection.open()
    except IsolbenchError:
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        if deadline.expired:
            raise Unreachable(
                f"{hop.label}: no SSH login within {deadline.budget_s:g} s",
                advice="the machine accepts connections but does not answer: is it frozen, or starved?",
            ) from error
        if isinstance(error, paramiko.AuthenticationException):
            raise AuthenticationFailed(f"{hop.label}: login failed{_said(error)}") from error
        if isinstance(error, IncompatiblePeer):
            raise Unreachable(f"{hop.label}: no common algorithm{_said(error)}") from error
        text = _text(error)
        if isinstance(error, EOFError) or "banner" in text or "protocol version" in text or "Negotiation" in text:
            # MaxStartups and PerSourcePenalties hang up before the banner, newer ones with a line of text.
            raise Refused(
                f"{hop.label}: hung up before the login{_said(error)}",
                advice="sshd sheds load: see MaxStartups and PerSourcePenalties in its sshd_config",
            ) from error
        raise Refused(f"{hop.label}: the connection broke during the login{_said(error)}") from error


def _close_all(links: list[_Link]) -> None:
    for link in reversed(links):
        # what breaks while hanging up is of no use to anybody
        with contextlib.suppress(Exception), _watchdog(Deadline.after(_HANG_UP_S), links[0].line):
            link.connection.client.close()
        if link.line is not None:
            link.line.close()


def _known_hosts(target: TargetAddress, hop: Hop, *, last: bool) -> KnownHosts:
    ours = [Path(target.known_hosts).expanduser()] if target.known_hosts else []
    pinned = target.host_key if last else None
    return KnownHosts.load(pinned, f"host_key of {target.name} in the inventory", [ours, hop.known_hosts])


def _pin_command(hop: Hop, *, last: bool) -> str:
    if not last:  # a jump host is no target: it belongs into the user's own file
        return f"ssh {'' if hop.port == 22 else f'-p {hop.port} '}{hop.user}@{hop.host} true"
    return f"isolbench init {hop.label}"


def _mark() -> str:
    return f"isolbench-{random.getrandbits(64):016x}"


def _after(mark: str, data: bytes) -> tuple[bytes, bool]:
    """What follows the line ``mark``; all of it, and False, where there is none."""
    before, found, after = data.partition(mark.encode() + b"\n")
    return (after, True) if found else (before, False)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())


def _said(error: BaseException) -> str:
    return f": {text}" if (text := _text(error)) else ""
