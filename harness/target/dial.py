# SPDX-License-Identifier: Apache-2.0
"""The byte stream under an SSH connection: a TCP socket that notices a dead peer, or a ProxyCommand."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass

from ..deadline import Deadline
from ..errors import Unreachable

# A dead peer is noticed in half a minute, busy or silent. One of the two alone is not enough: keep-alive does not run
# while data is unacknowledged, and the user timeout does not run while there is none. A probe every 20 s of silence is
# the most that a machine under measurement should hear from us.
_KEEPALIVE_IDLE_S = 20
_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_PROBES = 2
_USER_TIMEOUT_MS = 30_000


#: The remedy where a machine answers, and nobody listens.
CLOSED = "is the machine up, and sshd listening on that port?"


class Refused(Unreachable):
    """A server was there, and said "not now" (it sheds load, or is being restarted): worth another try in a while."""


@dataclass
class Line:
    """A connected socket, and the process behind it if it is a ProxyCommand's."""

    sock: socket.socket
    process: subprocess.Popen[bytes] | None = None

    def first_words(self, deadline: Deadline) -> str:
        """The line that a server says in place of SSH's banner before it hangs up; empty if it is the banner.

        Only looked at, not taken: paramiko reads it again, and forgets it.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if not poll.poll(deadline.remaining() * 1000):
            return ""
        try:
            words = self.sock.recv(256, socket.MSG_PEEK)
        except OSError:
            return ""
        return "" if words.startswith(b"SSH-") else " ".join(words.decode("ascii", "replace").split())

    def abort(self) -> None:
        """Make every read and write on it fail now, in whatever thread. Raises nothing."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.abort()
        self.sock.close()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(1.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def connect_tcp(host: str, port: int, deadline: Deadline) -> Line:
    """Connect to the first address of ``host`` that answers. Raises Unreachable with every reason."""
    where = f"{host}:{port}"
    reasons: list[str] = []
    refused = False
    addresses = _addresses(host, port, deadline)
    for position, (family, address) in enumerate(addresses):
        # an address that swallows everything must leave time for the next one
        share = deadline.remaining() / (len(addresses) - position)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(share, 0.001))
            sock.connect(address)
            _tune(sock)
            return Line(sock)
        except OSError as error:
            sock.close()
            refused = refused or error.errno == errno.ECONNREFUSED
            swallowed = isinstance(error, TimeoutError)
            said = f"no answer within {share:.3g} s" if swallowed else error.strerror or str(error)
            if said not in reasons:
                reasons.append(said)
    message = f"{where}: {'; '.join(reasons)}"
    raise Unreachable(
        message, advice=CLOSED if refused else "is the machine switched on, and is there a route (ping) to it?"
    )


def _addresses(host: str, port: int, deadline: Deadline) -> list[tuple[int, tuple[object, ...]]]:
    """Resolve within the deadline: the C library has none of its own, so it waits in a thread of its own."""
    answer: queue.SimpleQueue[list[tuple[int, tuple[object, ...]]] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put([(int(family), address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as error:
            answer.put(error if isinstance(error, OSError) else OSError(0, str(error)))

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    try:
        found = answer.get(timeout=deadline.remaining())
    except queue.Empty:
        raise Unreachable(f"{host}: its name was not resolved within {deadline.budget_s:g} s") from None
    if isinstance(found, OSError):
        raise Unreachable(
            f"{host}: its name cannot be resolved: {found.strerror}",
            advice="see `address` in the inventory, or HostName in ~/.ssh/config",
        )
    return found


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 49 → 11 ms a command
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS),
    ):
        if hasattr(socket, option):  # a controller may be a Mac
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def start_proxy_command(command: str) -> Line:
    """Run a ProxyCommand with one end of a socket pair as its standard input and output.

    A real socket, unlike paramiko's pipes: it has an end of file and can be shut down from another thread.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise Unreachable(f"ProxyCommand {command!r}: {error.strerror}") from None
    finally:
        theirs.close()
    return Line(ours, process)
