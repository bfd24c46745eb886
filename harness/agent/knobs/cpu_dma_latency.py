# SPDX-License-Identifier: Apache-2.0
"""/dev/cpu_dma_latency at 0 us: no deep idle states, machine-wide, for as long as the file is held open.

It needs no undo: the kernel drops the request when the holder dies.
"""

from __future__ import annotations

import os
from typing import Any, Sequence

from ..system import Tree, errno_name
from ..undo import Undo
from .base import Outcome, shown

_PATH = "/dev/cpu_dma_latency"
_REMEDY = f"run the agent as root (become: sudo), or let its user write {_PATH}"


class CpuDmaLatency:
    name = "cpu-dma-latency"
    roams = False

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self._fd: int | None = None

    def show(self) -> dict[str, Any]:
        data = self.tree.read_bytes(_PATH, 4)
        value = int.from_bytes(data, "little", signed=True) if data and len(data) == 4 else None
        usable = os.access(self.tree.path(_PATH), os.W_OK)
        reason = None if usable else ("not ours to open" if self.tree.exists(_PATH) else f"there is no {_PATH}")
        return shown(value, reason, needed=self.tree.exists(_PATH), advice=_REMEDY)

    def set(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
        undo: Undo,  # noqa: ARG002 (the protocol's)
    ) -> Outcome:
        before = self.show()["value"]
        self.restore()
        try:
            # The tests' tree has a plain file here; the device ignores the offset.
            fd = os.open(self.tree.path(_PATH), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, 0, before, None, code, f"{_PATH}: {error.strerror}", error.errno != 2)
        try:
            os.write(fd, bytes(4))
        except OSError as error:
            os.close(fd)
            return Outcome(self.name, 0, before, None, errno_name(error.errno or 0), f"{_PATH}: {error.strerror}")
        self._fd = fd
        return Outcome(self.name, 0, before, self.show()["value"])

    def verify(self, outcome: Outcome) -> str | None:
        if self._fd is None:
            return None
        now = self.show()["value"]
        return None if now == outcome.effective else f"{_PATH} reads {now} meanwhile"

    def restore(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def advise(self, outcome: Outcome) -> str | None:
        return None if outcome.ok else _REMEDY
