# SPDX-License-Identifier: Apache-2.0
"""cpio archives in the newc format, which is what kernels unpack as their first root. Pure: the same in, the same out.

Everything in them is root's and has no time, so that whoever packs needs no privilege and two builds are equal.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

from .recipes import File

_DEVICES = {"dev/console": (5, 1)}  # the kernel opens it for init, before init can mount anything


def pack(files: Mapping[str, File]) -> bytes:
    """An archive of ``files`` by path, without a leading slash; the folders above them are added."""
    entries: dict[str, File] = dict(files)
    for path in [*files, *_DEVICES]:
        while "/" in path:
            path = path.rpartition("/")[0]
            entries.setdefault(path, File(0o755))
    out = bytearray()
    inode = 0
    for path in sorted([*entries, *_DEVICES]):
        inode += 1
        if path in _DEVICES:
            _entry(out, path, inode, stat.S_IFCHR | 0o600, b"", _DEVICES[path])
            continue
        file = entries[path]
        if file.link is not None:
            _entry(out, path, inode, stat.S_IFLNK | 0o777, file.link.encode())
        elif file.data is None:
            _entry(out, path, inode, stat.S_IFDIR | file.mode, b"")
        else:
            _entry(out, path, inode, stat.S_IFREG | file.mode, file.data)
    _entry(out, "TRAILER!!!", 0, 0, b"")
    return bytes(out)


def _entry(out: bytearray, name: str, inode: int, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    out += bytes(-len(out) % 4)
    out += data
    out += bytes(-len(out) % 4)
