# SPDX-License-Identifier: Apache-2.0
"""Turbo off: else the highest frequency depends on how many other cores are awake, and how hot they are.

Intel's driver has one switch for the machine, which reads the other way round. Others have one for each policy (newer
kernels, AMD's among them), else one for the machine. Where the machine's is off, a policy's cannot be written.

Both kinds drag limits along that do not come back by themselves: no_turbo=1 lowers Intel's ``min_perf_pct`` to what is
left, and boost overwrites the limits of each policy that it is switched for.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..snapshot import cooling
from .base import FilesKnob, Setting, Unavailable
from .where import by_cpu, cpus_of

_CPU = "/sys/devices/system/cpu"
_INTEL = f"{_CPU}/intel_pstate/no_turbo"
_MACHINE = f"{_CPU}/cpufreq/boost"
#: Put back from the last one on: first the upper limit, below which the lower one has to be.
_LIMITS = ("scaling_min_freq", "scaling_max_freq")


def _policy(cpu: int) -> str:
    return f"{_CPU}/cpu{cpu}/cpufreq/boost"


class Turbo(FilesKnob):
    name = "turbo"
    remedy = "switch turbo (boost) off in the firmware; in a virtual machine on the host"
    wanted = "off"
    roams = True

    def state(self) -> Any:
        """What each switch reads; of the policies' ``{text: CPU list}``."""
        found: dict[str, Any] = {}
        for key, path in (("no_turbo", _INTEL), ("boost", _MACHINE)):
            text = self.tree.read(path)
            if text is not None:
                found[key] = text
        policies = by_cpu(self.tree, "cpufreq/boost")
        if policies:
            found["policies"] = policies
        if not found:
            raise self.unavailable(_CPU)
        return found

    def settings(
        self,
        measured: Sequence[int],
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        # The folder is there too where the driver is loaded and not in charge; then it cannot be read.
        if self.tree.read(_INTEL) is not None:
            return [Setting("no_turbo", _INTEL, "1")]
        machine = self.tree.read(_MACHINE)
        if machine != "0" and all(self.tree.read(_policy(cpu)) is not None for cpu in measured):
            return [Setting(f"cpu{cpu}", _policy(cpu), "0") for cpu in measured]
        return [Setting("boost", _MACHINE, "0")]

    def dragged(self, change: Setting) -> list[str]:
        if change.path == _INTEL:
            return [f"{_CPU}/intel_pstate/min_perf_pct"]
        # What a limit reads while the CPU is cooled is not its owner's: put back, it would stay when it is cool again.
        limits = () if any(state > 0 for state in cooling(self.tree).values()) else _LIMITS
        if change.path != _MACHINE:
            return [f"{change.path.rpartition('/')[0]}/{name}" for name in limits]
        # The machine's switch turns that of each policy as well; where CPUs share one, it is written down for each.
        return [f"{_CPU}/cpu{cpu}/cpufreq/{name}" for cpu in cpus_of(self.tree) for name in (*limits, "boost")]

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        drivers = by_cpu(self.tree, "cpufreq/scaling_driver")
        if drivers:
            named = ", ".join(sorted(drivers))
            return Unavailable(f"the driver of the frequency here ({named}) has no turbo to switch", needed=False)
        return Unavailable("no switch for turbo here: the firmware or the host decides", needed=True)
