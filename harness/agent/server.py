# SPDX-License-Identifier: Apache-2.0
"""The daemon's socket: an abstract name, one a machine; peers by uid; frames in and out; one poll() for everything."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from typing import Any, Callable, Mapping

from .frames import MAGIC, Decoder, Frame, FrameError, encode
from .system import AgentError

_UCRED = 12  # bytes: pid, uid, gid


class NameTaken(Exception):
    """Another daemon of this machine holds the name."""


def listen(name: str) -> socket.socket:
    """Bind the abstract name, which nobody else has then. :class:`NameTaken` otherwise."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind("\0" + name)
    except OSError:
        sock.close()
        raise NameTaken(name) from None
    sock.listen(16)
    sock.setblocking(False)
    return sock


def dial(name: str) -> socket.socket | None:
    """A connection to the daemon, or None when there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect("\0" + name)
    except OSError:
        sock.close()
        return None
    return sock


def peer_credentials(sock: socket.socket) -> tuple[int, int]:
    """``(pid, uid)`` of the other end, from the kernel."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED)
    pid, uid = (int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4))
    return pid, uid


def held_by(uid: int, *, in_use: bool | None) -> AgentError:
    """Why a user cannot have this machine: ``uid`` has an agent here. ``in_use``: it is at work, as far as is known."""
    return AgentError(
        "infrastructure",
        "busy",
        f"an agent of uid {uid} is at work on this machine" if in_use else f"an agent of uid {uid} holds this machine",
        "wait until it ends, which it does by itself after its work, or log in as that user",
    )


class Peer:
    """One connection. What is sent waits in ``backlog`` until the other end takes it; nothing ever blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.decoder = Decoder()
        self.backlog = bytearray(MAGIC)
        self.urgent = True  # answers are sent also while we are silent; what is pushed is not
        self.owner: dict[str, str] | None = None
        self.open = True
        self.laggard = False  # a push was not acknowledged in time: do not wait for it again
        self.closing = False

    def send(self, head: Mapping[str, Any], body: bytes = b"", *, urgent: bool = False) -> None:
        if not self.open:
            return
        self.backlog += encode(head, body)
        self.urgent = self.urgent or urgent
        self.flush()

    def flush(self) -> None:
        try:
            while self.backlog:
                del self.backlog[: self.sock.send(self.backlog)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.urgent = False
        if self.closing:
            self.close()

    def receive(self) -> list[Frame]:
        """The frames that came; closes itself at the end of the stream. Raises :class:`FrameError`."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()
            return []
        return self.decoder.feed(data)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.backlog.clear()
            self.sock.close()


class Stopped(Exception):
    """The supervisor is gone, or asked us to end: put everything back and go."""


class Hub:
    """All descriptors of the worker in one poll(): listener, peers, signals, the supervisor's pipe, and a probe's."""

    def __init__(
        self,
        listener: socket.socket,
        supervisor_fd: int,
        on_frame: Callable[[Peer, Frame], None],
        uid: int,
        in_use: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._supervisor_fd = supervisor_fd
        self._on_frame = on_frame
        self._uid = uid
        self._in_use = in_use
        self.peers: list[Peer] = []
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        self._stopped = False
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_term(self, *_: object) -> None:
        self._stopped = True

    def wait(self, until_s: float | None, extra: tuple[int, ...] = (), *, silent: bool = False) -> set[int]:
        """One poll(), until ``until_s`` on the monotonic clock; handles peers; returns the ready ones of ``extra``.

        A child's death ends the wait too. ``silent``: only urgent answers are sent. Raises :class:`Stopped`.
        """
        poller = select.poll()
        for fd in (self._listener.fileno(), self._wake, self._supervisor_fd, *extra):
            poller.register(fd, select.POLLIN)
        by_fd = {}
        self.peers = [peer for peer in self.peers if peer.open]  # some close while being answered or pushed to
        for peer in self.peers:
            by_fd[peer.sock.fileno()] = peer
            wants_out = bool(peer.backlog) and (peer.urgent or not silent)
            poller.register(peer.sock.fileno(), select.POLLIN | (select.POLLOUT if wants_out else 0))
        # poll() takes whole milliseconds: round up, or the last one is spent spinning.
        timeout = None if until_s is None else max(0, int((until_s - time.monotonic()) * 1000 + 0.999))
        ready = dict(poller.poll(timeout))
        if self._wake in ready:
            self._drain_wakeups()
        if self._stopped or self._supervisor_fd in ready:
            raise Stopped
        if self._listener.fileno() in ready:
            self._accept()
        for fd, peer in by_fd.items():
            events = ready.get(fd, 0)
            if events & select.POLLOUT and peer.open:
                peer.flush()
            if events & ~select.POLLOUT and peer.open:
                self._receive(peer)
        return {fd for fd in extra if fd in ready}

    def _drain_wakeups(self) -> None:
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            return

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        peer = Peer(sock)
        _, uid = peer_credentials(sock)
        if uid != self._uid:  # not root either: it does not trust what another user started, and has its own
            in_use = self._in_use()
            peer.closing = True
            peer.send({"t": "error", "id": None, "in_use": in_use, **held_by(self._uid, in_use=in_use).to_json()})
            return
        peer.flush()
        self.peers.append(peer)

    def _receive(self, peer: Peer) -> None:
        try:
            frames = peer.receive()
        except FrameError as error:
            peer.closing = True
            head = {"t": "error", "id": None, "fault": "infrastructure", "kind": "garbage", "message": str(error)}
            peer.send({**head, "advice": None})
            return
        for frame in frames:
            self._on_frame(peer, frame)

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self._listener.close()
