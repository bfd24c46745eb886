# SPDX-License-Identifier: Apache-2.0
"""On what a file lies, as a boot loader has to cope with it: its file system, and what that lies on."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Optional, Tuple

from .system import Tree

#: GRUB's environment, of the folder that is there.
_GRUB = ("/boot/grub", "/boot/grub2")
_DEEPEST = 8


def grubenv(tree: Tree) -> Optional[Dict[str, Any]]:
    """``{"path", "fs", "on"}``: where GRUB would write its next entry; None where there is no GRUB.

    ``fs`` is a file system's name as the kernel has it, empty if unknown; ``on`` what is between that and a disk that
    firmware can write to: ``lvm``, ``raid``, or empty.
    """
    folder = next((folder for folder in _GRUB if tree.exists(folder)), None)
    if folder is None:
        return None
    real = os.path.realpath(tree.path(f"{folder}/grubenv"))  # a link to the boot partition, on some
    path = real[len(tree.root) :] if real.startswith(f"{tree.root}/") else real
    fs, device = _mounted(tree, path)
    return {"path": path, "fs": fs, "on": _below(tree, f"/sys/dev/block/{device}")}


def _mounted(tree: Tree, path: str) -> Tuple[str, str]:
    """The file system that ``path`` is in, and the number of its device; of two mounted on one folder the later."""
    best, found = -1, ("", "")
    for line in (tree.read("/proc/self/mountinfo") or "").split("\n"):
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields[6:]:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        if len(point) >= best and (path == point or path.startswith(f"{point}/")):
            best, found = len(point), (fields[fields.index("-", 6) + 1], fields[2])
    return found


def _below(tree: Tree, device: str, depth: int = 0) -> str:
    """A device's folder in sysfs; a partition's disk is the folder above."""
    uuid = tree.read(f"{device}/dm/uuid") or ""
    if uuid.startswith("LVM-"):
        return "lvm"
    if uuid.startswith("DMRAID-") or any(tree.exists(f"{device}{each}/md") for each in ("", "/..")):
        return "raid"
    slaves = (_below(tree, f"{device}/slaves/{name}", depth + 1) for name in tree.names(f"{device}/slaves"))
    return next((each for each in slaves if each), "") if depth < _DEEPEST else ""
