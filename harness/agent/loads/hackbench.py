# SPDX-License-Identifier: Apache-2.0
"""The scheduler's own benchmark, of rt-tests: processes that write to each other through sockets, and so wake each
other without end. A group of sixteen for each housekeeping CPU, started again whenever they have sent all messages.

https://git.kernel.org/pub/scm/utils/rt-tests/rt-tests.git
"""

from __future__ import annotations

from .command import ToolLoad

#: Senders in a group, and as many receivers: fewer than hackbench's 20, or a large machine would run out of processes.
_FDS = 8
#: Messages of each sender to each receiver: some seconds, so that starting anew is rare.
_LOOPS = 20_000


class Hackbench(ToolLoad):
    kind = "hackbench"
    tool = "hackbench"

    def options(self) -> list[str]:
        return ["--groups", str(len(self.housekeeping)), "--fds", str(_FDS), "--loops", str(_LOOPS)]
