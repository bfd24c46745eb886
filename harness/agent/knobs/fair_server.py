# SPDX-License-Identifier: Apache-2.0
"""The fair server (kernel 6.12 and later) gives 50 ms of each second to ordinary tasks, whatever FIFO says: off.

It is in debugfs only, one folder a CPU, so it needs root, a mounted debugfs, and a kernel that is not locked down: with
Secure Boot many are, and then the files are there and nobody may read them.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .forms import chosen
from .kernel import older_than

_SCHED = "/sys/kernel/debug/sched"


class FairServer(FilesKnob):
    name = "fair-server"
    remedy = (
        "as root: mount -t debugfs none /sys/kernel/debug, on a kernel that is not locked down (lockdown=none, no "
        "Secure Boot); without it the kernel takes 5 % of the CPU back"
    )
    wanted = "0"
    roams = True  # each CPU has one of its own

    def state(self) -> Any:
        self._check()
        names = [name for name in self.tree.names(f"{_SCHED}/fair_server") if name.startswith("cpu")]
        return {name[3:]: self._text(f"{_SCHED}/fair_server/{name}/runtime") for name in names}

    def settings(
        self,
        measured: Sequence[int],
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        self._check()
        return [Setting(str(cpu), f"{_SCHED}/fair_server/cpu{cpu}/runtime", "0") for cpu in measured]

    def unavailable(self, path: str) -> Unavailable:
        locked = chosen(self.tree.read("/sys/kernel/security/lockdown") or "")
        if locked in ("integrity", "confidentiality"):
            return Unavailable(f"this kernel is locked down ({locked}), debugfs with it", needed=True)
        return Unavailable(f"{path} cannot be read: not root, or a kernel that is locked down", needed=True)

    def _check(self) -> None:
        if self.tree.exists(f"{_SCHED}/fair_server"):
            return
        if self.tree.exists(_SCHED):
            raise Unavailable("this kernel has no fair server", needed=False)
        if older_than(self.tree, 6, 12):
            raise Unavailable("kernels before 6.12 have no fair server", needed=False)
        raise Unavailable("debugfs is not mounted on /sys/kernel/debug, or not readable", needed=True)
