# SPDX-License-Identifier: Apache-2.0
"""From an artefact to a kernel that can be installed: who it is, and its parts in one form, whatever they came in.

A bundle lies in a cache, by the artefact's hash: the image, its configuration, the initial RAM disk, and its modules
and device trees as tar files. What of an artefact is neither is passed over: headers, maps, scripts of a package.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config.kernels import Artefact
from ..errors import EnvironmentFault, UserError
from ..lab.kernelimage import Image, NoKernel, read_image
from . import artefact as artefacts
from .packing import NO_IMAGE, Packed, files_in, pack

#: Of identity.json and of how parts are packed: another one is made anew. History: 1; 2 has each part's size and hash.
SCHEMA = 2
#: Bundles that are kept, of those used last: a build a night would fill a disk.
KEEP = 8
#: So many of ours lie on a target at once: see harness/agent/kernels/store.py.
MOST = 2
#: One artefact is unpacked at a time, and by one of all the lanes that want it.
_UNPACKING = threading.Lock()


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
class Part:
    """A file of a bundle. ``unpacked`` is what it takes on a target, in bytes; of a single file its own size."""

    size: int
    sha256: str
    unpacked: int


@dataclass(frozen=True)
class Bundle:
    """``parts``: ``image``; where there are any, ``config``, ``initrd``, ``modules.tar.gz``, ``dtbs.tar.gz``."""

    identity: KernelIdentity
    folder: Path
    parts: Mapping[str, Part] = field(default_factory=dict)

    def part(self, name: str) -> Path | None:
        return self.folder / name if name in self.parts else None

    @property
    def build(self) -> str:
        """By which it is known on a target."""
        return self.identity.sha256[:12]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts.values())


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolbench" / "kernels"


@dataclass(frozen=True)
class Look:
    """What a glance at an artefact shows: its image, its hash, and its size in bytes."""

    image: Image
    sha256: str
    size: int


def look(name: str, artefact: Artefact, arch: str | None = None) -> Look:
    """The image of ``artefact`` alone, as far as it has to be read for that; the hash of all of it.

    Raises as :func:`identify`; for whatever architecture without an ``arch``.
    """
    with _blaming(name, artefact):
        found = Look(_image(artefact), digest(artefact), _size(artefact))
    _check_arch(name, artefact, found.image.arch, arch)
    return found


def identify(
    name: str, artefact: Artefact, arch: str, cache: Path | None = None, unpacking: Callable[[], object] = lambda: None
) -> Bundle:
    """The bundle of ``artefact`` for machines of ``arch``; from the cache if it was asked for before.

    ``unpacking`` is told if it was not: that takes some ten seconds. Raises :class:`UserError` in one line: what was
    given is no kernel, or no whole one, or for other machines.
    """
    cache = cache or cache_folder()
    with _blaming(name, artefact):
        sha256 = digest(artefact)
        with _UNPACKING:
            found = _cached(cache / sha256, name)
            if found is None:
                unpacking()
                found = _made(name, artefact, sha256, cache)
                if digest(artefact) != sha256:
                    forget(found)  # of both, and under the hash of one
                    raise ValueError("it changed while it was read: is somebody still writing it?")
    _check_arch(name, artefact, found.identity.arch, arch)
    return found


def forget(bundle: Bundle) -> None:
    """Of a bundle that was found to be damaged: it is made anew when it is wanted again."""
    shutil.rmtree(bundle.folder, ignore_errors=True)


@contextmanager
def _blaming(name: str, artefact: Artefact) -> Iterator[None]:
    """Whatever an artefact makes go wrong, as an error that names it."""
    source = artefact.sources[0]
    if source == "installed":
        raise ValueError("an installed kernel has no artefact here")
    where = f"kernel {name}: {getattr(artefact, source)}"
    try:
        yield
    except NoKernel as error:
        raise UserError(f"{where}: {error}") from None
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, ValueError) as error:
        raise UserError(f"{where}: cannot be read: {error}") from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
        kind = UserError if missing else EnvironmentFault
        raise kind(f"{where}: {error.strerror or error}{f': {error.filename}' if error.filename else ''}") from None


def _check_arch(name: str, artefact: Artefact, found: str, arch: str | None) -> None:
    if arch not in (None, found) and (arch, found) != ("x86_64", "i686"):
        source = getattr(artefact, artefact.sources[0])
        raise UserError(f"kernel {name}: {source}: a kernel for {found}, and the target is {arch}")


# -- the cache


def _cached(folder: Path, name: str) -> Bundle | None:
    try:
        known = json.loads((folder / "identity.json").read_text())
        if known.pop("schema") != SCHEMA:
            return None
        parts = {part: Part(**said) for part, said in known.pop("parts").items()}
        known.update(name=name, notes=tuple(known["notes"]))
        found = Bundle(KernelIdentity(**known), folder, parts)
        if any((folder / part).stat().st_size != said.size for part, said in parts.items()):
            return None
        os.utime(folder)  # used last: see _prune
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _made(name: str, artefact: Artefact, sha256: str, cache: Path) -> Bundle:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as scratch:
        new = Path(scratch)
        packed = pack(artefact, new)
        identity = _identity(name, artefact, sha256, packed)
        parts = {path.name: _part(path, packed.unpacked.get(path.name)) for path in sorted(new.iterdir())}
        told = {"schema": SCHEMA, **identity.to_json(), "parts": {part: asdict(said) for part, said in parts.items()}}
        (new / "identity.json").write_text(json.dumps(told))
        _put(new, cache / sha256)
    _prune(cache)
    return Bundle(identity, cache / sha256, parts)


def _identity(name: str, artefact: Artefact, sha256: str, packed: Packed) -> KernelIdentity:
    image, config = packed.image, packed.config
    notes = [] if image.note is None else [image.note]
    if not packed.releases:
        notes.append("no modules: all that it needs has to be built in")
    return KernelIdentity(
        name=name,
        source=artefact.sources[0],
        arch=image.arch,
        release=image.release,
        version=image.version,
        build_id=image.build_id,
        config_sha256=None if config is None else hashlib.sha256(config).hexdigest(),
        sha256=sha256,
        notes=tuple(notes),
    )


def _part(path: Path, unpacked: int | None) -> Part:
    size = path.stat().st_size
    return Part(size, _file_digest(path), size if unpacked is None else unpacked)


def _put(new: Path, folder: Path) -> None:
    """``new`` in the place of ``folder``; what is there is of an older form, or was damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else another process put the same there meanwhile
            raise


def _prune(cache: Path) -> None:
    """Remove all but the bundles used last, and what a process that was killed left half-made."""
    found: list[tuple[float, Path]] = []
    for path in cache.iterdir():
        with suppress(FileNotFoundError):  # another process removed it meanwhile
            found.append((path.stat().st_mtime, path))
    found.sort(reverse=True)
    half_made = [path for _, path in found if path.name.startswith(".new-")]
    whole = [path for _, path in found if not path.name.startswith(".")]
    for path in [*half_made[KEEP:], *whole[KEEP:]]:
        shutil.rmtree(path, ignore_errors=True)


# -- what belongs to an artefact


_BESIDE = ("image", "modules", "dtbs", "initrd", "config")


def _paths(artefact: Artefact) -> dict[str, Path]:
    return {key: Path(value) for key in ("deb", "tar", *_BESIDE) if (value := getattr(artefact, key)) is not None}


def digest(artefact: Artefact) -> str:
    """The hash of all that belongs to the artefact; of a single file that file's own."""
    paths = _paths(artefact)
    if artefact.image is None:
        return _file_digest(next(iter(paths.values())))
    parts = {key: _folder_digest(path) if path.is_dir() else _file_digest(path) for key, path in paths.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    listed = [(str(path.relative_to(folder)), _file_digest(path)) for path in files_in(folder)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _size(artefact: Artefact) -> int:
    files = (file for path in _paths(artefact).values() for file in (files_in(path) if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files)


def _image(artefact: Artefact) -> Image:
    """Without what comes after it in a package: there it mostly stands at the beginning."""
    if artefact.image is not None:
        return read_image(artefacts.read_file(Path(artefact.image)))
    with artefacts.package(artefact) as entries:
        for entry in entries:
            if entry.is_image:
                return read_image(entry.read())
    raise NoKernel(NO_IMAGE)
