# SPDX-License-Identifier: Apache-2.0
"""One process on each housekeeping CPU that never sleeps, and ends by itself when its parent is gone."""

from __future__ import annotations

import os
import sys

from ..processes import running_ns
from .base import ProcessLoad

# Looking at the parent every 20,000 turns costs nothing and takes a few milliseconds to notice. Who that is we say: it
# may be gone before the child can ask.
_LOOP = "import os\nwhile os.getppid() == {parent}:\n    for _ in range(20000):\n        pass\n"


class Spin(ProcessLoad):
    kind = "spin"

    def start(self) -> None:
        super().start()
        loop = _LOOP.format(parent=os.getpid())
        for cpu in self.housekeeping:
            self.spawn([sys.executable, "-I", "-S", "-B", "-c", loop], [cpu])

    def cpu_time_ns(self) -> int:
        return sum(running_ns(self.tree, child.pid) or 0 for child in self.children)

    def due_ns(self, elapsed_ns: int) -> int:
        return elapsed_ns * len(self.housekeeping)
