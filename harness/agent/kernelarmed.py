# SPDX-License-Identifier: Apache-2.0
"""What is armed for one boot: no file of ours, but a word to the boot loader or an image in the running kernel.

It is in the journal of kernels before it is done, as ``{"kind": "armed", "by", "path", "name", "boot_id"}``; and taken
back only if it is still ours: what is armed may have been booted, or be somebody else's by now.
"""

from __future__ import annotations

import errno
from typing import Any, Dict, List, Optional

from . import kernelstate
from .system import Tree

#: Of systemd-boot: four bytes of attributes, and the name of the entry that is booted next, once.
ONE_SHOT = "/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_LOADED = "/sys/kernel/kexec_loaded"
_SECONDS = 60.0


def entry(tree: Tree, step: Dict[str, Any]) -> Dict[str, Any]:
    """The journal's, for a step that arms: ``{"arm": by, "path", "name", "run"}``."""
    by = str(step["arm"])
    path = {"kexec": _LOADED, "systemd-boot": ONE_SHOT}.get(by) or str(step["path"])
    boot_id = tree.read("/proc/sys/kernel/random/boot_id")
    return {"id": None, "kind": "armed", "by": by, "path": path, "name": step.get("name"), "boot_id": boot_id}


def is_armed(tree: Tree, entry: Dict[str, Any]) -> bool:
    by, path = entry.get("by"), str(entry.get("path"))
    if by == "grub":
        lines = (tree.read_bytes(path) or b"").decode("utf-8", "replace").split("\n")
        return f"next_entry={entry.get('name')}" in lines
    if by == "kexec":  # an image does not outlive a boot: one of another boot is not ours
        same = entry.get("boot_id") == tree.read("/proc/sys/kernel/random/boot_id")
        return same and tree.read(path) == "1"
    return by == "systemd-boot" and one_shot(tree.read_bytes(path)) == entry.get("name")


def one_shot(variable: Optional[bytes]) -> Optional[str]:
    return None if variable is None else variable[4:].decode("utf-16-le", "replace").rstrip("\0")


def disarm(tree: Tree, entry: Dict[str, Any]) -> None:
    """Take it back, if it is armed. Raises OSError where it is afterwards as well."""
    if not is_armed(tree, entry):
        return
    argv = _commands(tree, entry)[str(entry["by"])]
    found = next((path for name in argv[0].split("|") if (path := kernelstate.tool(tree, name)) is not None), None)
    if found is None:
        raise OSError(errno.ENOENT, f"{argv[0].replace('|', ' or ')} is not installed")
    status, _, err = tree.run([found, *argv[1:]], _SECONDS)
    if status or is_armed(tree, entry):
        raise OSError(errno.EIO, f"{found} ended with status {status}: {err.strip()[-200:] or 'it is still armed'}")


def _commands(tree: Tree, entry: Dict[str, Any]) -> Dict[str, List[str]]:
    return {
        "grub": ["grub-editenv|grub2-editenv", tree.path(str(entry.get("path"))), "unset", "next_entry"],
        "kexec": ["kexec", "-u"],
        "systemd-boot": ["bootctl", "set-oneshot", ""],
    }
