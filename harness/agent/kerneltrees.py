# SPDX-License-Identifier: Apache-2.0
"""Device trees: which of those that came with a kernel is for this machine."""

from __future__ import annotations

import os
from typing import Dict, Iterator, List, Optional, Tuple

from .system import Tree

_MAGIC = b"\xd0\x0d\xfe\xed"
_BEGIN, _PROPERTY, _NOP = 1, 3, 4
_RUNNING = "/proc/device-tree"


def fitting(tree: Tree, folder: str) -> Optional[str]:
    """The path of the one below ``folder`` that says to be for what the running one says; of several that of its model.

    Empty: there is none. None: this machine has no device tree.
    """
    compatible = tree.read_bytes(f"{_RUNNING}/compatible")
    if not compatible:
        return None
    model = tree.read_bytes(f"{_RUNNING}/model")
    found: List[Tuple[bool, str]] = []
    for path in _files(tree, folder):
        said = root_of(tree.read_bytes(path) or b"")
        if said.get("compatible") == compatible:
            found.append((said.get("model") != model, path))
    return min(found)[1] if found else ""


def _files(tree: Tree, folder: str) -> Iterator[str]:
    top = tree.path(folder)
    for where, _, names in os.walk(top):
        for name in names:
            if name.endswith(".dtb"):
                yield folder + os.path.join(where, name)[len(top) :]


def root_of(data: bytes) -> Dict[str, bytes]:
    """The properties of a flattened tree's root, as far as they can be read."""
    found: Dict[str, bytes] = {}
    if data[:4] != _MAGIC:
        return found
    at, strings = _number(data, 8), _number(data, 12)
    if _number(data, at) != _BEGIN:
        return found
    at += 8  # and the root's name, which is empty
    while 0 < at < len(data):
        token = _number(data, at)
        at += 4
        if token == _PROPERTY:
            size, name = _number(data, at), strings + _number(data, at + 4)
            found[data[name : data.find(b"\0", name)].decode("ascii", "replace")] = data[at + 8 : at + 8 + size]
            at += 8 + (size + 3) // 4 * 4
        elif token != _NOP:  # the properties come first: here is a node, or an end
            break
    return found


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
