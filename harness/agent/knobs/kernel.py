# SPDX-License-Identifier: Apache-2.0
"""What a knob has to know of the kernel's version, where no file tells."""

from __future__ import annotations

from ..system import Tree


def older_than(tree: Tree, major: int, minor: int) -> bool:
    """Is this kernel of an earlier release? False where its own name for it is none."""
    parts = (tree.read("/proc/sys/kernel/osrelease") or "").split("-")[0].split(".")
    try:
        return (int(parts[0]), int(parts[1])) < (major, minor)
    except (IndexError, ValueError):
        return False
