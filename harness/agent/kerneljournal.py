# SPDX-License-Identifier: Apache-2.0
"""What of kernels was changed on this machine's disk, written down before it is changed; and how it is put back.

A line each in ``journal.jsonl``::

    {"id": "0123456789ab", "kind": "build", "path": "/var/lib/isolbench/kernels/0123456789ab"}
    {"id": "0123456789ab", "kind": "file", "path": "/boot/isolbench-0123456789ab"}
    {"id": "0123456789ab", "kind": "link", "path": "/lib/modules/6.18.0", "to": …}
    {"id": null, "kind": "block", "path": "/boot/grub/custom.cfg"}

It describes the disk, and so outlives boots. A block is what stands in somebody else's file between two lines of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Dict, List, Optional

from .kernelstate import HOME, text
from .system import AgentError, Tree, remove_tree, write_durably

BEGIN, END = "# isolbench: begin\n", "# isolbench: end\n"
Entry = Dict[str, Any]


class Journal:
    """The journal below ``tree``, and what it names."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._path = tree.path(f"{HOME}/journal.jsonl")

    def note(self, entries: List[Entry]) -> None:
        """On the disk before anything is changed."""
        known = self.entries()
        new = [entry for entry in entries if entry not in known]
        if new:
            make_home(self._tree)
            self._write(known + new)

    def entries(self) -> List[Entry]:
        """The oldest first. A line that is none is passed over: a power cut may have torn it."""
        found = []
        try:
            lines = text(self._tree, f"{HOME}/journal.jsonl").split("\n")
        except OSError:
            return []
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def forget(self, entries: List[Entry]) -> None:
        """What was there for a while and is gone: if a file of that name comes to be, it is somebody else's."""
        self._write([entry for entry in self.entries() if entry not in entries])

    def files_of(self, build: str) -> List[str]:
        return [
            str(each.get("path")) for each in self.entries() if (each.get("id"), each.get("kind")) == (build, "file")
        ]

    def _write(self, entries: List[Entry]) -> None:
        if entries:
            write_durably(self._path, "".join(json.dumps(each) + "\n" for each in entries).encode())
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    # -- putting back

    def remove(self, build: Optional[str] = None) -> List[Dict[str, Any]]:
        """Put back what belongs to one build, or all there is, the newest first. One report an entry, as of an undo."""
        report: List[Dict[str, Any]] = []
        left: List[Entry] = []
        for entry in reversed(self.entries()):
            if build is not None and entry.get("id") != build:
                left.append(entry)
                continue
            there = os.path.lexists(self._tree.path(str(entry.get("path"))))
            outcome = self.undo(entry)
            if not outcome["ok"]:
                left.append(entry)
            if there or not outcome["ok"]:  # it is written down before it is made: it may never have been
                report.append(outcome)
        self._write(left[::-1])
        return report

    def undo(self, entry: Entry) -> Dict[str, Any]:
        kind, path = str(entry.get("kind")), str(entry.get("path"))
        told: Dict[str, Any] = {"kind": kind, "name": "kernels", "path": path, "before": None, "found": None}
        told.update(ok=True, reason=None)
        undo = {"file": self._file, "build": self._build, "link": self._link, "block": self._block}.get(kind)
        if undo is None:
            return {**told, "ok": False, "reason": f"a newer agent's entry ({kind[:40]!r}): restore by that one"}
        try:
            undo(path, entry)
        except OSError as error:
            told.update(ok=False, reason=error.strerror or str(error))
        return told

    def _file(self, path: str, _entry: Entry) -> None:
        real = self._tree.path(path)
        for each in (real, f"{real}.part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)

    def _build(self, path: str, entry: Entry) -> None:
        if is_id(str(entry.get("id"))) and path == f"{HOME}/{entry['id']}":
            remove_tree(self._tree.path(path))

    def _link(self, path: str, entry: Entry) -> None:
        real = self._tree.path(path)
        for each in (real, f"{real}.isolbench"):
            if os.path.islink(each) and os.readlink(each) == entry.get("to"):
                os.unlink(each)

    def _block(self, path: str, _entry: Entry) -> None:
        if self._tree.exists(path):
            self.set_block(path, "")
        folder, _, name = path.rpartition("/")
        for other in self._tree.names(folder):
            if other.startswith(f"{name}.tmp-"):  # half-written when the power went
                os.unlink(self._tree.path(f"{folder}/{other}"))

    def set_block(self, path: str, block: str) -> None:
        """``block`` between our two lines, in the place of what stood there; all else of the file as it was."""
        before = text(self._tree, path) if self._tree.exists(path) else ""
        head, begun, rest = before.partition(BEGIN)
        tail = rest.partition(END)[2] if begun else ""
        if head and not head.endswith("\n"):
            head += "\n"
        after = head + (f"{BEGIN}{block.rstrip()}\n{END}" if block else "") + tail
        real = self._tree.path(path)
        if after:
            mode = os.stat(real).st_mode & 0o777 if self._tree.exists(path) else 0o644
            write_durably(real, after.encode(), mode)
        elif self._tree.exists(path):
            os.unlink(real)


def make_home(tree: Tree) -> None:
    try:
        os.makedirs(tree.path(HOME), mode=0o755, exist_ok=True)
    except OSError as error:
        advice = "installing kernels needs root (become: sudo)"
        raise AgentError("environment", "no-folder", f"{HOME}: {error.strerror}", advice) from None


def is_id(build: str) -> bool:
    return len(build) == 12 and all(char in "0123456789abcdef" for char in build)
