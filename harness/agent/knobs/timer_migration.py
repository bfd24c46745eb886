# SPDX-License-Identifier: Apache-2.0
"""kernel.timer_migration = 0: else timers of idle CPUs go to busy ones, and a measured CPU is busy all the time.

Until 6.8 the idle CPU gives its new timers to a busy one; since 6.9 a busy CPU of its group expires them for it. A CPU
of nohz_full takes no part in the first.
"""

from __future__ import annotations

from .base import FileKnob, Unavailable


class TimerMigration(FileKnob):
    name = "timer-migration"
    path = "/proc/sys/kernel/timer_migration"
    value = "0"
    remedy = "set kernel.timer_migration=0 yourself"

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel migrates no timers (no SMP, or no CONFIG_NO_HZ_COMMON)", needed=False)
