# SPDX-License-Identifier: Apache-2.0
"""A board's console from a moment on: what it said since, and whether the board went down meanwhile."""

from __future__ import annotations

from . import console
from .state import BoardFolder

#: Of what a board that does not stop talking has said, so many bytes are read: the last.
MOST_BYTES = 4 << 20


class Watch:
    """Of the board ``name``, from now on. Asking is cheap: what was read before is not read again for nothing."""

    def __init__(self, name: str) -> None:
        self._path = BoardFolder(name).console
        self._start = self._size()
        self._looked_at = self._start
        self._fate: str | None = None

    def text(self) -> str:
        """What it said since; of a board that was brought up anew, all it said."""
        try:
            with self._path.open("rb") as file:
                size = self._size()
                file.seek(max(self._start if size >= self._start else 0, size - MOST_BYTES))
                return console.text_of(file.read(MOST_BYTES))
        except OSError:
            return ""

    def fate(self) -> str | None:
        """How the board went down since, with a quote; None if it did not, as far as its console tells."""
        size = self._size()
        if size != self._looked_at:
            self._looked_at, self._fate = size, console.fate(self.text())
        return self._fate

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
