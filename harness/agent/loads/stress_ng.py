# SPDX-License-Identifier: Apache-2.0
"""A mix of stressors, one of each for each housekeeping CPU: arithmetic, memory mapped and unmapped, processes forked,
switched and ended, pipes and timers. None of them makes a file, a name in /dev/shm or a System V object, so that even
SIGKILL leaves nothing behind. Ten minutes at most, then started again.

https://github.com/ColinIanKing/stress-ng
"""

from __future__ import annotations

import os

from .command import ToolLoad
from .memory import available_kb

_STRESSORS = ("cpu", "switch", "fork", "pipe", "timer", "vm", "mmap")
#: Of memory, for each of the two stressors that take any, on each CPU; less where an eighth of what is free is less.
_BYTES = 64 << 20
_TIMEOUT_S = 600
#: It wants a folder to write in, though none of these stressors does.
_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (nothing is written there)


class StressNg(ToolLoad):
    kind = "stress-ng"
    tool = "stress-ng"

    def options(self) -> list[str]:
        count = len(self.housekeeping)
        free = (available_kb(self.tree) or 1 << 30) << 10
        size = max(1 << 20, min(_BYTES, free // 8 // (2 * count)))
        folder = next((each for each in _FOLDERS if os.access(each, os.W_OK)), _FOLDERS[0])
        options = ["--quiet", "--temp-path", folder, "--timeout", f"{_TIMEOUT_S}s"]
        for name in _STRESSORS:
            options += [f"--{name}", str(count)]
        return [*options, "--vm-bytes", str(size), "--mmap-bytes", str(size)]
