# SPDX-License-Identifier: Apache-2.0
"""What was changed on this machine and must be put back: written down, and on the disk, before it is changed.

``undo.jsonl`` in the runtime folder holds one entry a line::

    {"boot_id": …, "kind": "file", "name": knob, "path": …, "before": text as read, "vanishes": bool, "write": text}
    {"boot_id": …, "kind": "unit", "name": knob, "unit": "irqbalance.service", "before": "active" or "activating"}
    {"boot_id": …, "kind": "partition", "name": "partition", "path": …, "cpus": "2", "enabled": bool, "home": …,
     "tasks": {"0-2": [[tid, start], …]}}
    {"boot_id": …, "kind": "processes", "marker": …}

``write`` is there where a file does not take what it says: of ``always [madvise] never`` the word alone.

A torn last line describes a change that was never made. Entries of another boot are dropped: what they describe is
gone. One that cannot be played back stays, and is reported each time; so does one of a kind that only a newer agent
knows.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from . import partition
from .processes import kill_marked, marked
from .services import play_unit
from .system import Tree, errno_name, write_durably


class Undo:
    """The journal in ``folder``. ``tree`` is where the files of the entries live."""

    def __init__(self, folder: str, tree: Tree | None = None) -> None:
        self.path = os.path.join(folder, "undo.jsonl")
        self._tree = tree or Tree()
        self._boot_id = self._tree.read("/proc/sys/kernel/random/boot_id")

    def record(self, entries: list[dict[str, Any]]) -> None:
        """Append, and have it on the disk. Raises OSError: then nothing may be changed."""
        if not entries:
            return
        # A newline first: an earlier, torn line must not swallow this one.
        lines = "".join("\n" + json.dumps({"boot_id": self._boot_id, **entry}) for entry in entries).encode() + b"\n"
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)

    def entries(self) -> list[dict[str, Any]]:
        """All readable entries of this boot, oldest first."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read().split(b"\n")
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("boot_id") == self._boot_id:
                found.append(entry)
        return found

    @property
    def empty(self) -> bool:
        return not self.entries()

    def play(self, *, spare: frozenset[int] = frozenset(), only: frozenset[str] | None = None) -> list[dict[str, Any]]:
        """Put everything back: processes first, then the rest, the newest first, each verified by reading it back.

        Returns a report, one dict an entry: ``{kind, name, path, before, found, ok, reason}``; ``found`` is what was
        there just now. ``only`` are names of knobs: all else is left as it is (between the segments of a batch).
        """
        entries = self.entries()
        chosen = [index for index, entry in enumerate(entries) if only is None or entry.get("name") in only]
        processes = [index for index in chosen if entries[index].get("kind") == "processes"]
        others = [index for index in reversed(chosen) if entries[index].get("kind") != "processes"]
        report, done = [], set()
        for index in processes + others:
            outcome = self._play_one(entries[index], spare)
            report.append(outcome)
            if outcome["ok"]:
                done.add(index)
        self._rewrite([entry for index, entry in enumerate(entries) if index not in done])
        return report

    def _play_one(self, entry: dict[str, Any], spare: frozenset[int]) -> dict[str, Any]:
        kind = entry.get("kind")
        if kind == "processes":
            return self._play_processes(entry, spare)
        if kind == "file":
            return self._play_file(entry)
        if kind == "unit":
            return play_unit(entry, self._tree)
        if kind == "partition":
            return partition.play(entry, self._tree)
        told = {"kind": kind, "name": entry.get("name"), "path": None, "before": entry.get("before"), "found": None}
        return {**told, "ok": False, "reason": f"a newer agent's entry ({str(kind)[:40]!r}): restore by that one"}

    def _play_processes(self, entry: dict[str, Any], spare: frozenset[int]) -> dict[str, Any]:
        marker = str(entry.get("marker"))
        spare = spare | {os.getpid()}
        killed = kill_marked(marker, spare=spare, tree=self._tree)
        left = marked(self._tree, marker, spare=spare)
        return {
            "kind": "processes",
            "name": "processes",
            "killed": [pid for pid in killed if pid not in left],
            "ok": not left,
            "reason": f"still there after SIGKILL: {', '.join(map(str, left))}" if left else None,
        }

    def _play_file(self, entry: dict[str, Any]) -> dict[str, Any]:
        path, before = str(entry.get("path")), str(entry.get("before"))
        found = self._tree.read(path)
        outcome = {
            "kind": "file",
            "name": entry.get("name"),
            "path": path,
            "before": before,
            "found": found,
            "ok": True,
            "reason": None,
        }
        if found is None:
            if not (entry.get("vanishes") and not self._tree.exists(path)):
                outcome.update(ok=False, reason="cannot be read any more")
            else:
                outcome["reason"] = "gone"
        elif found != before:
            number = self._tree.write(path, str(entry.get("write", before)) or "\n")  # an empty list is a line too
            now = self._tree.read(path)
            if now != before:
                why = errno_name(number) if number else f"reads {now!r} after it was written"
                outcome.update(ok=False, reason=why)
        return outcome

    def _rewrite(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            write_durably(self.path, "".join(json.dumps(entry) + "\n" for entry in entries).encode())
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def file_entry(
    name: str, path: str, before: str, *, write: str | None = None, vanishes: bool = False
) -> dict[str, Any]:
    """An entry for :meth:`Undo.record`. ``write`` puts ``before`` back, where that is not the same text.

    ``vanishes``: the file may go in the meantime, with what it set (an IRQ's).
    """
    entry = {"kind": "file", "name": name, "path": path, "before": before, "vanishes": vanishes}
    return entry if write is None or write == before else {**entry, "write": write}
