# SPDX-License-Identifier: Apache-2.0
"""Turbo off: else the highest frequency depends on how many other cores are awake, and how hot they are.

Intel's driver has one switch for the machine, which reads the other way round. Others have one for each policy (newer
kernels, AMD's among them), else one for the machine. Where the machine's is off, a policy's cannot be written.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .governor import by_text

_CPU = "/sys/devices/system/cpu"
_INTEL = f"{_CPU}/intel_pstate/no_turbo"
_MACHINE = f"{_CPU}/cpufreq/boost"


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
        policies = by_text(self.tree, "boost")
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

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("no switch for turbo here: the firmware or the host decides", needed=True)
