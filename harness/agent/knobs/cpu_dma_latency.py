# SPDX-License-Identifier: Apache-2.0
"""No resume latency allowed for the measured CPUs, and those of helpers: no deep idle states there.

By each CPU's own file, so that no other one is kept from resting: to the kernel 0 us means the shallowest state, which
on x86 polls, and a machine whose idle CPUs all poll is hot, without turbo, and busy on every sibling thread.

Where CPUs have no such file (a kernel without CONFIG_PM) it is /dev/cpu_dma_latency at 0 us, machine-wide, for as long
as that is held open; it needs no undo, as the kernel drops the request when the holder dies.
"""

from __future__ import annotations

import os
from typing import Any, Sequence

from ..system import Tree, errno_name
from ..undo import Undo
from .base import FilesKnob, Outcome, Setting, shown
from .where import by_cpu

_DEVICE = "/dev/cpu_dma_latency"
_FILE = "power/pm_qos_resume_latency_us"
_REMEDY = "run the agent as root (become: sudo)"


class CpuDmaLatency(FilesKnob):
    name = "cpu-dma-latency"
    remedy = _REMEDY
    wanted = "n/a"  # as the kernel spells it: no latency at all; 0 is its word for any
    roams = True
    helpers = True

    def __init__(self, tree: Tree | None = None) -> None:
        super().__init__(tree)
        self._fd: int | None = None

    def show(self) -> dict[str, Any]:
        """``value``: what the CPUs' files read, ``{text: CPU list}``; else the device's number of us."""
        found = by_cpu(self.tree, _FILE)
        if found:
            return shown(found)
        usable = os.access(self.tree.path(_DEVICE), os.W_OK)
        reason = None if usable else ("not ours to open" if self.tree.exists(_DEVICE) else f"there is no {_DEVICE}")
        return shown(self._held(), reason, needed=self.tree.exists(_DEVICE), advice=_REMEDY)

    def settings(
        self,
        measured: Sequence[int],
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        return [Setting(str(cpu), f"/sys/devices/system/cpu/cpu{cpu}/{_FILE}", "n/a") for cpu in measured]

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """``requested`` is ``n/a`` by CPU; where the device stands in, its 0."""
        self.restore()
        if all(self.tree.exists(each.path) for each in self.settings(measured, housekeeping)):
            return super().set(measured, housekeeping, undo)
        return self._hold()

    def _hold(self) -> Outcome:
        before = self._held()
        try:
            # The tests' tree has a plain file here; the device ignores the offset.
            fd = os.open(self.tree.path(_DEVICE), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, 0, before, None, code, f"{_DEVICE}: {error.strerror}", error.errno != 2)
        try:
            os.write(fd, bytes(4))
        except OSError as error:
            os.close(fd)
            return Outcome(self.name, 0, before, None, errno_name(error.errno or 0), f"{_DEVICE}: {error.strerror}")
        self._fd = fd
        return Outcome(self.name, 0, before, self._held())

    def _held(self) -> int | None:
        data = self.tree.read_bytes(_DEVICE, 4)
        return int.from_bytes(data, "little", signed=True) if data and len(data) == 4 else None

    def verify(self, outcome: Outcome) -> str | None:
        if self._fd is None:
            return super().verify(outcome)
        now = self._held()
        return None if now == outcome.effective else f"{_DEVICE} reads {now} meanwhile"

    def restore(self) -> None:
        super().restore()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
