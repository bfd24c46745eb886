# SPDX-License-Identifier: Apache-2.0
"""What of the packages' stream gets into an image, whose it is there, and what is remembered of it."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
from pathlib import Path

import pytest

from harness.lab import recipes, tools
from harness.lab.recipes import RECIPES, File
from harness.lab.sieve import NOTED, Sieve, add

RECIPE = RECIPES["bookworm-x86_64"]
MODULE = "usr/lib/modules/6.1/kernel/fs/ext4/ext4.ko"


def packages(*files: tuple[str, bytes], links: tuple[tuple[str, str], ...] = (), day: int = 1) -> bytes:
    """An archive as mmdebstrap writes it: of somebody, of some day."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 86_400 * day, 0o4755
            info.uid, info.uname = 42, f"games{day}"
            archive.addfile(info, io.BytesIO(data))
        for name, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, to
            archive.addfile(info)
    return out.getvalue()


def sieved(sieve: Sieve, archive: bytes) -> tuple[dict[str, tarfile.TarInfo], dict[str, bytes]]:
    """What came through, by path, and the content of what is a file. No path comes twice."""
    out = io.BytesIO()
    sieve.run(io.BytesIO(archive), out)
    out.seek(0)
    with tarfile.open(fileobj=out) as found:
        infos = {info.name: info for info in found}
        assert len(infos) == len(found.getmembers())
        contents = {
            name: file.read() for name, info in infos.items() if info.isreg() and (file := found.extractfile(info))
        }
    return infos, contents


def test_files_are_moved_kept_or_dropped_and_have_no_day(tmp_path: Path) -> None:
    archive = packages(
        ("./bin/tool", b"tool"),
        ("./usr/share/doc/tool/copyright", b"dropped"),
        (f"./{NOTED}", b"tool_1_amd64.deb\n"),
        links=(("./usr/bin/alias", "./bin/tool"), ("./usr/bin/manual", "./usr/share/doc/tool/copyright")),
    )
    infos, contents = sieved(Sieve(RECIPE, tmp_path), archive)
    assert set(infos) - {path for path, _ in recipes.own_files(RECIPE)} == {"usr/bin", "usr/bin/tool", "usr/bin/alias"}
    tool = infos["usr/bin/tool"]
    assert contents["usr/bin/tool"] == b"tool"
    assert (tool.mode, tool.uid, tool.uname, tool.mtime) == (0o4755, 42, "", 0)
    assert infos["usr/bin/alias"].linkname == "usr/bin/tool"
    assert (infos["usr/bin"].uid, infos["usr/bin"].mode) == (0, 0o755)


def test_our_own_files_are_in_it_instead_of_a_packages(tmp_path: Path) -> None:
    _, contents = sieved(Sieve(RECIPE, tmp_path), packages(("./etc/passwd", b"mallory::0:0::/:/bin/sh\n")))
    own = {path: file.data for path, file in recipes.own_files(RECIPE) if file.data is not None}
    assert contents == own


def test_what_makes_the_rest_of_an_image_is_remembered(tmp_path: Path) -> None:
    sieve = Sieve(RECIPE, tmp_path)
    sieved(
        sieve,
        packages(
            ("./boot/vmlinuz-6.1", b"kernel"),
            ("./bin/busybox", b"busybox"),
            ("./usr/lib/grub/i386-pc/boot.img", b"grub"),
            (f"./{NOTED}", b"b_1_amd64.deb\na_1_amd64.deb\n"),
        ),
    )
    assert sieve.boot == {"vmlinuz-6.1": b"kernel"}
    assert sieve.busybox == b"busybox"
    assert sieve.loader == {"boot.img": b"grub"}
    assert sieve.packages.split() == ["b_1_amd64.deb", "a_1_amd64.deb"]


def test_modules_are_unpacked_and_listed_for_modprobe(tmp_path: Path) -> None:
    if shutil.which("depmod", path=tools.path()) is None:
        pytest.skip("no depmod here (Debian: kmod)")
    elf = b"\x7fELF" + bytes(60)
    sieve = Sieve(RECIPE, tmp_path)
    _, contents = sieved(
        sieve,
        packages((f"./{MODULE}.xz", lzma.compress(elf)), ("./lib/modules/6.1/modules.builtin", b"kernel/mm/x.ko\n")),
    )
    assert contents[MODULE] == elf
    assert contents["usr/lib/modules/6.1/modules.builtin"] == b"kernel/mm/x.ko\n"
    assert "usr/lib/modules/6.1/modules.dep" in contents
    assert sieve.modules == {"6.1": {"kernel/fs/ext4/ext4.ko": elf, "modules.builtin": b"kernel/mm/x.ko\n"}}


def test_the_same_packages_unpacked_on_another_day_give_the_same_bytes(tmp_path: Path) -> None:
    images = []
    for day in (1, 2):
        out = io.BytesIO()
        Sieve(RECIPE, tmp_path).run(io.BytesIO(packages(("./bin/tool", b"tool"), ("./etc/rc", b"rc"), day=day)), out)
        images.append(out.getvalue())
    assert images[0] == images[1]


def test_a_file_of_ours_is_roots() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        add(archive, "sh", File(0o777, link="bin/sh"))
        add(archive, "tmp", File(0o1777))
        add(archive, "key", File(0o600, b"secret"))
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        link, folder, key = archive.getmembers()
        assert (link.issym(), link.linkname, folder.isdir(), folder.mode) == (True, "bin/sh", True, 0o1777)
        assert (key.mode, key.uid, key.gid, key.mtime, key.size) == (0o600, 0, 0, 0, 6)
