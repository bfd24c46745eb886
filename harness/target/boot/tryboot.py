# SPDX-License-Identifier: Apache-2.0
"""``tryboot``, of the Raspberry Pi's firmware: a ``tryboot.txt`` in the place of ``config.txt``, for one boot."""

from __future__ import annotations

import re

from ...errors import TargetUnfit
from .base import Bootable, Method, State, Step

_CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
#: What says which kernel, initial RAM disk and command line: ours comes in their place.
_OURS = re.compile(
    r"^\s*(kernel|initramfs|cmdline|auto_initramfs|ramfsfile|ramfsaddr|os_prefix|device_tree)\b", re.MULTILINE
)


class Tryboot(Method):
    def arm(self, what: Bootable, state: State) -> list[Step]:
        config, text = self._config(state)
        folder = config.rpartition("/")[0]
        steps: list[Step] = [{"copy": what.image, "to": f"{folder}/isolbench-once.img", "id": what.build}]
        lines = [line for line in text.split("\n") if not _OURS.match(line)]
        lines += ["", "[all]", "kernel=isolbench-once.img", "cmdline=isolbench-once.txt"]
        if what.initrd is not None:
            steps.append({"copy": what.initrd, "to": f"{folder}/isolbench-once.initrd", "id": what.build})
            lines.append("initramfs isolbench-once.initrd followkernel")
        if what.dtb:  # of its own or of its package: firmware completes it
            steps.append({"copy": what.dtb, "to": f"{folder}/isolbench-once.dtb", "id": what.build})
            lines.append("device_tree=isolbench-once.dtb")
        steps.append({"write": f"{folder}/isolbench-once.txt", "text": what.cmdline + "\n", "once": True})
        return [*steps, {"write": f"{folder}/tryboot.txt", "text": "\n".join(lines) + "\n", "once": True}]

    def go(self, state: State) -> list[str]:
        tools = state.get("tools") or {}
        if "systemctl" in tools:
            return [tools["systemctl"], "reboot", "--reboot-argument=0 tryboot"]
        return [tools["reboot"], "0 tryboot"]

    def check(self, state: State) -> None:
        super().check(state)
        self._config(state)

    def _config(self, state: State) -> tuple[str, str]:
        texts = state.get("texts") or {}
        found = next(((path, text) for path in _CONFIGS if (text := texts.get(path)) is not None), None)
        if found is None:
            raise TargetUnfit(
                f"no Raspberry Pi's firmware on the target ({' or '.join(_CONFIGS)})", advice="boot: kexec"
            )
        return found


METHOD = Tryboot("tryboot", reads=_CONFIGS, trees=True)
