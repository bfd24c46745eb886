# SPDX-License-Identifier: Apache-2.0
"""The parts of a kernel in one form, whatever it came in: its image as it is, its modules and device trees packed.

What of an artefact is neither is passed over: headers, maps, scripts of a package.
"""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..config.kernels import Artefact
from ..lab.kernelimage import Image, NoKernel, read_image
from . import artefact as artefacts
from .artefact import Entry

NO_IMAGE = "no boot/vmlinuz-… in it: is it the package of an image?"
_MODULES = ("lib/modules/", "usr/lib/modules/")
#: Where packages have device trees: Debian, tar-pkg, others.
_DTBS = ("usr/lib/linux-image-", "usr/lib/linux-", "boot/dtbs/", "boot/dtb-", "dtbs/")


@dataclass(frozen=True)
class Packed:
    """``releases`` are those of the modules: none, where there are none. ``unpacked``: how large archives will be."""

    image: Image
    config: bytes | None
    releases: frozenset[str]
    unpacked: Mapping[str, int]


@dataclass
class _Parts:
    """Where what is found goes: small things are kept, modules and device trees packed at once."""

    folder: Path
    image: Image | None = None
    image_name: str = ""
    config: bytes | None = None
    releases: set[str] = field(default_factory=set)
    unpacked: dict[str, int] = field(default_factory=dict)

    def take_image(self, data: bytes, name: str) -> None:
        if self.image is not None:
            raise NoKernel(f"more than one image in it: {self.image_name}, {name}")
        self.image, self.image_name = read_image(data), name
        (self.folder / "image").write_bytes(data)


def pack(artefact: Artefact, folder: Path) -> Packed:
    """The parts of ``artefact``, each a file in ``folder``. Raises NoKernel where they are no kernel, or not of one."""
    parts = _Parts(folder)
    if artefact.image is not None:
        _beside(artefact, artefact.image, parts)
    else:
        with artefacts.package(artefact) as entries:
            _sort(entries, parts)
    image = parts.image
    if image is None:
        raise NoKernel(NO_IMAGE)
    if parts.releases and parts.releases != {image.release}:
        raise NoKernel(f"the image is {image.release}, the modules are of {', '.join(sorted(parts.releases))}")
    config = parts.config if parts.config is not None else image.config
    if config is not None:
        (folder / "config").write_bytes(config)
    return Packed(image, config, frozenset(parts.releases), parts.unpacked)


def files_in(folder: Path) -> list[Path]:
    """Plain files, also in folders below; links are none."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _beside(artefact: Artefact, image: str, parts: _Parts) -> None:
    """An image, and what was named beside it."""
    parts.take_image(artefacts.read_file(Path(image)), Path(image).name)
    if artefact.config is not None:
        parts.config = artefacts.read_file(Path(artefact.config))
    if artefact.initrd is not None:
        (parts.folder / "initrd").write_bytes(artefacts.read_file(Path(artefact.initrd)))
    if artefact.modules is not None:
        path = Path(artefact.modules)
        with artefacts.entries(path) as entries:
            # a package of a kernel will do for its modules
            _sort((entry for entry in entries if not entry.is_image), parts)
        if not parts.releases:
            raise NoKernel(f"no lib/modules/RELEASE in {path.name}")
    if artefact.dtbs is not None:
        folder = Path(artefact.dtbs)
        trees = [path for path in files_in(folder) if path.suffix == ".dtb"]
        if not trees:
            raise NoKernel(f"no .dtb in {folder.name}")
        with _packed(parts, "dtbs.tar.gz") as put:
            for tree in trees:
                put(str(tree.relative_to(folder)), Entry(str(tree), tree.stat().st_size, artefacts.opener(tree)))


def _sort(entries: Iterable[Entry], parts: _Parts) -> None:
    """What is an image, a configuration, a module or a device tree, to its place."""
    with _packed(parts, "modules.tar.gz") as modules, _packed(parts, "dtbs.tar.gz") as dtbs:
        for entry in entries:
            path = entry.path
            tree = next((path[len(each) :] for each in _MODULES if path.startswith(each)), None)
            if tree is not None and "/" in tree:
                parts.releases.add(tree.partition("/")[0])
                modules(tree, entry)
            elif path.endswith(".dtb") and path.startswith(_DTBS):
                inner = path.removeprefix("boot/").removeprefix("usr/lib/")
                dtbs(inner.partition("/")[2], entry)
            elif entry.is_image:
                parts.take_image(entry.read(), entry.name)
            elif path.startswith("boot/config"):
                parts.config = entry.read()


@contextmanager
def _packed(parts: _Parts, part: str) -> Iterator[Callable[[str, Entry], None]]:
    """A tar file of that name, the same bytes for the same contents; none if nothing was put in.

    gzip, at its quickest: a target's Python has it, and unpacks it faster than a network brings it. What xz saves of
    the bytes it costs twice over in time, there and here.
    """
    path = parts.folder / part
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("wb"))
        zipped = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0))
        archive = stack.enter_context(tarfile.TarFile(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT))
        sizes: list[int] = []

        def put(name: str, entry: Entry) -> None:
            if name.startswith("/") or ".." in name.split("/"):
                raise NoKernel(f"a path that leads out of it: {name!r}")
            info = tarfile.TarInfo(name)
            info.size, info.mode = entry.size, 0o644
            with entry.open() as file:
                archive.addfile(info, file)
            sizes.append(entry.size)

        yield put
    if sizes:
        parts.unpacked[part] = sum(sizes)
    else:
        path.unlink()
