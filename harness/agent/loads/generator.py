# SPDX-License-Identifier: Apache-2.0
"""A load that isolbench brings itself: one process on each housekeeping CPU, never asleep, that ends with its parent.

So all the time of these CPUs is due.
"""

from __future__ import annotations

from typing import Mapping

from ..processes import Stat, running_ns
from .base import ProcessLoad, program


class GeneratorLoad(ProcessLoad):
    kind = ""

    def arguments(self) -> list[str]:
        """What the generator of this kind is told."""
        return []

    def start(self) -> None:
        super().start()
        argv = program("generators", self.kind, *self.arguments())
        for cpu in self.housekeeping:
            self.spawn(argv, [cpu])

    def cpu_time_ns(self, members: Mapping[int, Stat]) -> int:
        return sum(running_ns(self.tree, pid) or 0 for pid in members)

    def due_ns(self, elapsed_ns: int, busy_ns: int) -> int:  # noqa: ARG002 (the protocol's)
        return elapsed_ns * len(self.housekeeping)
