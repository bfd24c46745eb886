# SPDX-License-Identifier: Apache-2.0
"""The codec of the wire: one JSON line, then exactly ``size`` raw bytes. Pure; both ends use it.

The agent's first output is :data:`MAGIC`; whatever a login shell printed before it is thrown away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping, NoReturn

MAGIC = b"ISOLBENCH/1\n"
MAX_LINE = 4 << 20
MAX_BODY = 64 << 20
MAX_JUNK = 1 << 20


class FrameError(ValueError):
    """What arrived is not the wire's language. The stream cannot be used any further."""


@dataclass(frozen=True)
class Frame:
    """``head`` is the JSON object with at least ``t``, the type; ``body`` the raw bytes after it."""

    head: dict[str, Any]
    body: bytes = b""

    @property
    def type(self) -> str:
        return str(self.head["t"])


def encode(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """The bytes of one frame; :class:`FrameError` if it is over a limit or no JSON."""
    if not isinstance(head.get("t"), str):
        raise FrameError("a frame needs a type")
    whole = dict(head)
    whole.pop("size", None)
    if body:
        whole["size"] = len(body)
    try:
        line = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None
    if len(line) > MAX_LINE:
        raise FrameError(f"line of {len(line)} bytes, over {MAX_LINE}")
    if len(body) > MAX_BODY:
        raise FrameError(f"body of {len(body)} bytes, over {MAX_BODY}")
    return line + body


def loads_strictly(text: bytes | str) -> Any:
    """JSON without NaN and Infinity; ValueError for whatever is wrong, depth and encoding included."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Decoder:
    """Bytes in, in pieces of any size; frames out. ``seek_magic`` throws away what precedes the magic line."""

    def __init__(self, *, seek_magic: bool = False) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._head: dict[str, Any] | None = None
        self._size = 0
        self._failed: FrameError | None = None
        self._seeking = seek_magic
        self._junk = b""

    @property
    def seeking(self) -> bool:
        """True until the magic line was seen."""
        return self._seeking

    @property
    def junk(self) -> bytes:
        """The last 4 KiB before the magic: where there is none, it often says why."""
        return (self._junk + bytes(self._buffer))[-4096:] if self._seeking else self._junk

    @property
    def pending(self) -> bool:
        """True in the middle of a frame: an end of the stream here is a broken one."""
        return self._head is not None or bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``. Raises :class:`FrameError`, then and ever after, once one is malformed."""
        if self._failed is not None:
            raise self._failed
        self._buffer += data
        try:
            if self._seeking and not self._find_magic():
                return []
            frames: list[Frame] = []
            while True:
                frame = self._next()
                if frame is None:
                    return frames
                frames.append(frame)
        except FrameError as error:
            self._failed = error
            raise

    def _find_magic(self) -> bool:
        at = self._buffer.find(MAGIC)
        if at < 0:
            keep = len(MAGIC) - 1
            self._scanned += max(0, len(self._buffer) - keep)
            self._junk = (self._junk + bytes(self._buffer[:-keep]))[-4096:]
            del self._buffer[:-keep]
            if self._scanned > MAX_JUNK:
                raise FrameError(f"no agent within the first {MAX_JUNK} bytes")
            return False
        self._junk = (self._junk + bytes(self._buffer[:at]))[-4096:]
        del self._buffer[: at + len(MAGIC)]
        self._seeking = False
        self._scanned = 0
        return True

    def _next(self) -> Frame | None:
        if self._head is None:
            end = self._buffer.find(b"\n", self._scanned)
            if (len(self._buffer) if end < 0 else end) >= MAX_LINE:
                raise FrameError(f"line over {MAX_LINE} bytes")
            if end < 0:
                self._scanned = len(self._buffer)
                return None
            self._head = _parse_head(bytes(self._buffer[:end]))
            self._size = self._head.pop("size", 0)
            del self._buffer[: end + 1]
            self._scanned = 0
        if len(self._buffer) < self._size:
            return None
        frame = Frame(self._head, bytes(self._buffer[: self._size]))
        del self._buffer[: self._size]
        self._head = None
        return frame


def _parse_head(line: bytes) -> dict[str, Any]:
    try:
        head = loads_strictly(line)
    except ValueError:
        raise FrameError(f"not a frame: {line[:80]!r}") from None
    if not isinstance(head, dict) or not isinstance(head.get("t"), str):
        raise FrameError(f"a frame without a type: {line[:80]!r}")
    size = head.get("size", 0)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_BODY:
        raise FrameError(f"impossible size: {str(size)[:40]}")
    return head
