# SPDX-License-Identifier: Apache-2.0
"""Uploaded probes, by content: ``<deploy>/blobs/<sha256>/<name>``. Verified on arrival and before their first use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import Iterable

from .spec import SpecError, safe_name
from .spool import storage_full
from .system import AgentError, remove_tree, write_durably

KEEP_UNUSED = 8
_HASH = re.compile(r"[0-9a-f]{64}")


class Blobs:
    def __init__(self, deploy: str) -> None:
        self._folder = os.path.join(deploy, "blobs")

    def find(self, sha256: str) -> str | None:
        """The path of the file with this content, unverified, or None."""
        if not _HASH.fullmatch(sha256):
            raise SpecError(f"not a SHA-256: {sha256[:80]!r}")
        folder = os.path.join(self._folder, sha256)
        try:
            names = [name for name in os.listdir(folder) if ".tmp-" not in name]
        except OSError:
            return None
        return os.path.join(folder, sorted(names)[0]) if names else None

    def put(self, name: str, sha256: str, data: bytes) -> None:
        """Store an executable. :class:`AgentError` of kind ``corrupt`` when it is not what its hash says."""
        safe_name(name, "blob")
        self.find(sha256)  # raises on what is no hash
        if hashlib.sha256(data).hexdigest() != sha256:
            raise AgentError("infrastructure", "corrupt", f"{name} was damaged on its way here")
        folder = os.path.join(self._folder, sha256)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            write_durably(os.path.join(folder, name), data, mode=0o700)
        except OSError as error:
            raise storage_full(error, f"probe {name}") from None
        self._mark_used(sha256)

    def verified(self, sha256: str) -> str:
        """The path, after reading the file again; a damaged one is removed so that it is uploaded anew."""
        path = self.find(sha256)
        if path is None:
            raise AgentError("infrastructure", "missing-blob", f"the probe {sha256[:12]} was not uploaded")
        try:
            with open(path, "rb") as file:
                good = hashlib.sha256(file.read()).hexdigest() == sha256
        except OSError:
            good = False
        if not good:
            remove_tree(os.path.dirname(path))
            raise AgentError("infrastructure", "corrupt", f"the probe {sha256[:12]} was damaged on the target's disk")
        self._mark_used(sha256)
        return path

    def prune(self, used: Iterable[str]) -> None:
        """Remove all but those used last. Those of the current batch are kept in any case."""
        keep = set(used)
        unused = [path for path in self._by_use() if os.path.basename(path) not in keep]
        for path in unused[: max(0, len(unused) - KEEP_UNUSED)]:
            remove_tree(path)

    def _by_use(self) -> list[str]:
        """The folders of all blobs, the one used last at the end."""
        try:
            paths = [os.path.join(self._folder, name) for name in os.listdir(self._folder)]
            return sorted(paths, key=lambda path: (os.stat(path).st_mtime, path))
        except OSError:
            return []

    def _mark_used(self, sha256: str) -> None:
        """Count, in the place of modification times: by a clock that jumps, the newest could look the oldest."""
        paths = sorted(self._by_use(), key=lambda path: os.path.basename(path) == sha256)
        for number, path in enumerate(paths, 1):
            with contextlib.suppress(OSError):
                os.utime(path, (number, number))
