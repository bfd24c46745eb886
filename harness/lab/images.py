# SPDX-License-Identifier: Apache-2.0
"""From a recipe to an image: packages unpacked and never run, so that any architecture is built on any.

mmdebstrap fetches and unpacks (as root, or in a user namespace of its own); what comes out of it is a stream of files,
of which each is dropped, moved or kept; squashfs-tools packs the stream. No file is ever owned by somebody here, so
nothing here needs to be root's. The same packages give the same bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import EnvironmentFault, UserError
from . import grub, newc, recipes
from .cache import Cache
from .pause import Pause, Stopped, wait
from .recipes import DEBIAN_ARCH, RECIPES, File, Recipe

#: command → Debian package
_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "sqfstar": "squashfs-tools",
    "depmod": "kmod",
    "grub-mkimage": "grub-common",
    **({} if os.geteuid() == 0 else {"newuidmap": "uidmap"}),  # for a user namespace with more than one user
}
#: Lies in the unpacked root for us to read, and in no image. A hook of mmdebstrap's may write nowhere else.
_NOTED = "isolbench-packages"
#: Bytes. A disk that had less than this was full: mmdebstrap keeps to itself what dpkg said of it.
_NEARLY_FULL = 16 << 20
_MODULE = re.compile(r"usr/lib/modules/([^/]+)/(.+)")
_SAY = Callable[[str], None]
#: Seconds that mmdebstrap has to end by itself. Root removes what it leaves; in a user namespace nobody else could.
_END_S = 2.0 if os.geteuid() == 0 else 30.0


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
            entry = _Build(wanted, cache, scratch, say, pause).run()
            cache.write_entry(key, entry)
        return _image(wanted, key, entry, cache)


def _unpacking_folder(scratch: Path) -> str:
    """Where packages are unpacked, a gigabyte of them: on a disk, which /tmp may not be. What runs in a user namespace
    is somebody else, and has no way into an ordinary user's own folders."""
    if (asked := os.environ.get("TMPDIR")) is not None:
        return asked
    return str(scratch) if os.geteuid() == 0 else "/var/tmp"  # noqa: S108  # mmdebstrap makes a folder of its own there


def missing_tools() -> list[str]:
    """Debian packages to install before anything can be built here."""
    return [package for command, package in _TOOLS.items() if shutil.which(command, path=_path()) is None]


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # an ordinary user's PATH leaves these out


class _Build:
    def __init__(self, wanted: Recipe, cache: Cache, scratch: Path, say: _SAY, pause: Pause) -> None:
        self.wanted = wanted
        self.cache = cache
        self.scratch = scratch
        self.say = say
        self.pause = pause
        self.modules: dict[str, dict[str, bytes]] = {}  # release → path in its folder → bytes
        self.boot: dict[str, bytes] = {}
        self.busybox = b""
        self.packages = ""
        self.least_free = 1 << 62
        self.loader: dict[str, bytes] = {}

    def run(self) -> dict[str, Any]:
        if lacking := missing_tools():
            raise EnvironmentFault(
                f"images cannot be built here: {', '.join(lacking)} not installed",
                advice=f"as root on Debian: apt-get install --no-install-recommends {' '.join(lacking)}",
            )
        started = time.monotonic()
        root = self.scratch / "root.squashfs"
        self._pack(root)
        packages = sorted(self.packages.split())
        kernels = {flavour: self._kernel(flavour) for flavour in self.wanted.flavours}
        return {
            "recipe": self.wanted.name,
            "packages": packages,
            "root": self.cache.enter(root, f"{self.wanted.name}.squashfs"),
            "boot_loader": self._boot_loader(),
            "kernels": kernels,
            "build_s": round(time.monotonic() - started, 1),
        }

    # --- the root

    def _pack(self, output: Path) -> None:
        """mmdebstrap → our filter → sqfstar, as one stream: the unpacked root is never on the disk as a whole."""
        fetch = [
            "mmdebstrap",
            "--quiet",
            "--variant=extract",
            "--format=tar",
            f"--arch={DEBIAN_ARCH[self.wanted.arch]}",
            "--skip=check/qemu",
            "--include=?essential",
            f"--include={','.join(self.wanted.packages)}",
            f'--extract-hook=cd "$1/var/cache/apt/archives" && ls -1 *.deb >"$1/{_NOTED}"',
            self.wanted.suite,
            "-",
        ]
        options = ["-no-progress", "-quiet", "-comp", "lz4", "-mkfs-time", "0", "-all-time", "0", "-no-xattrs"]
        options += ["-root-mode", "755"]
        # Who packs stands in the table of owners: root, if only by name.
        as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        errors = (self.scratch / "errors").open("w+b")
        unpacked = _unpacking_folder(self.scratch)
        with (
            errors,
            subprocess.Popen(
                # A session of its own: when it is told to end, it tells its whole process group.
                fetch,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "TMPDIR": unpacked},
            ) as source,
            subprocess.Popen(
                [*as_root, "sqfstar", *options, str(output)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={"PATH": _path()},
            ) as sink,
        ):
            assert source.stdout is not None
            assert sink.stdin is not None
            broken: Exception | None = None
            try:
                with self._watched(source, unpacked):
                    self._filter(source.stdout, sink.stdin)
                sink.stdin.close()
            except (tarfile.TarError, BrokenPipeError) as error:
                broken = error
                _abandon(source, sink)
            except BaseException:
                _abandon(source, sink)
                raise
            ends = (source.wait(), sink.wait())
            if broken is None and not any(ends):
                return
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines()
        if self.least_free < _NEARLY_FULL or any("No space left" in line for line in said):
            raise self.cache.full(f", or in {unpacked}, where packages are unpacked")
        # That a pipe broke is the consequence of something else, and so is that mmdebstrap gave up.
        consequences = ("failed: 13", "mmdebstrap failed to run")
        causes = [line for line in said if line.startswith(("E:", "FATAL")) and not line.endswith(consequences)]
        last = said[-1] if said else str(broken or f"mmdebstrap ended with {ends[0]}, sqfstar with {ends[1]}")
        why = causes[0] if causes else last
        raise EnvironmentFault(
            f"image {self.wanted.name}: the packages cannot be unpacked: {why}",
            advice="mmdebstrap needs Debian's archive, the package debian-archive-keyring, and root; or else "
            "the package uidmap, and a line for you in /etc/subuid and /etc/subgid",
        )

    @contextlib.contextmanager
    def _watched(self, source: subprocess.Popen[bytes], unpacked: str) -> Iterator[None]:
        """``source`` may say nothing for long: if an end is asked for, it is ended, and Stopped raised."""
        done = threading.Event()
        stopped: list[Stopped] = []

        def watch() -> None:
            while not done.is_set():
                free = (shutil.disk_usage(folder).free for folder in (unpacked, self.scratch))
                self.least_free = min(self.least_free, *free)
                try:
                    wait(self.pause, f"image {self.wanted.name}")
                except Stopped as error:
                    stopped.append(error)
                    _end(source)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except (tarfile.TarError, BrokenPipeError):
            if not stopped:
                raise
        finally:
            done.set()
            watcher.join()
        if stopped:
            raise stopped[0]

    def _filter(self, source: IO[bytes], sink: IO[bytes]) -> None:
        own = dict(recipes.own_files(self.wanted))
        seen: set[str] = set(own)
        with (
            tarfile.open(fileobj=source, mode="r|") as incoming,
            tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT) as outgoing,
        ):
            for info in incoming:
                data = incoming.extractfile(info) if info.isfile() else None
                content = data.read() if data is not None else None
                self._look(info, content)
                path = recipes.place(info.name)
                if path is None or path in seen or path == _NOTED:
                    continue
                if info.islnk():
                    target = recipes.place(info.linkname)
                    if target is None:
                        continue
                    info.linkname = target
                # Folders of which only what is below is kept: else they would be whose who packs.
                for folder in recipes.folders_above(path):
                    if folder not in seen:
                        seen.add(folder)
                        _add(outgoing, folder, File(0o755))
                seen.add(path)
                module = _MODULE.fullmatch(path)
                if module and content is not None:
                    content = self._module(module[1], module[2], content)
                    path = path.removesuffix(".xz")
                    info.size = len(content)
                info.name = path
                info.mtime = 0
                info.uname = info.gname = ""  # the numbers count
                outgoing.addfile(info, io.BytesIO(content) if content is not None else None)
            for path, file in own.items():
                _add(outgoing, path, file)
            for release in sorted(self.modules):
                for name, content in self._depmod(release).items():
                    _add(outgoing, f"usr/lib/modules/{release}/{name}", File(0o644, content))
            # sqfstar reads to the end of the archive, mmdebstrap writes to the end of its padding: neither may starve.
            while source.read(1 << 16):
                pass

    def _look(self, info: tarfile.TarInfo, content: bytes | None) -> None:
        """What is wanted apart from the root."""
        name = info.name.removeprefix("./")
        if content is None:
            return
        if name == _NOTED:
            self.packages = content.decode()
        elif name.startswith("boot/"):
            self.boot[name.removeprefix("boot/")] = content
        elif name in ("bin/busybox", "usr/bin/busybox"):
            self.busybox = content
        elif name.startswith("usr/lib/grub/i386-pc/"):
            self.loader[name.removeprefix("usr/lib/grub/i386-pc/")] = content

    def _module(self, release: str, path: str, content: bytes) -> bytes:
        """Modules are kept as they are loaded: a board has other things to do than to decompress."""
        if path.endswith(".ko.xz"):
            content, path = lzma.decompress(content), path.removesuffix(".xz")
        self.modules.setdefault(release, {})[path] = content
        return content

    def _depmod(self, release: str) -> dict[str, bytes]:
        """What depmod makes of the modules that were kept."""
        base = self.scratch / "modules"
        folder = base / "lib/modules" / release
        for path, content in self.modules[release].items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        subprocess.run(["depmod", "-b", str(base), release], check=True, capture_output=True, env={"PATH": _path()})
        made = {path.name: path.read_bytes() for path in sorted(folder.glob("modules.*"))}
        return {name: content for name, content in made.items() if name not in self.modules[release]}

    def _boot_loader(self) -> dict[str, Any] | None:
        """GRUB for a PC's BIOS: its first sector, then its core, as they lie on a disk. None where there is no BIOS."""
        if not self.loader:
            return None
        folder = self.scratch / "grub"
        folder.mkdir()
        for name, content in self.loader.items():
            (folder / name).write_bytes(content)
        core = folder / "core"
        call = ["grub-mkimage", "-d", str(folder), "-O", "i386-pc", "-p", grub.PREFIX, "-o", str(core), *grub.MODULES]
        subprocess.run(call, check=True, capture_output=True, env={"PATH": _path()})
        loader = self.scratch / "loader"
        loader.write_bytes(self.loader["boot.img"][:512].ljust(512, b"\0") + core.read_bytes())
        return self.cache.enter(loader, f"{self.wanted.name}-grub")

    # --- the kernels

    def _kernel(self, flavour: str) -> dict[str, Any]:
        releases = sorted(name.removeprefix("vmlinuz-") for name in self.boot if name.startswith("vmlinuz-"))
        fitting = [release for release in releases if ("-rt-" in release) == (flavour == "rt")]
        if len(fitting) != 1:
            raise EnvironmentFault(f"image {self.wanted.name}: no {flavour} kernel among {', '.join(releases)}")
        release = fitting[0]
        hz = re.search(rb"^CONFIG_HZ=([0-9]+)$", self.boot[f"config-{release}"], re.M)
        if hz is None:
            raise EnvironmentFault(f"image {self.wanted.name}: no CONFIG_HZ in the configuration of {release}")
        image = self.scratch / "image"
        image.write_bytes(self.boot[f"vmlinuz-{release}"])
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
            for path, content in self.modules[release].items()
            if path.endswith(".ko")
        }
        needs = {name: recipes.module_needs(content) for name, content in found.items()}
        order = recipes.load_order(recipes.FIRST_MODULES, needs)
        files = {f"modules/{name}.ko": File(0o644, found[name]) for name in order}
        return newc.pack(
            {
                **files,
                "init": File(0o755, recipes.guest_file("init")),
                "bin/busybox": File(0o755, self.busybox),
                "modules/order": File(0o644, "".join(f"{name}.ko\n" for name in order).encode()),
            }
        )


def _end(source: subprocess.Popen[bytes]) -> None:
    """End mmdebstrap, which removes what it had unpacked when it has the time; its children go with it."""
    source.terminate()
    try:
        source.wait(_END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(source.pid, signal.SIGKILL)  # the whole session


def _abandon(source: subprocess.Popen[bytes], sink: subprocess.Popen[bytes]) -> None:
    sink.kill()
    for pipe in (source.stdout, sink.stdin):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was buffered for it
                pipe.close()
    _end(source)


def _add(archive: tarfile.TarFile, path: str, file: File) -> None:
    info = tarfile.TarInfo(path)
    info.mode = file.mode
    if file.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
    elif file.data is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(file.data)
    archive.addfile(info, io.BytesIO(file.data) if file.data is not None else None)
