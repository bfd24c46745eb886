# SPDX-License-Identifier: Apache-2.0
"""What of kernels was changed on this machine's disk, written down before it is changed; and how it is put back.

A line each in ``journal.jsonl``::

    {"id": "0123456789ab", "kind": "build", "path": "/var/lib/isolbench/kernels/0123456789ab"}
    {"id": "0123456789ab", "kind": "file", "path": "/boot/isolbench-0123456789ab"}
    {"id": "0123456789ab", "kind": "link", "path": "/lib/modules/6.18.0", "to": …}
    {"id": null, "kind": "block", "path": "/boot/grub/custom.cfg"}
    {"id": null, "kind": "armed", "by": "grub", "path": "/boot/grub/grubenv", …}

It describes the disk, and so outlives boots. A block is what stands in somebody else's file between two lines of ours.
What is armed, and files that are there ``once``, are for the next boot alone: see :meth:`Journal.disarm`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any, Dict, List, Optional

from . import kernelarmed
from .kernelstate import HOME, text
from .system import AgentError, Tree, remove_tree, write_durably

BEGIN, END = "# isolbench: begin\n", "# isolbench: end\n"
Entry = Dict[str, Any]
#: A block: it ends before another begins. An editor may have changed how the lines end.
_BLOCK = re.compile(
    r"^# isolbench: begin\r?\n(?:(?!# isolbench: begin\r?\n).*\n)*?# isolbench: end\r?(?:\n|\Z)", re.MULTILINE
)
_STRAY = re.compile(r"^# isolbench: (?:begin|end)\r?(?:\n|\Z)", re.MULTILINE)


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
        """Put back what belongs to one build, or all there is, the newest first. One report an entry, as of an undo.

        What is armed first: where that cannot be taken back nothing else is, since it would be booted without.
        """
        report: List[Dict[str, Any]] = []
        undone: List[Entry] = []
        mine = [entry for entry in reversed(self.entries()) if build is None or entry.get("id") == build]
        for entry in sorted(mine, key=lambda entry: entry.get("kind") != "armed"):
            there = self._there(entry)
            outcome = self.undo(entry)
            if outcome["ok"]:
                undone.append(entry)
            if there or not outcome["ok"]:  # it is written down before it is made: it may never have been
                report.append(outcome)
            if entry.get("kind") == "armed" and not outcome["ok"]:
                break
        self.forget(undone)
        return report

    def disarm(self) -> None:
        """Take back what is for one boot alone. Raises AgentError: a boot might go where nobody wants it."""
        once = [entry for entry in reversed(self.entries()) if entry.get("kind") == "armed" or entry.get("once")]
        for entry in sorted(once, key=lambda entry: entry.get("kind") != "armed"):
            outcome = self.undo(entry)
            if not outcome["ok"]:
                message = f"{outcome['path']}: what was armed cannot be taken back: {outcome['reason']}"
                raise AgentError("environment", "armed", message, "isolbench restore --kernels, before it is rebooted")
        if once:
            self.forget(once)

    def _there(self, entry: Entry) -> bool:
        if entry.get("kind") == "armed":
            return kernelarmed.is_armed(self._tree, entry)
        return os.path.lexists(self._tree.path(str(entry.get("path"))))

    def undo(self, entry: Entry) -> Dict[str, Any]:
        kind, path = str(entry.get("kind")), str(entry.get("path"))
        told: Dict[str, Any] = {"kind": kind, "name": "kernels", "path": path, "before": None, "found": None}
        told.update(ok=True, reason=None)
        undo = {
            "file": self._file, "build": self._build, "link": self._link, "block": self._block, "armed": self._armed,
        }.get(kind)  # fmt: skip
        if undo is None:
            return {**told, "ok": False, "reason": f"a newer agent's entry ({kind[:40]!r}): restore by that one"}
        try:
            undo(path, entry)
        except OSError as error:
            told.update(ok=False, reason=error.strerror or str(error))
        return told

    def _armed(self, _path: str, entry: Entry) -> None:
        kernelarmed.disarm(self._tree, entry)

    def _file(self, path: str, _entry: Entry) -> None:
        real = self._tree.path(path)
        for each in (real, f"{real}.part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
        self._half_written(path)

    def _half_written(self, path: str) -> None:
        """What :func:`write_durably` left beside when the power went."""
        folder, _, name = path.rpartition("/")
        for other in self._tree.names(folder):
            head, _, number = other.rpartition("-")
            if head == f"{name}.tmp" and number.isdigit():
                os.unlink(self._tree.path(f"{folder}/{other}"))

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
        self._half_written(path)

    def set_block(self, path: str, block: str) -> None:
        """``block`` between our two lines, in the place of what stood there; all else of the file byte by byte as it
        was, whatever its encoding and the ends of its lines. Of one of our lines without the other only that goes.
        """
        real = self._tree.path(path)
        before = ""
        if os.path.exists(real):
            with open(real, encoding="utf-8", errors="surrogateescape", newline="") as file:
                before = file.read()
        found = _BLOCK.search(before)
        head, tail = (before[: found.start()], before[found.end() :]) if found else (before, "")
        head, tail = (_STRAY.sub("", _BLOCK.sub("", each)) for each in (head, tail))
        if block and head and not head.endswith("\n"):
            head += "\n"
        after = head + (f"{BEGIN}{block.rstrip()}\n{END}" if block else "") + tail
        if after:
            mode = os.stat(real).st_mode & 0o777 if os.path.exists(real) else 0o644
            write_durably(real, after.encode("utf-8", "surrogateescape"), mode)
        elif os.path.exists(real):
            os.unlink(real)


def make_home(tree: Tree) -> None:
    try:
        os.makedirs(tree.path(HOME), mode=0o755, exist_ok=True)
    except OSError as error:
        advice = "installing kernels needs root (become: sudo)"
        raise AgentError("environment", "no-folder", f"{HOME}: {error.strerror}", advice) from None


def is_id(build: str) -> bool:
    return len(build) == 12 and all(char in "0123456789abcdef" for char in build)
