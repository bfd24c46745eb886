# SPDX-License-Identifier: Apache-2.0
"""The programs of other projects that loads are made of: where they are on the target, and what to install."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Mapping

from ..system import Tree

#: The program, and the package that has it: with Debian, Fedora, Arch, Alpine and OpenEmbedded it is called the same.
PACKAGES = {"hackbench": "rt-tests", "stress-ng": "stress-ng"}
#: Also where PATH does not lead there: that of a command over SSH is short.
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")


def find(tree: Tree, name: str) -> str | None:
    """The path of an executable file called ``name``, or None."""
    for folder in (*os.environ.get("PATH", "").split(":"), *_FOLDERS):
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(tree.path(path)) and os.access(tree.path(path), os.X_OK):
            return path
    return None


def show_all(tree: Tree) -> dict[str, str | None]:
    """``{name: path or None}`` of every program that a load wants."""
    return {name: find(tree, name) for name in PACKAGES}


def missing(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Why a load of the program ``name`` cannot be had; empty when it is there, or nobody has looked."""
    found = facts.get("tools") or {}
    if name not in found or found[name]:
        return []
    return [f"{name} is not installed on the target: install the package {PACKAGES[name]} there"]


def digest(path: str) -> str | None:
    """SHA-256 of the file: another version of it is another load."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                found.update(block)
    except OSError:
        return None
    return found.hexdigest()
