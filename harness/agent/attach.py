# SPDX-License-Identifier: Apache-2.0
"""From a login on the target to its daemon: find it, have it started when there is none, and pump bytes both ways."""

from __future__ import annotations

import os
import select
import socket
import time

from .detach import START_S, start
from .frames import MAGIC, Decoder, FrameError, encode
from .paths import Paths
from .server import dial, held_by, peer_credentials
from .system import AgentError

#: Another user's agent that has nothing to do ends within seconds: so long it is waited for.
FOREIGN_S = 15.0
_FOREIGN_PAUSE_S = 0.25


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
