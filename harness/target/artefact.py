# SPDX-License-Identifier: Apache-2.0
"""The files of an artefact: of a Debian package, a tar file or a folder, one by one as they come. Nothing is unpacked.

Only plain files are seen. Links (``build``, ``source``), devices and whatever leads out of the archive are no part of a
kernel.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..config.kernels import Artefact
from ..errors import EnvironmentFault
from ..lab.kernelimage import NoKernel

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

#: More than this in one file is no kernel.
MAX_IMAGE = 512 << 20
_BLOCK = 1 << 20
_END = 1024
_ZSTD = b"\x28\xb5\x2f\xfd"
#: A kernel's image as packages and ``make tar-pkg`` call it. ``vmlinux`` beside it is for debuggers.
_IMAGES = ("vmlinuz", "Image", "bzImage", "zImage")


@dataclass(frozen=True)
class Entry:
    """A file: its path, without a leading ``/`` or ``./``; its size; ``open`` reads it, before the next entry comes."""

    path: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_image(self) -> bool:
        return self.path.startswith("boot/") and self.name.startswith(_IMAGES)

    def read(self) -> bytes:
        """All of a file that is kept in memory."""
        if self.size > MAX_IMAGE:
            raise NoKernel(f"{self.name}: larger than {MAX_IMAGE >> 20} MiB")
        with self.open() as file:
            return file.read()


@contextmanager
def package(artefact: Artefact) -> Iterator[Iterator[Entry]]:
    """The files of a ``deb`` or a ``tar``."""
    if artefact.deb is not None:
        with _deb_data(Path(artefact.deb)) as found:
            yield found
        return
    assert artefact.tar is not None
    with entries(Path(artefact.tar)) as found:
        yield found


@contextmanager
def entries(path: Path) -> Iterator[Iterator[Entry]]:
    """The files of a folder of modules, or of a tar file."""
    if path.is_dir():
        yield _folder_entries(path)
        return
    with path.open("rb") as file, _tar(file, path.name) as found:
        yield found


def read_file(path: Path) -> bytes:
    return Entry(path.name, path.stat().st_size, opener(path)).read()


def opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _folder_entries(folder: Path) -> Iterator[Entry]:
    """A folder may be ``lib/modules`` itself, or what is above or below it."""
    below = next((each for each in (folder / "lib/modules", folder / "usr/lib/modules") if each.is_dir()), None)
    if below is not None:
        root, prefix = below, "lib/modules/"
    elif (folder / "modules.order").exists() or (folder / "modules.dep").exists():
        root, prefix = folder, f"lib/modules/{folder.name}/"
    elif any((each / "modules.dep").exists() or (each / "kernel").is_dir() for each in folder.iterdir()):
        root, prefix = folder, "lib/modules/"
    else:
        return
    for each in sorted(root.rglob("*")):
        if each.is_file() and not each.is_symlink():
            yield Entry(f"{prefix}{each.relative_to(root)}", each.stat().st_size, opener(each))


def _members(archive: tarfile.TarFile, plain: _Plain) -> Iterator[Entry]:
    """Whoever comes to the end has had all of them: what was cut off on its way here is no archive."""

    def reader(member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def read() -> IO[bytes]:
            file = archive.extractfile(member)
            assert file is not None
            return file

        return read

    for member in archive:
        if member.isreg():
            yield Entry(member.name.removeprefix("./").lstrip("/"), member.size, reader(member))
    plain.check()


@contextmanager
def _deb_data(path: Path) -> Iterator[Iterator[Entry]]:
    """The archive of files in a Debian package, itself an ``ar`` archive (deb(5))."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise NoKernel("not a Debian package")
        while len(head := file.read(60)) == 60:
            name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar"):
                with _tar(io.BufferedReader(_Part(file, size), _BLOCK), name) as found:
                    yield found
                return
            file.seek(size + size % 2, os.SEEK_CUR)
    raise NoKernel("a Debian package without files")


class _Part(io.RawIOBase):
    """The next ``size`` bytes of a file; EOFError if it ends before."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._file.read(min(len(view), self._left))
        if not data and self._left:
            raise EOFError(f"{self._left} bytes of it are missing")
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)


class _Plain:
    """What a tar file has when it is unpacked, for tarfile, which takes whatever ends for the end of the archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._last = (self._last + data[-_END:])[-_END:]
        return data

    def check(self) -> None:
        """EOFError unless it ends as archives do, with two blocks of zeros."""
        while self.read(_BLOCK):
            pass
        if self._last != bytes(_END):
            raise EOFError("it ends in the middle")


@contextmanager
def _tar(file: io.BufferedReader, name: str) -> Iterator[Iterator[Entry]]:
    """As a stream."""
    with _unpacked(file, name) as unpacked:
        plain = _Plain(unpacked)
        try:
            archive = tarfile.open(fileobj=plain, mode="r|", bufsize=_BLOCK)  # type: ignore[call-overload]  # noqa: SIM115
        except tarfile.TarError as error:
            raise NoKernel(f"{name} is no tar file: {error}") from None
        with archive:
            yield _members(archive, plain)


@contextmanager
def _unpacked(file: io.BufferedReader, name: str) -> Iterator[IO[bytes]]:
    """By what it begins with. zstd, which Python 3.11 does not know, is its program's."""
    head = file.peek(6)[:6]
    if head.startswith(_ZSTD):
        with _unzstd(file, name) as plain:
            yield plain
        return
    opening: dict[bytes, Callable[[IO[bytes]], Any]] = {
        b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
        b"\xfd7zXZ\0": lzma.LZMAFile,
        b"\x5d\0\0": lzma.LZMAFile,
        b"BZh": bz2.BZ2File,
    }
    opened = next((each for magic, each in opening.items() if head.startswith(magic)), None)
    if opened is None:
        yield file
        return
    with opened(file) as plain:
        yield plain


@contextmanager
def _unzstd(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    try:
        process = subprocess.Popen(
            ["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise EnvironmentFault(f"{name} needs zstd, which is not installed here", advice="install zstd") from None
    assert process.stdin is not None
    assert process.stdout is not None
    feeder = threading.Thread(target=_feed, args=(file, process.stdin), daemon=True)
    feeder.start()
    try:
        yield process.stdout
    finally:
        process.kill()  # whoever looks for the image alone does not read to the end
        feeder.join()
        process.stdout.close()
        process.wait()


def _feed(file: IO[bytes], to: IO[bytes]) -> None:
    with suppress(BrokenPipeError, EOFError):  # of either, what comes out is no whole archive
        while data := file.read(_BLOCK):
            to.write(data)
    with suppress(BrokenPipeError):
        to.close()
