# SPDX-License-Identifier: Apache-2.0
"""The kernel's unbound work queues off the measured CPUs and their SMT siblings, by the mask of all of them.

Each queue's own mask (those under /sys/devices/virtual/workqueue/*/) counts only within this one, so that this one is
enough. Work that a CPU queues for itself is bound to it and cannot be moved.

Since 6.7 the file shows what is in effect: what was asked for, less the CPUs of isolated partitions. So what was asked
for is what is put back.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..undo import file_entry
from .base import FilesKnob, Setting, Unavailable
from .forms import CPU_MASK
from .where import cleared, without

_MASK = "/sys/devices/virtual/workqueue/cpumask"
_ASKED = "/sys/devices/virtual/workqueue/cpumask_requested"


class Workqueues(FilesKnob):
    name = "workqueues"
    remedy = "boot with isolcpus=domain,<cpus> or nohz_full=<cpus>: the kernel sets the mask by itself"
    wanted = "off the measured CPUs"

    def state(self) -> Any:
        return CPU_MASK.parse(self._text(_MASK))

    def settings(self, measured: Sequence[int], housekeeping: Sequence[int]) -> list[Setting]:
        if not housekeeping:
            raise Unavailable("no other CPU to move work to", needed=True)
        rest = without(CPU_MASK.parse(self._text(_MASK)), cleared(self.tree, measured, housekeeping), housekeeping)
        return [Setting("", _MASK, rest, CPU_MASK)]

    def _entries(self, change: Setting, text: str) -> list[dict[str, Any]]:
        return [file_entry(self.name, change.path, text, write=self.tree.read(_ASKED))]
