# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that misbehaves on request: freezes, cuts, delays and throttles, at a given byte or at a given moment.

``up`` is from the client to the server, ``down`` the other way. Bytes are counted for each connection apart.

    proxy.freeze()                            from now on nothing passes, and nobody is told
    proxy.cut(reset=True)                     every connection dies now, by RST; else by FIN
    proxy.at("up", 4096, "freeze")            as soon as byte 4096 of a connection went up
    proxy.at("down", 0, "reset", times=1)     the first connection only, before the first byte came down
    proxy.delay_s = 0.05                      each piece waits before it goes on
    proxy.bytes_per_s = 10_000                throttled, each direction of each connection
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

ACTIONS = ("freeze", "cut", "reset")
_TICK_S = 0.02
_CHUNK = 32 * 1024


@dataclass
class _Rule:
    way: str
    byte: int
    action: str
    times: float


@dataclass
class _Pair:
    number: int
    client: socket.socket
    server: socket.socket
    counted: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    frozen: bool = False
    over: bool = False

    def end(self, *, reset: bool) -> None:
        self.over = True
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens on ``address`` and passes everything on to ``server_port`` of 127.0.0.1, until told otherwise."""

    def __init__(self, server_port: int, port: int = 0, address: str = "127.0.0.1") -> None:
        self.server_port = server_port
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self._frozen = False
        self._rules: list[_Rule] = []
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._over = False
        self._numbers = itertools.count(1)
        self._listener = socket.create_server((address, port))
        self._listener.settimeout(_TICK_S)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    # What tests call

    @property
    def connections(self) -> int:
        """How many there were so far, dead ones included."""
        return len(self._pairs)

    def passed(self, way: str) -> int:
        """Bytes that went this way, over all connections."""
        return sum(pair.counted[way] for pair in self._pairs)

    def at(self, way: str, byte: int, action: str, *, times: float = float("inf")) -> None:
        """Do ``action`` to each connection on which ``byte`` bytes went ``way``; to the next ``times`` alone."""
        assert way in ("up", "down")
        assert action in ACTIONS
        with self._lock:
            self._rules.append(_Rule(way, byte, action, times))

    def freeze(self) -> None:
        self._frozen = True

    def thaw(self) -> None:
        """Everything that was held back goes on; also ends what :meth:`at` froze."""
        with self._lock:
            self._frozen = False
            self._rules.clear()
            for pair in self._pairs:
                pair.frozen = False

    def cut(self, *, reset: bool = False) -> None:
        """End every connection that there is. New ones are welcome."""
        for pair in list(self._pairs):
            pair.end(reset=reset)

    def refuse(self) -> None:
        """Close the door: new connections are refused from now on."""
        self._listener.close()

    def wait_passed(self, way: str, byte: int, timeout_s: float = 10.0) -> None:
        """Until ``byte`` bytes went ``way`` in all: the moment to break something."""
        with self._progress:
            assert self._progress.wait_for(lambda: self.passed(way) >= byte, timeout_s), f"{way}: {self.passed(way)}"

    def close(self) -> None:
        self._over = True
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5.0)

    # The works

    def _listen(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port), 5.0)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.settimeout(_TICK_S)
            pair = _Pair(next(self._numbers), client, server)
            self._pairs.append(pair)
            for way, source, sink in (("up", client, server), ("down", server, client)):
                thread = threading.Thread(target=self._pump, args=(pair, way, source, sink), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, pair: _Pair, way: str, source: socket.socket, sink: socket.socket) -> None:
        while not (self._over or pair.over):
            room = self._room(pair, way)
            if room == 0:
                time.sleep(_TICK_S)
                continue
            try:
                data = source.recv(room)
            except TimeoutError:
                continue
            except OSError:
                break
            if self.delay_s:
                time.sleep(self.delay_s)
            if self.bytes_per_s:
                time.sleep(len(data) / self.bytes_per_s)
            while (self._frozen or pair.frozen) and not (self._over or pair.over):
                time.sleep(_TICK_S)
            if not self._send(pair, sink, data):
                break
            with self._progress:
                pair.counted[way] += len(data)
                self._progress.notify_all()
            if not data:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
        pair.end(reset=False)

    def _send(self, pair: _Pair, sink: socket.socket, data: bytes) -> bool:
        rest = memoryview(data)
        while rest:
            if self._over or pair.over:
                return False
            try:
                rest = rest[sink.send(rest) :]
            except TimeoutError:
                continue
            except OSError:
                return False
        return True

    def _room(self, pair: _Pair, way: str) -> int:
        """How much may be taken before the next rule strikes; strikes it when it is due. 0: nothing now."""
        if self._frozen or pair.frozen:
            return 0
        room = _CHUNK
        with self._lock:
            for rule in self._rules:
                if rule.way != way or rule.times <= 0:
                    continue
                left = rule.byte - pair.counted[way]
                if left > 0:
                    room = min(room, left)
                    continue
                rule.times -= 1
                if rule.action == "freeze":
                    pair.frozen = True
                else:
                    pair.end(reset=rule.action == "reset")
                return 0
        return room
