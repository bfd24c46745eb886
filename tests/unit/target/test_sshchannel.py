# SPDX-License-Identifier: Apache-2.0
"""Kernels are a hundred MB: paramiko's sendall() copies what is left for each packet, so it is handed pieces."""

from __future__ import annotations

import contextlib
from typing import Any

from harness.deadline import Deadline
from harness.target.sshchannel import _SENT, SshChannel


class Session:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def fileno(self) -> int:
        return 0

    def settimeout(self, _seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


def test_what_is_large_goes_in_pieces_and_arrives_whole() -> None:
    session: Any = Session()
    channel = SshChannel(session, "put", lambda *_: contextlib.nullcontext(), lambda _channel: None)
    data = bytes(range(256)) * 8192 + b"end"
    channel.write(data, Deadline.after(5.0))
    assert b"".join(session.pieces) == data
    assert max(map(len, session.pieces)) <= _SENT < len(data)
