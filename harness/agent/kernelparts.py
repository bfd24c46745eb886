# SPDX-License-Identifier: Apache-2.0
"""Parts of a kernel as they come from the controller: to a file, or unpacked as they come; whole or not at all.

An archive is never on the disk: it would take room and time twice. Its bytes are read in blocks, and what they unpack
to is written in blocks: neither side keeps one in memory.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from .system import AgentError, remove_tree

#: Archives, unpacked into a folder of that name; all others are files.
ARCHIVES = {"modules.tar.gz": "modules", "dtbs.tar.gz": "dtbs"}
FILES = ("image", "initrd", "config")
_BLOCK = 1 << 18


class Incoming:
    """The next ``size`` bytes of ``data``, for whoever reads a file. What came is counted and hashed."""

    def __init__(self, data: Any, size: int) -> None:
        self.left = size
        self._size = size
        self._data = data
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        block: bytes = self._data.read(wanted) if wanted else b""
        self._hash.update(block)
        self.left -= len(block)
        return block

    def check(self, sha256: str, what: str) -> None:
        """Raise AgentError unless all of it came, as it was sent."""
        while self.left and self.read(_BLOCK):
            pass
        if self.left:
            raise _corrupt(f"{self.left} of {self._size} bytes of {what} did not come")
        if self._hash.hexdigest() != sha256:
            raise _corrupt(f"{what} came damaged")


def _corrupt(message: str) -> AgentError:
    return AgentError("infrastructure", "corrupt", message)


def place_of(part: str) -> str:
    """The name under which ``part`` lies in its build's folder."""
    return ARCHIVES.get(part, part)


def receive(folder: str, part: str, data: Any, size: int, sha256: str) -> None:
    """Keep ``size`` bytes that ``data`` reads as ``part`` below ``folder``."""
    incoming = Incoming(data, size)
    aside = os.path.join(folder, f".{part}")
    remove_tree(aside)
    if part in ARCHIVES:
        unpack(incoming, aside, part)
    else:
        with open(aside, "wb") as file:
            for block in iter(lambda: incoming.read(_BLOCK), b""):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    incoming.check(sha256, part)
    place = os.path.join(folder, place_of(part))
    remove_tree(place)
    os.rename(aside, place)


def unpack(incoming: Any, to: str, what: str) -> None:
    """Plain files alone, and none outside of ``to``: whoever made the archive is not to be believed."""
    import tarfile  # a package of its own on small systems, and nothing else needs it

    os.mkdir(to, 0o755)
    try:
        with tarfile.open(fileobj=incoming, mode="r|gz", bufsize=_BLOCK) as archive:
            for member in archive:
                parts = member.name.split("/")
                if not member.isreg() or member.name.startswith("/") or ".." in parts:
                    raise _corrupt(f"{what}: not a plain file: {member.name}")
                path = os.path.join(to, *parts)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with source, open(path, "wb") as file:
                    copy_bytes(source, file)
    except (tarfile.TarError, EOFError) as error:
        incoming.check("", what)  # which says so, if it broke off
        raise _corrupt(f"{what}: {error}") from None


def copy_bytes(source: Any, file: Any) -> None:
    for block in iter(lambda: source.read(_BLOCK), b""):
        file.write(block)
