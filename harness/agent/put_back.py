# SPDX-License-Identifier: Apache-2.0
"""What could not be put back is tried again: soon at first, then ever more rarely, and at each contact."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Callable

from .undo import Undo

#: Until what failed is tried again, in seconds; each time twice as long, up to the second.
FIRST_S = 5.0
MOST_S = 300.0
#: After so many failures in a row, a quarter of an hour, a daemon without a connection ends: the next one goes on.
MOST_TRIES = 8
_RESTORED = "restored.json"


class PutBack:
    """The undo of a daemon while it has no batch under way: never to be used during one.

    ``report`` is that of the attempt just made: what failed in it counts as the first failure.
    """

    def __init__(
        self,
        undo: Undo,
        spare: frozenset[int],
        report: list[dict[str, Any]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._undo = undo
        self._spare = spare
        self._now = now
        self._done: list[dict[str, Any]] = []
        self.attempted(report)

    @property
    def due_s(self) -> float | None:
        """When to try again, on the clock of ``now``; None where nothing is left."""
        if self._undo.empty:
            self._failures = 0
            return None
        return self._tried_s + min(FIRST_S * 2.0 ** max(0, self._failures - 1), MOST_S)

    @property
    def hopeless(self) -> bool:
        return self._failures >= MOST_TRIES

    def attempted(self, report: list[dict[str, Any]]) -> None:
        """A batch has just tried, and ``report`` is what failed: from now on it is tried soon again."""
        self._failures = 0
        self._note(report)

    def play(self) -> list[dict[str, Any]]:
        """Try now, all that is left. Returns :meth:`take`."""
        self._note(self._undo.play(spare=self._spare))
        return self.take()

    def retry_if_due(self) -> None:
        due_s = self.due_s
        if due_s is not None and self._now() >= due_s:
            self._note(self._undo.play(spare=self._spare))

    def retry_for_contact(self) -> None:
        """Try now, but not where that was just done: a controller that was kept waiting too long comes again."""
        if not self._undo.empty and self._now() >= self._tried_s + FIRST_S:
            self._note(self._undo.play(spare=self._spare))

    def take(self) -> list[dict[str, Any]]:
        """What was put back, told once; and what failed last, each time."""
        done, self._done = self._done, []
        return done + self._failed

    def _note(self, report: list[dict[str, Any]]) -> None:
        self._done += [each for each in report if each.get("ok")]
        self._failed = [each for each in report if not each.get("ok")]
        self._tried_s = self._now()
        self._failures = self._failures + 1 if self._failed else 0


def keep(runtime: str, report: list[dict[str, Any]]) -> None:
    """For the next daemon's first welcome: what was put back and nobody was told. What failed, the next one tries."""
    done = [each for each in report if each.get("ok")]
    if not done:
        return
    path = os.path.join(runtime, _RESTORED)
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:  # it is done, told or not
        json.dump(done, file)


def kept(runtime: str) -> list[dict[str, Any]]:
    """Take what the daemon before us has kept."""
    path = os.path.join(runtime, _RESTORED)
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        os.unlink(path)
    except (OSError, ValueError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
