# SPDX-License-Identifier: Apache-2.0
"""The fair server (kernel 6.12 and later) gives 50 ms of each second to ordinary tasks, whatever FIFO says: off.

It is in debugfs only, one folder a CPU, so it needs root and a mounted debugfs.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..system import Tree, errno_name
from ..undo import Undo, file_entry
from .base import Outcome

_SCHED = "/sys/kernel/debug/sched"


def _path(cpu: int) -> str:
    return f"{_SCHED}/fair_server/cpu{cpu}/runtime"


class FairServer:
    name = "fair-server"

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()

    def _unavailable(self) -> tuple[str, bool] | None:
        """Why there is nothing to set, and whether that is a loss; None when there is."""
        if self.tree.exists(f"{_SCHED}/fair_server"):
            return None
        if self.tree.exists(_SCHED):
            return "this kernel has no fair server", False
        if self._older_than_fair_server():
            return "kernels before 6.12 have no fair server", False
        return "debugfs is not mounted on /sys/kernel/debug, or not readable", True

    def _older_than_fair_server(self) -> bool:
        release = self.tree.read("/proc/sys/kernel/osrelease") or ""
        parts = release.split("-")[0].split(".")
        try:
            return (int(parts[0]), int(parts[1])) < (6, 12)
        except (IndexError, ValueError):
            return False

    def show(self) -> dict[str, Any]:
        problem = self._unavailable()
        names = [name for name in self.tree.names(f"{_SCHED}/fair_server") if name.startswith("cpu")]
        value = {name[3:]: self.tree.read(f"{_SCHED}/fair_server/{name}/runtime") for name in names}
        return {
            "available": problem is None,
            "value": value if problem is None else None,
            "reason": problem and problem[0],
        }

    def set(
        self,
        measured: Sequence[int],
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
        undo: Undo,
    ) -> Outcome:
        requested = {str(cpu): "0" for cpu in measured}
        problem = self._unavailable()
        if problem is not None:
            return Outcome(self.name, requested, None, None, None, problem[0], problem[1])
        before = {str(cpu): self.tree.read(_path(cpu)) for cpu in measured}
        try:
            undo.record([file_entry(self.name, _path(int(cpu)), text) for cpu, text in before.items() if text])
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, requested, before, before, code, "undo cannot be written")
        failed = 0
        for cpu in measured:
            if before[str(cpu)] not in (None, "0"):
                failed = self.tree.write(_path(cpu), "0") or failed
        effective = self._read(measured)
        reason = None if effective == requested else f"reads {effective} after it was written"
        return Outcome(self.name, requested, before, effective, errno_name(failed) if failed else None, reason)

    def _read(self, cpus: Sequence[int]) -> dict[str, str | None]:
        return {str(cpu): self.tree.read(_path(cpu)) for cpu in cpus}

    def verify(self, outcome: Outcome) -> str | None:
        if not isinstance(outcome.effective, dict):
            return None
        now = self._read([int(cpu) for cpu in outcome.effective])
        return None if now == outcome.effective else f"the fair server's runtime was changed to {now} meanwhile"

    def restore(self) -> None:
        return

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        return "as root: mount -t debugfs none /sys/kernel/debug; without it the kernel takes 5 % of the CPU back"
