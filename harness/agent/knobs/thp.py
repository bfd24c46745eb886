# SPDX-License-Identifier: Apache-2.0
"""Transparent huge pages ``never``: else khugepaged scans and compacts memory, and takes locks and IPIs for it.

Huge pages that are there already stay.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .forms import CHOICE

_FOLDER = "/sys/kernel/mm/transparent_hugepage"
_FILES = ("enabled", "defrag")


class Thp(FilesKnob):
    name = "thp"
    remedy = "boot with transparent_hugepage=never"
    wanted = "never"

    def state(self) -> Any:
        return {name: CHOICE.parse(self._text(f"{_FOLDER}/{name}")) for name in _FILES}

    def settings(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        return [Setting(name, f"{_FOLDER}/{name}", "never", CHOICE) for name in _FILES]

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no transparent huge pages", needed=False)
