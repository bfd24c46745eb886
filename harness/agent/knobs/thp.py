# SPDX-License-Identifier: Apache-2.0
"""Transparent huge pages ``never``: else khugepaged scans and compacts memory, and takes locks and IPIs for it.

Since 6.8 each size has a word of its own beside the machine's; one that says ``inherit`` follows that, others do not.
Huge pages that are there already stay.

Where the last of them is switched off or the first on, the kernel works out anew how much memory it keeps free.
"""

from __future__ import annotations

from typing import Any, Sequence

from .base import FilesKnob, Setting, Unavailable
from .forms import CHOICE, Form, chosen

_FOLDER = "/sys/kernel/mm/transparent_hugepage"
_FILES = ("enabled", "defrag")
_KEPT_FREE = "/proc/sys/vm/min_free_kbytes"


def _of_size(text: str) -> str:
    """What a size's own word comes to beside a ``never`` for the machine."""
    word = chosen(text)
    return "never" if word == "inherit" else word


_SIZE = Form(parse=_of_size, back=chosen)


class Thp(FilesKnob):
    name = "thp"
    remedy = "boot with transparent_hugepage=never"
    wanted = "never"

    def state(self) -> Any:
        return {name: chosen(self._text(f"{_FOLDER}/{name}")) for name in (*_FILES, *self._sizes())}

    def settings(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        machine = [Setting(name, f"{_FOLDER}/{name}", "never", CHOICE) for name in _FILES]
        return machine + [Setting(name, f"{_FOLDER}/{name}", "never", _SIZE) for name in self._sizes()]

    def _sizes(self) -> list[str]:
        """``hugepages-64kB/enabled`` and so on; khugepaged's folder has none."""
        names = (f"{name}/enabled" for name in self.tree.names(_FOLDER) if name.startswith("hugepages-"))
        return [name for name in names if self.tree.exists(f"{_FOLDER}/{name}")]

    def dragged(self, change: Setting) -> list[str]:
        return [_KEPT_FREE] if change.path.endswith("/enabled") else []

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no transparent huge pages", needed=False)
