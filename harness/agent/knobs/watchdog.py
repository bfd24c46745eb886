# SPDX-License-Identifier: Apache-2.0
"""The lockup detectors off the measured CPUs and their SMT siblings: else each has a timer every 4 s.

Where the hard detector counts cycles, it has an NMI as well. By their CPU mask, not by switching them off: the other
CPUs, which carry the load, stay watched. The mask is that of every detector, also of the one where CPUs watch each
other.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .forms import CPU_LIST
from .where import cleared, without

_MASK = "/proc/sys/kernel/watchdog_cpumask"


class Watchdog(FilesKnob):
    name = "watchdog"
    remedy = "set kernel.watchdog=0 yourself, or boot with nowatchdog"
    wanted = "off the measured CPUs"

    def state(self) -> Any:
        self._check()
        return CPU_LIST.parse(self._text(_MASK))

    def settings(self, measured: Sequence[int], housekeeping: Sequence[int]) -> list[Setting]:
        self._check()
        if not housekeeping:
            raise Unavailable("no other CPU to watch", needed=True)
        rest = without(CPU_LIST.parse(self._text(_MASK)), cleared(self.tree, measured, housekeeping), housekeeping)
        return [Setting("", _MASK, rest, CPU_LIST)]

    def _check(self) -> None:
        if self.tree.read("/proc/sys/kernel/watchdog") == "0":
            raise Unavailable("the watchdog is off", needed=False)

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no lockup detector", needed=False)
