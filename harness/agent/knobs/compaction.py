# SPDX-License-Identifier: Apache-2.0
"""Compaction leaves locked memory alone, and does not work ahead: else it moves a probe's pages, and each one faults.

That memory is locked says that it stays in memory, not where: kernels but those of PREEMPT_RT move it by default.
Compaction that an allocation has to wait for still goes on, elsewhere.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable

_UNEVICTABLE = "/proc/sys/vm/compact_unevictable_allowed"
_PROACTIVE = "/proc/sys/vm/compaction_proactiveness"  # kernel 5.9 and later


class Compaction(FilesKnob):
    name = "compaction"
    remedy = "set vm.compact_unevictable_allowed=0 and vm.compaction_proactiveness=0 yourself"
    wanted = "0"

    def state(self) -> Any:
        return {each.key: self._text(each.path) for each in self._all()}

    def settings(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        return self._all()

    def _all(self) -> list[Setting]:
        found = [Setting("unevictable", _UNEVICTABLE, "0")]
        if self.tree.exists(_PROACTIVE):
            found.append(Setting("proactiveness", _PROACTIVE, "0"))
        return found

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel compacts no memory", needed=False)
