# SPDX-License-Identifier: Apache-2.0
"""Making an SSH connection: hop by hop, each hop's key verified before anything is said to it.

The socket is ours, and a watchdog shuts it when a deadline passes: paramiko then fails at once, in every thread, where
on its own it would wait for a frozen peer for ever.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from ..deadline import Deadline
from ..errors import HostKeyError, IsolbenchError, Unreachable
from .auth import KeyAuth
from .dial import CLOSED, Line, Refused, connect_tcp, start_proxy_command
from .keys import HostKey, KnownHosts
from .route import Hop, route
from .transport import AuthenticationFailed, TargetAddress

# Without a handler, logging prints paramiko's tracebacks to our standard error; the exceptions say all of it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_HANG_UP_S = 2.0


@dataclass
class Link:
    """One hop's connection and what it runs over; the first link's line is the socket under all of them."""

    connection: fabric.Connection
    line: Line | None


@contextlib.contextmanager
def watchdog(deadline: Deadline, line: Line | None) -> Iterator[None]:
    assert line is not None
    timer = threading.Timer(deadline.remaining(), line.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Policy(paramiko.MissingHostKeyPolicy):
    """Asked about every host key, since paramiko's client itself is given none. Raises on what it does not accept."""

    def algorithms(self, offered: Sequence[str]) -> Sequence[str]:
        """The order in which to offer signature algorithms, which decides the key that a server shows."""
        return offered


class Trusted(Policy):
    """Accepts the key that is known for this hop, and no other."""

    def __init__(self, target: TargetAddress, hop: Hop, *, last: bool) -> None:
        ours = [Path(target.known_hosts).expanduser()] if target.known_hosts else []
        pinned = target.host_key if last else None  # it is the target's, not a jump host's
        where = f"host_key of {target.name} in the inventory"
        self._known = KnownHosts.load(pinned, where, [ours, hop.known_hosts])
        self._hop = hop
        # A jump host is no target: its key belongs into the user's own file.
        self._pin = f"isolbench init --repin {target.name}" if last else f"ssh {hop.ssh_words} true"
        self._replaced = last  # the inventory's word comes before any file with the old key

    def algorithms(self, offered: Sequence[str]) -> Sequence[str]:
        return self._known.algorithms(self._hop.key_host, self._hop.port, offered)

    def missing_host_key(self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey) -> None:
        self._known.verify(
            self._hop.key_host, self._hop.port, HostKey.of(key), pin_command=self._pin, replaced=self._replaced
        )


class _Shown(HostKeyError):
    def __init__(self, key: HostKey) -> None:
        super().__init__(f"shown: {key.fingerprint}")
        self.key = key


class _Scan(Policy):
    """Accepts nothing: the key is all that was wanted."""

    def missing_host_key(self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey) -> None:
        raise _Shown(HostKey.of(key))


def ways_to(target: TargetAddress) -> list[tuple[Hop, Policy]]:
    """The hops to a target, each with whom to trust there."""
    hops = route(target)
    return [(hop, Trusted(target, hop, last=hop is hops[-1])) for hop in hops]


def scan_host_key(target: TargetAddress, deadline: Deadline) -> HostKey:
    """The key that ``target`` shows now, unverified and without logging in, for a person to compare and pin.

    Jump hosts on the way are verified as ever. Raises Unreachable; HostKeyError and AuthenticationFailed of jump hosts.
    """
    *before, (hop, _) = ways_to(target)
    try:
        close_all(connect_all([*before, (hop, _Scan())], deadline))
    except _Shown as shown:
        return shown.key
    raise AssertionError(f"{hop.label}: logged in without a host key")


def connect_all(ways: Sequence[tuple[Hop, Policy]], deadline: Deadline) -> list[Link]:
    """Hop by hop, each through the one before it; all or none."""
    links: list[Link] = []
    heard = ""
    try:
        for position, (hop, policy) in enumerate(ways):
            if not links:
                line = start_proxy_command(hop.proxy_command) if hop.proxy_command else None
                line = line or connect_tcp(hop.host, hop.port, deadline)
                links.append(Link(_fabric(hop, policy, line.sock, deadline), line))
                heard = line.first_words(deadline)
            else:
                channel = _tunnel(links, ways[position - 1][0], hop, deadline)
                links.append(Link(_fabric(hop, policy, channel, deadline), None))
            with watchdog(deadline, links[0].line):
                _login(links[-1].connection, hop, heard, deadline)
    except BaseException:
        close_all(links)
        raise
    return links


def _tunnel(links: list[Link], through: Hop, to: Hop, deadline: Deadline) -> paramiko.Channel:
    try:
        with watchdog(deadline, links[0].line):
            transport: paramiko.Transport = links[-1].connection.transport
            return transport.open_channel("direct-tcpip", (to.host, to.port), ("", 0), timeout=deadline.remaining() + 1)
    except paramiko.ChannelException as error:
        failed = error.code == 2  # SSH_OPEN_CONNECT_FAILED: refused there, as it might be to us
        raise Unreachable(
            f"{to.label}: {through.label} cannot reach it: {error.text}",
            advice=CLOSED if failed else f"AllowTcpForwarding in sshd_config of {through.host}",
        ) from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(f"{to.label}: the connection to {through.label} broke{said(error)}") from error


def _fabric(hop: Hop, policy: Policy, sock: socket.socket | paramiko.Channel, deadline: Deadline) -> fabric.Connection:
    """Fabric's connection with our socket, our keys and our word on the host's key; its own files are not read."""
    connection = fabric.Connection(
        host=hop.host,
        user=hop.user,
        port=hop.port,
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_kwargs={
            "sock": sock,
            "auth_strategy": KeyAuth(hop),
            "transport_factory": functools.partial(_paramiko_transport, policy=policy),
            "banner_timeout": deadline.remaining() + 1,  # the watchdog comes first
            "auth_timeout": deadline.remaining() + 1,
        },
    )
    connection.client.set_missing_host_key_policy(policy)
    return connection


def _paramiko_transport(
    sock: socket.socket, *, policy: Policy, disabled_algorithms: dict[str, list[str]] | None = None
) -> paramiko.Transport:
    transport = paramiko.Transport(sock, disabled_algorithms=disabled_algorithms)
    options = transport.get_security_options()
    options.key_types = policy.algorithms(options.key_types)
    return transport


def _login(connection: fabric.Connection, hop: Hop, heard: str, deadline: Deadline) -> None:
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
            raise AuthenticationFailed(f"{hop.label}: login failed{said(error)}") from error
        if isinstance(error, IncompatiblePeer):
            raise Unreachable(f"{hop.label}: no common algorithm{said(error)}") from error
        text = _text(error)
        if isinstance(error, EOFError) or "banner" in text or "protocol version" in text or "Negotiation" in text:
            # MaxStartups and PerSourcePenalties hang up before the banner, newer ones with a line of text.
            raise Refused(
                f"{hop.label}: hung up before the login" + (f": {heard}" if heard else said(error)),
                advice="sshd sheds load: see MaxStartups and PerSourcePenalties in its sshd_config",
            ) from error
        raise Refused(f"{hop.label}: the connection broke during the login{said(error)}") from error


def close_all(links: list[Link]) -> None:
    for link in reversed(links):
        # what breaks while hanging up is of no use to anybody
        with contextlib.suppress(Exception), watchdog(Deadline.after(_HANG_UP_S), links[0].line):
            link.connection.client.close()
        if link.line is not None:
            link.line.close()


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())


def said(error: BaseException) -> str:
    return f": {text}" if (text := _text(error)) else ""
