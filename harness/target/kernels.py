# SPDX-License-Identifier: Apache-2.0
"""From an artefact to a kernel that can be installed: who it is, and its parts in one form, whatever they came in.

A bundle lies in a cache, by the artefact's hash: the image, its configuration, the initial RAM disk, and its modules
and device trees as tar files. What of an artefact is neither is passed over: headers, maps, scripts of a package.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..config.kernels import Artefact
from ..errors import EnvironmentFault, UserError
from .kernelimage import Image, NoKernel, read_image

#: Of identity.json and of how parts are packed: another one is made anew.
SCHEMA = 1
#: More than this in one file is no kernel.
MAX_IMAGE = 512 << 20
_MODULES = ("lib/modules/", "usr/lib/modules/")
#: Where packages have device trees: Debian, tar-pkg, others.
_DTBS = ("usr/lib/linux-image-", "usr/lib/linux-", "boot/dtbs/", "boot/dtb-", "dtbs/")


@dataclass(frozen=True)
class KernelIdentity:
    """Who a kernel is. ``version`` is what ``uname -v`` says; ``sha256`` the artefact's, of all that belongs to it.

    ``build_id`` and ``config_sha256`` are None where they cannot be known; ``notes`` say why.
    """

    name: str
    source: str
    arch: str
    release: str
    version: str
    build_id: str | None
    config_sha256: str | None
    sha256: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class Bundle:
    """``folder`` has ``image``; where there are any, ``config``, ``initrd``, ``modules.tar.gz``, ``dtbs.tar.gz``."""

    identity: KernelIdentity
    folder: Path

    def part(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.exists() else None


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolbench" / "kernels"


def identify(name: str, artefact: Artefact, arch: str, cache: Path | None = None) -> Bundle:
    """The bundle of ``artefact`` for machines of ``arch``; from the cache if it was asked for before.

    Raises :class:`UserError` in one line: what was given is no kernel, or no whole one, or for other machines.
    """
    source = artefact.sources[0]
    where = f"kernel {name}: {getattr(artefact, source)}"
    if source == "installed":
        raise ValueError("an installed kernel has no artefact here")
    cache = cache or cache_folder()
    try:
        digest = _digest(artefact)
        folder = cache / digest
        found = _cached(folder, name)
        if found is None:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as new:
                identity = _unpack(name, artefact, digest, Path(new))
                (Path(new) / "identity.json").write_text(json.dumps({"schema": SCHEMA, **identity.to_json()}))
                _put(Path(new), folder)
            found = Bundle(identity, folder)
    except NoKernel as error:
        raise UserError(f"{where}: {error}") from None
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError) as error:
        raise UserError(f"{where}: cannot be read: {error}") from None
    except OSError as error:
        kind = (
            UserError
            if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
            else EnvironmentFault
        )
        raise kind(f"{where}: {error.strerror or error}{f': {error.filename}' if error.filename else ''}") from None
    if found.identity.arch != arch and not (arch, found.identity.arch) == ("x86_64", "i686"):
        raise UserError(f"{where}: a kernel for {found.identity.arch}, and the target is {arch}")
    return found


def _cached(folder: Path, name: str) -> Bundle | None:
    try:
        known = json.loads((folder / "identity.json").read_text())
        if known.pop("schema") != SCHEMA:
            return None
        known.update(name=name, notes=tuple(known["notes"]))
        return Bundle(KernelIdentity(**known), folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _put(new: Path, folder: Path) -> None:
    """``new`` in the place of ``folder``; what is there is of an older form, or was damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # somebody else put the same there meanwhile
        os.rename(new, folder)
        new.mkdir()  # for its owner to remove


def _digest(artefact: Artefact) -> str:
    """The hash of all that belongs to the artefact; of a single file that file's own."""
    named = {key: value for key in ("deb", "tar") if (value := getattr(artefact, key)) is not None}
    if named:
        return _file_digest(Path(next(iter(named.values()))))
    parts = {}
    for key in ("image", "modules", "dtbs", "initrd", "config"):
        value = getattr(artefact, key)
        if value is not None:
            path = Path(value)
            parts[key] = _folder_digest(path) if path.is_dir() else _file_digest(path)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    listed = [(str(path.relative_to(folder)), _file_digest(path)) for path in names]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


# -- parts of an artefact


@dataclass
class _Parts:
    """Where what is found goes: small things are kept, modules and device trees packed at once."""

    folder: Path
    image: Image | None = None
    image_name: str = ""
    config: bytes | None = None
    releases: set[str] | None = None

    def take_image(self, data: bytes, name: str) -> None:
        self.image, self.image_name = read_image(data), name
        (self.folder / "image").write_bytes(data)


def _unpack(name: str, artefact: Artefact, digest: str, folder: Path) -> KernelIdentity:
    parts = _Parts(folder)
    if artefact.image is not None:
        parts.take_image(_read(Path(artefact.image)), Path(artefact.image).name)
        if artefact.config is not None:
            parts.config = _read(Path(artefact.config))
        if artefact.initrd is not None:
            (folder / "initrd").write_bytes(_read(Path(artefact.initrd)))
        if artefact.modules is not None:
            parts.releases = set()
            _sort(_entries(Path(artefact.modules)), parts)
            if not parts.releases:
                raise NoKernel(f"no lib/modules/RELEASE in {Path(artefact.modules).name}")
        if artefact.dtbs is not None:
            _pack_dtbs(Path(artefact.dtbs), folder / "dtbs.tar.gz")
    elif artefact.deb is not None:
        with _deb_data(Path(artefact.deb)) as archive:
            _sort(_members(archive), parts)
    else:
        assert artefact.tar is not None
        _sort(_entries(Path(artefact.tar)), parts)
    image = parts.image
    if image is None:
        raise NoKernel("no boot/vmlinuz-… in it: is it the package of an image?")
    if parts.releases and parts.releases != {image.release}:
        raise NoKernel(f"the image is {image.release}, the modules are of {', '.join(sorted(parts.releases))}")
    config = parts.config if parts.config is not None else image.config
    if config is not None:
        (folder / "config").write_bytes(config)
    notes = [] if image.note is None else [image.note]
    if not parts.releases:
        notes.append("no modules: all that it needs has to be built in")
    return KernelIdentity(
        name=name,
        source=artefact.sources[0],
        arch=image.arch,
        release=image.release,
        version=image.version,
        build_id=image.build_id,
        config_sha256=None if config is None else hashlib.sha256(config).hexdigest(),
        sha256=digest,
        notes=tuple(notes),
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_IMAGE + 1)
    if len(data) > MAX_IMAGE:
        raise NoKernel(f"{path.name}: larger than {MAX_IMAGE >> 20} MiB")
    return data


#: A file in an archive or a folder: its path without a leading ./, its size, and how to read it.
_Entry = tuple[str, int, Callable[[], IO[bytes]]]


def _sort(entries: Iterator[_Entry], parts: _Parts) -> None:
    """What is an image, a configuration, a module or a device tree, to its place."""
    with _packed(parts.folder / "modules.tar.gz") as modules, _packed(parts.folder / "dtbs.tar.gz") as dtbs:
        for path, size, read in entries:
            base = path.rpartition("/")[2]
            tree = next((path[len(each) :] for each in _MODULES if path.startswith(each)), None)
            if tree is not None and "/" in tree:
                release = tree.partition("/")[0]
                parts.releases = (parts.releases or set()) | {release}
                modules(f"{tree}", size, read)
            elif path.endswith(".dtb") and any(path.startswith(each) for each in _DTBS):
                inner = path.removeprefix("boot/").removeprefix("usr/lib/")
                dtbs(inner.partition("/")[2], size, read)
            elif path.startswith("boot/") and base.startswith(("vmlinuz", "Image", "bzImage", "zImage")):
                if parts.image is not None:
                    raise NoKernel(f"more than one image in it: {parts.image_name}, {base}")
                parts.take_image(_taken(read, size), base)
            elif path.startswith("boot/config"):
                parts.config = _taken(read, size)


def _taken(read: Callable[[], IO[bytes]], size: int) -> bytes:
    if size > MAX_IMAGE:
        raise NoKernel(f"larger than {MAX_IMAGE >> 20} MiB")
    with read() as file:
        return file.read()


@contextmanager
def _packed(path: Path) -> Iterator[Callable[[str, int, Callable[[], IO[bytes]]], None]]:
    """A tar file at ``path``, the same bytes for the same contents; none if nothing was put in."""
    opened: list[tarfile.TarFile] = []
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as zipped:

        def put(name: str, size: int, read: Callable[[], IO[bytes]]) -> None:
            if not opened:
                opened.append(tarfile.TarFile(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT))
            if name.startswith("/") or ".." in name.split("/"):
                raise NoKernel(f"a path that leads out of it: {name!r}")
            info = tarfile.TarInfo(name)
            info.size, info.mode = size, 0o644
            with read() as file:
                opened[0].addfile(info, file)

        yield put
        if opened:
            opened[0].close()
    if not opened:
        path.unlink()


def _pack_dtbs(folder: Path, path: Path) -> None:
    with _packed(path) as put:
        for each in sorted(folder.rglob("*.dtb")):
            put(str(each.relative_to(folder)), each.stat().st_size, _opener(each))
    if not path.exists():
        raise NoKernel(f"no .dtb in {folder.name}")


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _entries(path: Path) -> Iterator[_Entry]:
    """The files of a folder or of a tar file; a folder may be ``lib/modules`` itself, or what is above or below it."""
    if path.is_dir():
        yield from _folder_entries(path)
        return
    with path.open("rb") as file, _decompressed(file, path.name) as plain, _tar(plain, path.name) as archive:
        yield from _members(archive)


def _folder_entries(folder: Path) -> Iterator[_Entry]:
    below = folder / "lib" / "modules"
    if below.is_dir():
        root, prefix = below, "lib/modules/"
    elif (folder / "modules.order").exists() or (folder / "modules.dep").exists():
        root, prefix = folder, f"lib/modules/{folder.name}/"
    elif any((each / "modules.dep").exists() or (each / "kernel").is_dir() for each in folder.iterdir()):
        root, prefix = folder, "lib/modules/"
    else:
        return
    for each in sorted(root.rglob("*")):
        if each.is_file() and not each.is_symlink():
            yield f"{prefix}{each.relative_to(root)}", each.stat().st_size, _opener(each)


def _members(archive: tarfile.TarFile) -> Iterator[_Entry]:
    """The regular files, one by one: it is a stream. Links (``build``, ``source``) lead nowhere on a target."""

    def reader(member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def read() -> IO[bytes]:
            file = archive.extractfile(member)
            assert file is not None
            return file

        return read

    for member in archive:
        if member.isreg():
            yield member.name.removeprefix("./").lstrip("/"), member.size, reader(member)


@contextmanager
def _deb_data(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive of files in a Debian package, itself an ``ar`` archive."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise NoKernel("not a Debian package")
        while len(head := file.read(60)) == 60:
            name, size = head[:16].decode("ascii", "replace").strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar"):
                with _decompressed(io.BytesIO(file.read(size)), name) as plain, _tar(plain, name) as archive:
                    yield archive
                return
            file.seek(size + size % 2, os.SEEK_CUR)
    raise NoKernel("a Debian package without files")


@contextmanager
def _tar(plain: IO[bytes], name: str) -> Iterator[tarfile.TarFile]:
    try:
        archive = tarfile.open(fileobj=plain, mode="r|*" if not name.endswith(".zst") else "r|")  # noqa: SIM115 (below)
    except tarfile.TarError as error:
        raise NoKernel(f"{name} is no tar file: {error}") from None
    with archive:
        yield archive


@contextmanager
def _decompressed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Of zstd, which Python 3.11 does not know, by its program; the others tarfile reads itself."""
    if not name.endswith(".zst"):
        yield file
        return
    with tempfile.TemporaryFile() as packed, tempfile.TemporaryFile() as plain:
        shutil.copyfileobj(file, packed)
        packed.seek(0)
        try:
            done = subprocess.run(["zstd", "-dcq"], stdin=packed, stdout=plain, stderr=subprocess.PIPE, check=False)
        except FileNotFoundError:
            raise EnvironmentFault(f"{name} needs zstd, which is not installed here", advice="install zstd") from None
        if done.returncode:
            raise NoKernel(f"{name}: {done.stderr.decode('utf-8', 'replace').strip()[:200]}")
        plain.seek(0)
        yield plain
