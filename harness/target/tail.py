# SPDX-License-Identifier: Apache-2.0
"""The end of a stream, in bounded memory."""

from __future__ import annotations

from .transport import STDERR_TAIL_BYTES


class Tail:
    """Keeps the last ``limit`` bytes of what is added."""

    def __init__(self, limit: int = STDERR_TAIL_BYTES) -> None:
        self._limit = limit
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        self._bytes += data
        if len(self._bytes) > self._limit:
            del self._bytes[: len(self._bytes) - self._limit]

    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")
