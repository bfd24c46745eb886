# SPDX-License-Identifier: Apache-2.0
"""What happened in an execution, as it happens: a line of JSON appended to ``events.jsonl``, and whoever listens.

The file is the truth of nothing (folders are), so that a full disk does not stop a measurement: the first failure to
write is told to the listeners, and the rest goes on without the file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ..store.eventlog import Event as Event
from ..store.eventlog import read_events as read_events

Listener = Callable[[Event], None]


def now() -> str:
    """The time of day in UTC, to the millisecond, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EventLog:
    """Appends events; safe to use from every lane's thread. Each event has ``at``, ``kind`` and, mostly, ``target``."""

    def __init__(self, path: Path, *listeners: Listener) -> None:
        self._path = path
        self._listeners = list(listeners)
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._lost = False

    def emit(self, kind: str, /, **fields: Any) -> None:
        event: Event = {**fields, "at": now(), "kind": kind}
        with self._lock:
            for each in [event, *self._append(event)]:
                self._tell(each)

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except OSError:  # a terminal or a pipe that is gone: it must not take the measurement along
                self._listeners.remove(listener)

    def _append(self, event: Event) -> list[Event]:
        """Write the line; the event that tells of a failure, the first time."""
        if self._lost:
            return []
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            self._file.write(json.dumps(event, ensure_ascii=True, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            self._lost = True
            self._discard()
            return [{"at": now(), "kind": "events-lost", "message": f"events.jsonl: {error.strerror}"}]
        return []

    def _discard(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            pass  # close() flushes the same bytes to the same full disk

    def close(self) -> None:
        with self._lock:
            self._discard()
