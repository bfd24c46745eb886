# SPDX-License-Identifier: Apache-2.0
"""From a recipe to an image: packages unpacked and never run, so that any architecture is built on any.

The root is made by unpack.py, of what sieve.py lets through; the boot loader, the kernels and their first boot stage
of what it remembers. The same packages give the same bytes.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EnvironmentFault, UserError
from . import grub, newc, recipes, tools, unpack
from .cache import Cache
from .pause import Pause, wait
from .recipes import RECIPES, File, Recipe
from .sieve import Sieve

_SAY = Callable[[str], None]


@dataclass(frozen=True)
class Kernel:
    """``initrd`` is a disk board's first boot stage; a count board brings its own. ``hz`` is ticks a second."""

    flavour: str
    release: str
    hz: int
    image: Path
    initrd: Path


@dataclass(frozen=True)
class Image:
    """An image in the cache, its bytes checked. ``packages`` are ``name_version_arch``, as the suite had them."""

    name: str
    arch: str
    key: str
    root: Path
    boot_loader: Path | None
    kernels: dict[str, Kernel]
    packages: tuple[str, ...]
    build_s: float


def recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"there is no image {name!r}", advice=f"images: {', '.join(RECIPES)}")
    return RECIPES[name]


def find(wanted: Recipe, cache: Cache) -> Image | None:
    """The image, from the cache; None if it has not been built. Raises EnvironmentFault if it is damaged."""
    key = recipes.key(wanted)
    entry = cache.read_entry(key)
    return None if entry is None else _image(wanted, key, entry, cache)


def _image(wanted: Recipe, key: str, entry: dict[str, Any], cache: Cache) -> Image:
    kernels = {
        flavour: Kernel(
            flavour,
            str(noted["release"]),
            int(noted["hz"]),
            cache.checked(noted["image"]),
            cache.checked(noted["initrd"]),
        )
        for flavour, noted in entry["kernels"].items()
    }
    return Image(
        name=wanted.name,
        arch=wanted.arch,
        key=key,
        root=cache.checked(entry["root"]),
        boot_loader=cache.checked(entry["boot_loader"]) if entry["boot_loader"] else None,
        kernels=kernels,
        packages=tuple(entry["packages"]),
        build_s=float(entry["build_s"]),
    )


def build(wanted: Recipe, cache: Cache, say: _SAY, *, again: bool = False, pause: Pause = time.sleep) -> Image:
    """The image, from the cache, or built now (one that is damaged is built again). Needs the network only then.

    ``pause`` waits for so many seconds, or until somebody asks for an end: then what it returns is true, and Stopped
    is raised.
    """
    key = recipes.key(wanted)

    said: list[str] = []

    def waiting() -> None:
        if not said:
            said.append(f"{wanted.name}: somebody else is building it, or looking for it: waiting")
            say(said[0])
        wait(pause, f"image {wanted.name}")

    with cache.locked(key, waiting):
        if not again:
            try:
                found = find(wanted, cache)
            except EnvironmentFault as error:
                say(f"{wanted.name}: {error}: building it again")
                found = None
            if found is not None:
                return found
        cache.drop_entry(key)
        say(f"{wanted.name}: fetching and unpacking Debian {wanted.suite}'s packages")
        with cache.scratch(key) as scratch, cache.writing():
            entry = _Build(wanted, cache, scratch, pause).run()
            cache.write_entry(key, entry)
        return _image(wanted, key, entry, cache)


class _Build:
    def __init__(self, wanted: Recipe, cache: Cache, scratch: Path, pause: Pause) -> None:
        self.wanted = wanted
        self.cache = cache
        self.scratch = scratch
        self.pause = pause
        self.sieve = Sieve(wanted, scratch)

    def run(self) -> dict[str, Any]:
        if lacking := tools.missing():
            raise EnvironmentFault(
                f"images cannot be built here: {', '.join(lacking)} not installed",
                advice=tools.advice(lacking),
            )
        started = time.monotonic()
        root = self.scratch / "root.squashfs"
        unpack.pack(self.wanted, self.cache, self.sieve, self.scratch, root, self.pause)
        packages = sorted(self.sieve.packages.split())
        kernels = {flavour: self._kernel(flavour) for flavour in self.wanted.flavours}
        return {
            "recipe": self.wanted.name,
            "packages": packages,
            "root": self.cache.enter(root, f"{self.wanted.name}.squashfs"),
            "boot_loader": self._boot_loader(),
            "kernels": kernels,
            "build_s": round(time.monotonic() - started, 1),
        }

    def _boot_loader(self) -> dict[str, Any] | None:
        """GRUB for a PC's BIOS: its first sector, then its core, as they lie on a disk. None where there is no BIOS."""
        if not self.sieve.loader:
            return None
        folder = self.scratch / "grub"
        folder.mkdir()
        for name, content in self.sieve.loader.items():
            (folder / name).write_bytes(content)
        core = folder / "core"
        call = ["grub-mkimage", "-d", str(folder), "-O", "i386-pc", "-p", grub.PREFIX, "-o", str(core), *grub.MODULES]
        subprocess.run(call, check=True, capture_output=True, env={"PATH": tools.path()})
        loader = self.scratch / "loader"
        loader.write_bytes(self.sieve.loader["boot.img"][:512].ljust(512, b"\0") + core.read_bytes())
        return self.cache.enter(loader, f"{self.wanted.name}-grub")

    def _kernel(self, flavour: str) -> dict[str, Any]:
        releases = sorted(name.removeprefix("vmlinuz-") for name in self.sieve.boot if name.startswith("vmlinuz-"))
        fitting = [release for release in releases if ("-rt-" in release) == (flavour == "rt")]
        if len(fitting) != 1:
            raise EnvironmentFault(f"image {self.wanted.name}: no {flavour} kernel among {', '.join(releases)}")
        release = fitting[0]
        hz = re.search(rb"^CONFIG_HZ=([0-9]+)$", self.sieve.boot[f"config-{release}"], re.M)
        if hz is None:
            raise EnvironmentFault(f"image {self.wanted.name}: no CONFIG_HZ in the configuration of {release}")
        image = self.scratch / "image"
        image.write_bytes(self.sieve.boot[f"vmlinuz-{release}"])
        initrd = self.scratch / "initrd"
        initrd.write_bytes(gzip.compress(self._first_stage(release), 6, mtime=0))
        return {
            "release": release,
            "hz": int(hz[1]),
            "image": self.cache.enter(image, f"vmlinuz-{release}"),
            "initrd": self.cache.enter(initrd, f"initrd-{release}"),
        }

    def _first_stage(self, release: str) -> bytes:
        found = {
            Path(path).stem.replace("-", "_"): content
            for path, content in self.sieve.modules[release].items()
            if path.endswith(".ko")
        }
        needs = {name: recipes.module_needs(content) for name, content in found.items()}
        order = recipes.load_order(recipes.FIRST_MODULES, needs)
        files = {f"modules/{name}.ko": File(0o644, found[name]) for name in order}
        return newc.pack(
            {
                **files,
                "init": File(0o755, recipes.guest_file("init")),
                "bin/busybox": File(0o755, self.sieve.busybox),
                "modules/order": File(0o644, "".join(f"{name}.ko\n" for name in order).encode()),
            }
        )
