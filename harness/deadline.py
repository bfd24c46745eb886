# SPDX-License-Identifier: Apache-2.0
"""A point in monotonic time that is passed down: nested waits share one budget, and nothing waits without one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .errors import ConnectionLost


@dataclass(frozen=True)
class Deadline:
    """``at_s`` is on :func:`time.monotonic`'s clock, in seconds; ``budget_s`` is kept for messages."""

    at_s: float
    budget_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds, seconds)

    def at_most(self, seconds: float) -> Deadline:
        """This deadline, or one ``seconds`` from now: whichever is sooner."""
        other = Deadline.after(seconds)
        return other if other.at_s < self.at_s else self

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.at_s

    def check(self, what: str) -> None:
        """Raise :class:`ConnectionLost` saying ``what`` was waited for, if the time is up."""
        if self.expired:
            raise ConnectionLost(f"{what}: no answer within {self.budget_s:g} s")
