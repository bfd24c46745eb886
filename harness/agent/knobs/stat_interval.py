# SPDX-License-Identifier: Apache-2.0
"""vm.stat_interval = 120 s: else the kernel gathers each CPU's memory counters every second, by work queued there.

A new interval holds from the next gathering on: so from up to a second after it is set, and for up to two minutes after
it was put back. That is why it is not set to hours.
"""

from __future__ import annotations

from .base import FileKnob, Unavailable


class StatInterval(FileKnob):
    name = "stat-interval"
    path = "/proc/sys/vm/stat_interval"
    value = "120"
    remedy = "set vm.stat_interval=120 yourself"

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no vm.stat_interval", needed=False)
