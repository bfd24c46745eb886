# SPDX-License-Identifier: Apache-2.0
"""Any command of the campaign, free to run on all housekeeping CPUs. What it is due is its own affair: > 0."""

from __future__ import annotations

import os

from ..processes import session_ticks
from .base import ProcessLoad


class Argv(ProcessLoad):
    kind = "argv"

    def start(self) -> None:
        super().start()
        self.spawn(self.spec.argv, self.housekeeping)

    def cpu_time_ns(self) -> int:
        ticks = sum(session_ticks(self.tree, child.pid) for child in self.children)
        return ticks * (10**9 // os.sysconf("SC_CLK_TCK"))

    def due_ns(self, elapsed_ns: int) -> None:  # noqa: ARG002 (the protocol's)
        return None
