# SPDX-License-Identifier: Apache-2.0
"""What there is of kernels on a machine: its own, ours, what runs, what a boot method has to know. Changes nothing."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
from typing import Any, Dict, List, Optional

from .kerneldisks import grubenv
from .system import Tree

#: Of ours: a folder for each build, the journal, and what the machine boots by itself.
HOME = "/var/lib/isolbench/kernels"
#: Marks every command line of ours. The kernel takes a dot for a module's parameter, and does not hand it to init.
MARK = "isolbench.boot"
_TOOLS = ("kexec", "grub-reboot", "grub2-reboot", "bootctl", "systemctl", "reboot")
_IMAGES = ("/boot/vmlinuz-{}", "/boot/Image-{}", "/lib/modules/{}/vmlinuz")
_INITRDS = ("/boot/initrd.img-{}", "/boot/initramfs-{}.img", "/boot/initrd-{}")


def state(tree: Tree, read: List[str]) -> Dict[str, Any]:
    """What a boot method has to know; ``read`` are text files whose contents it wants."""
    release = tree.read("/proc/sys/kernel/osrelease") or ""
    return {
        "boot_id": tree.read("/proc/sys/kernel/random/boot_id"),
        "release": release,
        "cmdline": tree.read("/proc/cmdline") or "",
        "ours": running(tree),
        "image": image_of(tree, release),
        "initrd": initrd_of(tree, release),
        "default": default(tree),
        "installed": installed(tree),
        "grubenv": grubenv(tree),
        "tools": {name: found for name in _TOOLS if (found := tool(tree, name)) is not None},
        "texts": {path: text(tree, path) if tree.exists(path) else None for path in read},
    }


def facts(tree: Tree) -> Dict[str, Any]:
    """Of a machine's facts: the releases that lie there, and the builds of ours, by id with their release."""
    ours = {str(each["id"]): str(each.get("release")) for each in installed(tree) if "id" in each}
    return {"installed": releases(tree), "ours": ours}


def running(tree: Tree) -> Optional[str]:
    """The mark of the boot of ours that runs, ``ID/PROFILE``; None: the machine booted by itself.

    A kernel may have lost it (a command line of its own, one that was cut): a build of ours without is ``ID/unmarked``.
    """
    words = (tree.read("/proc/cmdline") or "").split()
    marks = [word.partition("=")[2] for word in words if word.startswith(f"{MARK}=")]
    return marks[-1] if marks else _unmarked(tree)


def _unmarked(tree: Tree) -> Optional[str]:
    release = tree.read("/proc/sys/kernel/osrelease") or ""
    ours = [str(each["id"]) for each in installed(tree) if each.get("release") == release]
    if not ours or image_of(tree, release) is not None or (default(tree) or {}).get("release") == release:
        return None  # or what the machine boots by itself is called the same
    return f"{ours[-1]}/unmarked"


def default(tree: Tree) -> Optional[Dict[str, Any]]:
    """What was seen of the boot that is not ours, the last time one was seen."""
    try:
        found = json.loads(text(tree, f"{HOME}/default.json"))
    except (ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def installed(tree: Tree) -> List[Dict[str, Any]]:
    """Ours that are whole, the oldest first: ``{id, release, image, initrd, dtb}``."""
    found = []
    for name in tree.names(HOME):
        with contextlib.suppress(OSError, ValueError):
            entry = json.loads(text(tree, f"{HOME}/{name}/installed.json"))
            if isinstance(entry, dict) and entry.get("id") == name:
                found.append(entry)
    return sorted(found, key=lambda entry: entry.get("number", 0))


def releases(tree: Tree) -> List[str]:
    """The kernels that lie here and that can be booted by their release."""
    heads = ("vmlinuz-", "Image-")
    found = {name[len(head) :] for name in tree.names("/boot") for head in heads if name.startswith(head)}
    return sorted(found | {name for name in tree.names("/lib/modules") if tree.exists(f"/lib/modules/{name}/vmlinuz")})


def matching(tree: Tree, pattern: str) -> List[str]:
    """The releases that lie here and match ``pattern``; a release matches itself."""
    return [release for release in releases(tree) if release == pattern or fnmatch.fnmatchcase(release, pattern)]


def image_of(tree: Tree, release: str) -> Optional[str]:
    return _first(tree, _IMAGES, release)


def initrd_of(tree: Tree, release: str) -> Optional[str]:
    return _first(tree, _INITRDS, release)


def tool(tree: Tree, name: str) -> Optional[str]:
    return _first(tree, ("/usr/sbin/{}", "/usr/bin/{}", "/sbin/{}", "/bin/{}"), name)


def _first(tree: Tree, patterns: Any, name: str) -> Optional[str]:
    return next((path for pattern in patterns if tree.exists(path := pattern.format(name))), None)


def text(tree: Tree, path: str) -> str:
    with open(tree.path(path), encoding="utf-8", errors="replace") as file:
        return file.read()


def version_of(tree: Tree, image: str) -> Optional[str]:
    """What ``uname -v`` will say, from the header of an x86 image (at 0x20e); None of others."""
    head = tree.read_bytes(image, 1 << 16) or b""
    if head[0x202:0x206] != b"HdrS":
        return None
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    found = re.match(rb"[^ \0]+ \([^\0]*?\) (#[0-9]+ [^\0]*)", head[at : at + 400])
    return None if found is None else found[1].decode("ascii", "replace").strip()
