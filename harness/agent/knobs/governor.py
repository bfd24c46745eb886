# SPDX-License-Identifier: Apache-2.0
"""The frequency governor ``performance`` for the measured CPUs: else the clock follows the load, and a change stalls.

That alone keeps the highest frequency: scaling_min_freq is left alone, so that a limit of the owner's stays one.

A change of governor drags other files along. The energy preference reads ``performance`` then, and some drivers do not
bring the old one back; a governor's own tunables begin anew when it comes back; ``userspace`` forgets its frequency.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .where import by_cpu

_CPU = "/sys/devices/system/cpu"


class Governor(FilesKnob):
    name = "governor"
    remedy = "modprobe cpufreq_performance; for a virtual machine set it on its host; without cpufreq see the firmware"
    wanted = "performance"
    roams = True

    def state(self) -> Any:
        found = by_cpu(self.tree, "cpufreq/scaling_governor")
        if not found:
            raise self.unavailable(_CPU)
        return found

    def settings(
        self,
        measured: Sequence[int],
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        # CPUs of one policy have one file under two names: it is written twice, and put back twice.
        return [Setting(str(cpu), f"{_CPU}/cpu{cpu}/cpufreq/scaling_governor", "performance") for cpu in measured]

    def dragged(self, change: Setting) -> list[str]:
        policy = change.path.rpartition("/")[0]
        governor = self.tree.read(change.path) or ""
        files = [f"{policy}/energy_performance_preference"]
        if governor == "userspace":
            files.append(f"{policy}/scaling_setspeed")
        # A policy's own tunables, or those that all of its governor share.
        for folder in (f"{policy}/{governor}", f"{_CPU}/cpufreq/{governor}"):
            files += [f"{folder}/{name}" for name in self.tree.names(folder)] if governor else []
        return files

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("no cpufreq here: the firmware or the host decides", needed=True)
