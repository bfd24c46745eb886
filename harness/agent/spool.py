# SPDX-License-Identifier: Apache-2.0
"""Finished runs that the controller has not acknowledged yet: ``spool/<execution>/<entry>/``, complete or not there.

An entry's name is the run's; a later attempt replaces an earlier one, which the controller has fetched before it
submits the later. It is filled as ``tmp-<entry>``, its MANIFEST names each file's size and SHA-256, everything is
synced, then it is renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Iterator

from .spec import SpecError, safe_name
from .system import AgentError, remove_tree, sync_folder

#: Less free space than this where the spool is, and a run is not even begun.
MIN_FREE_BYTES = 1 << 20
_PARTIAL = "tmp-"
_MANIFEST = "MANIFEST"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Entry:
    """One finished run: ``files`` are ``{name, size, sha256}``, ``record.json`` first."""

    execution: str
    run: str
    files: list[dict[str, Any]]
    status: str
    attempt: int

    @property
    def sha256(self) -> str:
        """Of record.json."""
        return str(self.files[0]["sha256"])


def storage_full(error: OSError, what: str) -> AgentError:
    """The error that a full disk is on the wire; any other OSError is the environment's too, with its own text."""
    if error.errno in _FULL:
        return AgentError(
            "infrastructure", "storage-full", f"{what}: no space left on the target", "free space there, then resume"
        )
    return AgentError("environment", "spool", f"{what}: {error.strerror or error}")


def nearly_full(folder: str) -> AgentError | None:
    """The error to give where too little is free for a run to be kept."""
    info = os.statvfs(folder)
    if info.f_bavail * info.f_frsize >= MIN_FREE_BYTES:
        return None
    return AgentError(
        "infrastructure",
        "storage-full",
        f"less than {MIN_FREE_BYTES >> 20} MiB free in {folder}",
        "free space there, then resume",
    )


class Spool:
    def __init__(self, state: str) -> None:
        self.folder = os.path.join(state, "spool")

    def _path(self, execution: str, entry: str) -> str:
        return os.path.join(self.folder, safe_name(execution, "execution"), safe_name(entry, "run"))

    def begin(self, execution: str, entry: str) -> str:
        """An empty folder to fill; what an earlier, interrupted attempt left there is removed."""
        final = self._path(execution, entry)
        partial = os.path.join(os.path.dirname(final), _PARTIAL + entry)
        try:
            remove_tree(partial)
            os.makedirs(partial, mode=0o700)
        except OSError as error:
            raise storage_full(error, "spool") from None
        return partial

    def describe(self, execution: str, entry: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
        """Write ``files`` into the folder of :meth:`begin`, and ``{name, size, sha256}`` of all that is there."""
        partial = os.path.join(os.path.dirname(self._path(execution, entry)), _PARTIAL + entry)
        try:
            for name, data in files.items():
                _write(os.path.join(partial, name), data)
            return [_listed(partial, name) for name in sorted(os.listdir(partial))]
        except OSError as error:
            remove_tree(partial)
            raise storage_full(error, f"run {entry}") from None

    def finish(self, execution: str, entry: str, files: dict[str, bytes]) -> Entry:
        """Add ``files`` to the folder of :meth:`begin`, seal it and make it visible.

        Raises :class:`AgentError`, of kind ``storage-full`` where that is so; the folder is removed then.
        """
        final = self._path(execution, entry)
        partial = os.path.join(os.path.dirname(final), _PARTIAL + entry)
        try:
            for name, data in files.items():
                _write(os.path.join(partial, name), data)
            names = sorted(os.listdir(partial), key=lambda name: (name != "record.json", name))
            listed = [_listed(partial, name) for name in names]
            _write(os.path.join(partial, _MANIFEST), json.dumps({"files": listed}).encode())
            # Now, rather than by the kernel during the next measurement.
            for name in [*names, _MANIFEST]:
                _sync(os.path.join(partial, name))
            remove_tree(final)
            os.rename(partial, final)
            sync_folder(os.path.dirname(final))
        except OSError as error:
            remove_tree(partial)
            raise storage_full(error, f"run {entry}") from None
        found = self.get(execution, entry)
        if found is None:
            raise AgentError("bug", "spool", f"run {entry} cannot be read back from the spool")
        return found

    def abandon(self, execution: str, entry: str) -> None:
        final = self._path(execution, entry)
        remove_tree(os.path.join(os.path.dirname(final), _PARTIAL + entry))

    def get(self, execution: str, entry: str) -> Entry | None:
        """What the MANIFEST says (nothing is verified), or None when there is no readable entry of that name."""
        path = self._path(execution, entry)
        try:
            with open(os.path.join(path, _MANIFEST), "rb") as file:
                files = json.load(file)["files"]
            with open(os.path.join(path, "record.json"), "rb") as file:
                record = json.load(file)
            attempt = int(record["spec"]["attempt"])
            listed = [{key: each[key] for key in ("name", "size", "sha256")} for each in files]
            if not listed or listed[0]["name"] != "record.json":
                return None
            return Entry(execution, entry, listed, str(record["status"]), attempt)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def list(self, execution: str) -> list[Entry]:
        """The entries that can be read."""
        return [entry for _, entry in self._entries(execution) if entry is not None]

    def damaged(self, execution: str) -> tuple[str, ...]:
        """The names of the others: the disk lost something. Not verified byte by byte: :meth:`read` does that."""
        return tuple(name for name, entry in self._entries(execution) if entry is None)

    def _entries(self, execution: str) -> Iterator[tuple[str, Entry | None]]:
        try:
            names = sorted(os.listdir(os.path.join(self.folder, safe_name(execution, "execution"))))
        except OSError:
            return
        for name in names:
            if name.startswith(_PARTIAL):
                continue
            try:
                yield name, self.get(execution, name)
            except SpecError:
                continue  # not ours

    def read(self, execution: str, run: str) -> tuple[Entry, bytes]:
        """An entry with all its bytes, in the order of ``files``, each checked against the MANIFEST.

        Raises :class:`AgentError` of kind ``missing`` or ``corrupt``.
        """
        entry = self.get(execution, run)
        if entry is None:
            there = os.path.isdir(self._path(execution, run))
            kind, text = ("corrupt", "its MANIFEST or record is damaged") if there else ("missing", "not in the spool")
            raise AgentError("infrastructure", kind, f"run {run}: {text}", "acknowledge it to drop it, then resume")
        parts = []
        for listed in entry.files:
            try:
                with open(os.path.join(self._path(execution, run), safe_name(listed["name"], "file")), "rb") as file:
                    data = file.read()
            except (OSError, SpecError):
                data = b""
            if len(data) != listed["size"] or hashlib.sha256(data).hexdigest() != listed["sha256"]:
                raise AgentError(
                    "infrastructure",
                    "corrupt",
                    f"run {run}: {listed['name']} is not what was written",
                    "the target's disk may be failing; acknowledge it to drop it, then resume",
                )
            parts.append(data)
        return entry, b"".join(parts)

    def ack(self, execution: str, run: str) -> None:
        """The controller has it: delete it. Acknowledging twice is no error."""
        path = self._path(execution, run)
        parent = os.path.dirname(path)
        doomed = os.path.join(parent, f"{_PARTIAL}{os.path.basename(path)}")
        try:
            remove_tree(doomed)
            os.rename(path, doomed)  # never half an entry under its own name
        except OSError:
            return
        remove_tree(doomed)
        try:
            os.rmdir(parent)
        except OSError:
            return  # others are still there


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _listed(folder: str, name: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = 0
    with open(os.path.join(folder, safe_name(name, "file")), "rb") as file:
        while True:
            part = file.read(1 << 20)
            if not part:
                break
            digest.update(part)
            size += len(part)
    return {"name": name, "size": size, "sha256": digest.hexdigest()}
