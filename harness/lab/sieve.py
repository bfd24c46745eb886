# SPDX-License-Identifier: Apache-2.0
"""The stream of packages' files on its way into an image: each is dropped, moved or kept, and some are also remembered.

What is remembered is what makes the rest of an image: kernels and their modules, the boot loader, busybox.
"""

from __future__ import annotations

import io
import lzma
import re
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from . import recipes, tools
from .recipes import File, Recipe

#: Lies in the unpacked root for us to read, and in no image. A hook of mmdebstrap's may write nowhere else.
NOTED = "isolbench-packages"
_MODULE = re.compile(r"usr/lib/modules/([^/]+)/(.+)")
_LOADER = "usr/lib/grub/i386-pc/"


class Sieve:
    """For one image of ``wanted``: :meth:`run` once, then the rest says what came by. ``scratch`` is a folder."""

    def __init__(self, wanted: Recipe, scratch: Path) -> None:
        self._wanted = wanted
        self._scratch = scratch
        self.modules: dict[str, dict[str, bytes]] = {}  # release → path in its folder → bytes
        self.boot: dict[str, bytes] = {}
        self.loader: dict[str, bytes] = {}
        self.busybox = b""
        self.packages = ""

    def run(self, source: IO[bytes], sink: IO[bytes]) -> None:
        """From one tar archive to another. Raises TarError, and BrokenPipeError where nobody reads."""
        own = dict(recipes.own_files(self._wanted))
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
                if path is None or path in seen or path == NOTED:
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
                        add(outgoing, folder, File(0o755))
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
                add(outgoing, path, file)
            for release in sorted(self.modules):
                for name, content in self._depmod(release).items():
                    add(outgoing, f"usr/lib/modules/{release}/{name}", File(0o644, content))
            # sqfstar reads to the end of the archive, mmdebstrap writes to the end of its padding: neither may starve.
            while source.read(1 << 16):
                pass

    def _look(self, info: tarfile.TarInfo, content: bytes | None) -> None:
        """What is wanted apart from the root."""
        name = info.name.removeprefix("./")
        if content is None:
            return
        if name == NOTED:
            self.packages = content.decode()
        elif name.startswith("boot/"):
            self.boot[name.removeprefix("boot/")] = content
        elif name in ("bin/busybox", "usr/bin/busybox"):
            self.busybox = content
        elif name.startswith(_LOADER):
            self.loader[name.removeprefix(_LOADER)] = content

    def _module(self, release: str, path: str, content: bytes) -> bytes:
        """Modules are kept as they are loaded: a board has other things to do than to decompress."""
        if path.endswith(".ko.xz"):
            content, path = lzma.decompress(content), path.removesuffix(".xz")
        self.modules.setdefault(release, {})[path] = content
        return content

    def _depmod(self, release: str) -> dict[str, bytes]:
        """What depmod makes of the modules that were kept."""
        base = self._scratch / "modules"
        folder = base / "lib/modules" / release
        for path, content in self.modules[release].items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        subprocess.run(
            ["depmod", "-b", str(base), release], check=True, capture_output=True, env={"PATH": tools.path()}
        )
        made = {path.name: path.read_bytes() for path in sorted(folder.glob("modules.*"))}
        return {name: content for name, content in made.items() if name not in self.modules[release]}


def add(archive: tarfile.TarFile, path: str, file: File) -> None:
    """One of our own files, which are root's and have no time."""
    info = tarfile.TarInfo(path)
    info.mode = file.mode
    if file.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
    elif file.data is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(file.data)
    archive.addfile(info, io.BytesIO(file.data) if file.data is not None else None)
