# SPDX-License-Identifier: Apache-2.0
"""kernel.timer_migration = 0: else timers of idle CPUs go to busy ones, and a measured CPU is busy all the time.

Until 6.8 it holds for both kinds: a CPU that is idle gives its new timers to a busy one; a CPU of nohz_full takes none.
Since 6.9 only high-resolution timers heed it. The others, those of the timer wheel, stay where they are armed, and a
busy CPU of their group expires them while their own is idle, whatever this file says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from ..undo import Undo
from .base import FileKnob, Outcome, Unavailable
from .kernel import older_than


class TimerMigration(FileKnob):
    name = "timer-migration"
    path = "/proc/sys/kernel/timer_migration"
    value = "0"
    remedy = "set kernel.timer_migration=0 yourself"

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """``detail.heeded_by`` says which timers it holds for."""
        outcome = super().set(measured, housekeeping, undo)
        if not outcome.needed:
            return outcome
        both = older_than(self.tree, 6, 9)
        heeded = "all timers" if both else "high-resolution timers alone: those of the wheel are expired for idle CPUs"
        return replace(outcome, detail={"heeded_by": heeded})

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel migrates no timers (no SMP, or no CONFIG_NO_HZ_COMMON)", needed=False)
