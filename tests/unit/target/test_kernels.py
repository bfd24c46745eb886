# SPDX-License-Identifier: Apache-2.0
"""Who a kernel is: read from real packages of Debian and from invented images; what is no kernel is refused."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.kernels import Artefact
from harness.errors import EnvironmentFault, UserError
from harness.lab import kernelimage
from harness.lab.kernelimage import NoKernel, elf_with_pvh, read_image, unpack
from harness.target.kernels import KEEP, identify, look

#: Where tests/setup.sh puts Debian's packages.
DEBS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolbench" / "test-debs"
BUILD_ID = bytes(range(20))
NOTE = struct.pack("<III", 4, 20, 3) + b"GNU\0" + BUILD_ID
CONFIG = b"CONFIG_NO_HZ_FULL=y\n"


def elf(notes: bytes, tail: bytes = b"") -> bytes:
    """A 64-bit little-endian ELF file with one PT_NOTE segment."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), len(notes), 4) + notes + tail


def bzimage(release: str = "6.1.0-x", payload: bytes | None = None, version: str = "#1 SMP Debian") -> bytes:
    packed = (
        gzip.compress(elf(NOTE, b"IKCFG_ST" + gzip.compress(CONFIG, mtime=0)), mtime=0) if payload is None else payload
    )
    data = bytearray(1024)
    data[0x1F1] = 1
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x206, 0x20F)
    struct.pack_into("<H", data, 0x20E, 0x100)
    struct.pack_into("<H", data, 0x236, 1)
    struct.pack_into("<II", data, 0x248, 0, len(packed))
    text = f"{release} (me@here) {version}".encode() + b"\0"
    data[0x300 : 0x300 + len(text)] = text
    return bytes(data) + packed


def arm64(notes: bytes = NOTE, release: str = "6.1.0-a", vdso: bytes = b"\x07" * 20) -> bytes:
    head = bytearray(64)
    head[56:60] = b"ARM\x64"
    own_of_vdso = elf(struct.pack("<III", 4, 20, 3) + b"GNU\0" + vdso)
    banner = f"Linux version {release} (me@here) (gcc 12) #2 SMP PREEMPT_RT\n".encode() + b"\0"
    data = bytes(head) + banner + bytes(64) + own_of_vdso + bytes(32) + notes
    return data[:16] + struct.pack("<Q", len(data)) + data[24:]


def test_an_invented_bzimage() -> None:
    found = read_image(bzimage())
    assert (found.arch, found.release, found.version) == ("x86_64", "6.1.0-x", "#1 SMP Debian")
    assert (found.build_id, found.config, found.note) == (BUILD_ID.hex(), CONFIG, None)


def test_what_qemu_can_load_unpacked_is_found_by_its_note() -> None:
    pvh = elf(NOTE + struct.pack("<III", 4, 8, 0x12) + b"Xen\0" + bytes(8))
    assert elf_with_pvh(bzimage(payload=gzip.compress(pvh))) == pvh
    for other in (bzimage(), bzimage(payload=gzip.compress(b"hello")), bzimage(payload=b"strange"), arm64(), b""):
        assert elf_with_pvh(other) is None


def test_an_invented_arm64_image_plain_and_packed() -> None:
    for data in (arm64(), gzip.compress(arm64())):
        found = read_image(data)
        assert (found.arch, found.release, found.version) == ("aarch64", "6.1.0-a", "#2 SMP PREEMPT_RT")
        assert found.build_id == BUILD_ID.hex()  # and not the one of the vDSO in it
    packed = gzip.compress(arm64())
    zboot = b"MZ\0\0zimg" + struct.pack("<II", 64, len(packed)) + bytes(48) + packed
    assert read_image(zboot).release == "6.1.0-a"


def test_what_cannot_be_known_is_said() -> None:
    strange = read_image(bzimage(payload=b"strange" * 9))
    assert (strange.build_id, strange.release) == (None, "6.1.0-x")
    assert strange.note == "it is compressed by something that nobody knows"
    assert read_image(arm64(b"")).note == "no build id in it"
    two = read_image(arm64(NOTE + struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(20)))
    assert two.build_id is None
    assert "2 build ids" in str(two.note)


REFUSED: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (bytes(2000), "nothing but zeros"),
    (elf(NOTE), "an ELF file (a vmlinux is not booted: take bzImage or Image)"),
    (b"!<arch>\ndebian-binary", "a Debian package (say deb)"),
    (gzip.compress(b"hello"), "what is compressed in it is it begins with 68 65 6c 6c 6f"),
    (lzma.compress(b"hello"), "xz of something else"),
    (b"#!/bin/sh\n", "a script"),
    (b"MZ" + bytes(200), "an EFI program, but not a kernel's"),
    (bzimage(version="no"), "its header has no version"),
    (bzimage()[:-5], "no whole kernel"),
    (bzimage(payload=gzip.compress(b"hello")), "what is compressed in it is"),
    (bytes(56) + b"ARM\x64" + bytes(9), "an arm64 header, and no version in it"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_is_no_kernel(data: bytes, message: str) -> None:
    with pytest.raises(NoKernel) as caught:
        read_image(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from([bzimage(), arm64(), b""]), st.integers(0, 700))
def test_damage_is_refused_or_read_and_never_a_crash(noise: bytes, base: bytes, at: int) -> None:
    data = base[:at] + noise + base[at + len(noise) :]
    with contextlib.suppress(NoKernel):
        read_image(data)


def tar_of(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("./lib/modules/6.1.0-x/build")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    return raw.getvalue()


PACKAGE = {
    "./boot/vmlinuz-6.1.0-x": bzimage(),
    "./boot/config-6.1.0-x": b"CONFIG_FROM_FILE=y\n",
    "./boot/System.map-6.1.0-x": b"ffff",
    "./lib/modules/6.1.0-x/kernel/a.ko": b"module",
    "./usr/lib/linux-image-6.1.0-x/b/c.dtb": b"tree",
}


def deb_of(files: Mapping[str, bytes]) -> bytes:
    return ar_of({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar_of(files, "w:xz")})


def ar_of(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def names_in(path: Path | None) -> list[str]:
    assert path is not None
    with tarfile.open(path) as archive:
        return sorted(archive.getnames())


@pytest.mark.parametrize("kind", ["deb", "tar"])
def test_packages(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"k.{kind}"
    path.write_bytes(deb_of(PACKAGE) if kind == "deb" else tar_of(PACKAGE))
    found = identify("next", Artefact(**{kind: str(path)}), "x86_64", tmp_path / "cache")
    assert found.identity.to_json() == {
        "name": "next",
        "source": kind,
        "arch": "x86_64",
        "release": "6.1.0-x",
        "version": "#1 SMP Debian",
        "build_id": BUILD_ID.hex(),
        "config_sha256": hashlib.sha256(b"CONFIG_FROM_FILE=y\n").hexdigest(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "notes": [],
    }
    assert names_in(found.part("modules.tar.gz")) == ["6.1.0-x/kernel/a.ko"]  # no link that leads elsewhere
    assert names_in(found.part("dtbs.tar.gz")) == ["b/c.dtb"]
    image = found.part("image")
    assert image is not None
    assert image.read_bytes() == bzimage()
    told: list[str] = []
    again = identify(
        "other", Artefact(**{kind: str(path)}), "x86_64", tmp_path / "cache", lambda: told.append("unpacking")
    )
    assert told == []
    assert (again.folder, again.identity.name) == (found.folder, "other")


def test_an_image_and_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(arm64())
    module = tmp_path / "m" / "lib" / "modules" / "6.1.0-a" / "a.ko"
    module.parent.mkdir(parents=True)
    module.write_bytes(b"module")
    (tmp_path / "dtbs").mkdir()
    (tmp_path / "dtbs" / "x.dtb").write_bytes(b"tree")
    (tmp_path / "initrd").write_bytes(b"ram")
    artefact = Artefact(
        image=f"{tmp_path}/Image", modules=f"{tmp_path}/m", dtbs=f"{tmp_path}/dtbs", initrd=f"{tmp_path}/initrd"
    )
    found = identify("n", artefact, "aarch64", tmp_path / "cache")
    assert names_in(found.part("modules.tar.gz")) == ["6.1.0-a/a.ko"]
    assert names_in(found.part("dtbs.tar.gz")) == ["x.dtb"]
    assert found.part("initrd") is not None
    assert found.identity.config_sha256 is None
    alone = identify("n", Artefact(image=f"{tmp_path}/Image"), "aarch64", tmp_path / "cache")
    assert alone.identity.notes == ("no modules: all that it needs has to be built in",)
    assert alone.part("modules.tar.gz") is None
    module.write_bytes(b"another")
    other = identify("n", artefact, "aarch64", tmp_path / "cache")
    assert other.identity.release == found.identity.release
    assert other.identity.sha256 != found.identity.sha256  # two builds of one release


def refused(artefact: Artefact, cache: Path, arch: str = "x86_64") -> str:
    with pytest.raises(UserError) as caught:
        identify("next", artefact, arch, cache)
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.glob("*") if path.name.startswith(".new")]
    return str(caught.value)


def test_artefacts_that_are_none(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = tmp_path / "x"
    for kind, data, message in (
        ("image", b"hello world", "no kernel: it begins with 68 65 6c 6c 6f"),
        ("deb", b"hello", "not a Debian package"),
        ("deb", deb_of({"./usr/share/doc": b""}), "no boot/vmlinuz-… in it"),
        ("deb", deb_of(PACKAGE)[:-300], "cannot be read"),
        ("tar", b"hello" * 400, "is no tar file"),
        ("tar", tar_of({**PACKAGE, "boot/vmlinuz-2": bzimage()}), "more than one image in it"),
        (
            "tar",
            tar_of({**PACKAGE, "lib/modules/6.2/a.ko": b""}),
            "the image is 6.1.0-x, the modules are of 6.1.0-x, 6.2",
        ),
        ("tar", tar_of({**PACKAGE, "lib/modules/6.1.0-x/../../a": b""}), "a path that leads out of it"),
    ):
        path.write_bytes(data)
        assert message in refused(Artefact(**{kind: str(path)}), cache), kind
    path.write_bytes(bzimage())
    assert refused(Artefact(image=str(path)), cache, "aarch64").endswith(
        "a kernel for x86_64, and the target is aarch64"
    )
    assert "No such file" in refused(Artefact(image=str(tmp_path / "none")), cache)
    assert "no lib/modules/RELEASE" in refused(Artefact(image=str(path), modules=str(cache)), cache)


MERGED = {"usr/lib/modules" + name.partition("lib/modules")[2] if "/lib/modules/" in name else name: data
          for name, data in PACKAGE.items()}  # fmt: skip


@pytest.mark.parametrize("how", ["gz", "xz", "bz2", "zst", ""])
@pytest.mark.parametrize("kind", ["deb", "tar"])
def test_whatever_it_is_packed_by_and_where_usr_is_merged(tmp_path: Path, kind: str, how: str) -> None:
    data = tar_of(MERGED, f"w:{how}" if how not in ("", "zst") else "w")
    if how == "zst":
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        data = subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    dot = f".{how}" if how else ""
    path = tmp_path / (f"k.tar{dot}" if kind == "tar" else "k.deb")
    path.write_bytes(data if kind == "tar" else ar_of({"debian-binary": b"2.0\n", f"data.tar{dot}": data}))
    artefact = Artefact(**{kind: str(path)})
    found = identify("next", artefact, "x86_64", tmp_path / "cache")
    assert names_in(found.part("modules.tar.gz")) == ["6.1.0-x/kernel/a.ko"]
    assert found.parts["modules.tar.gz"].unpacked == len(b"module")
    seen = look("next", artefact, "x86_64")
    assert (seen.image.build_id, seen.sha256) == (found.identity.build_id, found.identity.sha256)
    assert seen.size == path.stat().st_size
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    assert re.search("cannot be read|is no tar file", refused(artefact, tmp_path / "cache"))


def test_a_folder_where_usr_is_merged(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bzimage())
    folder = tmp_path / "m/usr/lib/modules/6.1.0-x"
    folder.mkdir(parents=True)
    (folder / "a.ko").write_bytes(b"module")
    (folder / "build").symlink_to("/usr/src")
    artefact = Artefact(image=f"{tmp_path}/bzImage", modules=f"{tmp_path}/m")
    found = identify("n", artefact, "x86_64", tmp_path / "cache")
    assert names_in(found.part("modules.tar.gz")) == ["6.1.0-x/a.ko"]


def test_without_zstd_it_is_said_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "k.deb"
    path.write_bytes(ar_of({"debian-binary": b"2.0\n", "data.tar.zst": b"(\xb5/\xfd"}))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentFault, match=r"data\.tar\.zst needs zstd, which is not installed here") as caught:
        identify("next", Artefact(deb=str(path)), "x86_64", tmp_path / "cache")
    assert caught.value.advice == "install zstd"


def test_a_glance_does_not_read_to_the_end(tmp_path: Path) -> None:
    """The image stands at the beginning: modules of hundreds of MB are not unpacked for it."""
    path = tmp_path / "k.tar"
    whole = tar_of(PACKAGE, "w").rstrip(b"\0")
    path.write_bytes(whole + bytes(-len(whole) % 512))  # cut off between two members
    assert look("next", Artefact(tar=str(path))).image.release == "6.1.0-x"
    assert refused(Artefact(tar=str(path)), tmp_path / "cache").endswith("cannot be read: it ends in the middle")
    path.write_bytes(tar_of({"./boot/System.map": b""}))
    with pytest.raises(UserError, match="no boot/vmlinuz-"):
        look("next", Artefact(tar=str(path)))


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache, path = tmp_path / "cache", tmp_path / "bzImage"
    made = []
    for number in range(KEEP + 1):
        path.write_bytes(bzimage(f"6.{number}"))
        made.append(identify("n", Artefact(image=str(path)), "x86_64", cache).folder)
        for age, folder in enumerate(reversed(made)):  # a clock is too coarse for this
            if folder.exists():
                os.utime(folder, (1000 - age, 1000 - age))
        if number == KEEP - 1:
            os.utime(made[0], (2000, 2000))
            made.append(made.pop(0))
    assert sorted(each.exists() for each in made) == [False, *[True] * KEEP]


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "k.tar"
    path.write_bytes(tar_of(PACKAGE))
    found = identify("n", Artefact(tar=str(path)), "x86_64", tmp_path / "cache")
    for part, data in (("identity.json", "{"), ("image", "short")):
        (found.folder / part).write_text(data)
        assert identify("n", Artefact(tar=str(path)), "x86_64", tmp_path / "cache") == found
        assert (found.folder / "image").read_bytes() == bzimage()


def test_what_is_written_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    """A build that goes on: what was unpacked would lie in the cache under the hash of something else."""
    path, cache = tmp_path / "k.tar", tmp_path / "cache"
    path.write_bytes(tar_of(PACKAGE))

    def rewritten() -> None:
        path.write_bytes(tar_of({**PACKAGE, "./lib/modules/6.1.0-x/new.ko": b"new"}))

    with pytest.raises(UserError, match="it changed while it was read"):
        identify("n", Artefact(tar=str(path)), "x86_64", cache, rewritten)
    path.write_bytes(tar_of(PACKAGE))
    found = identify("n", Artefact(tar=str(path)), "x86_64", cache)
    assert (found.folder / "image").read_bytes() == bzimage()


def test_what_unpacks_to_more_than_a_kernel_is_not_unpacked_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program would go on for ever: it is ended as soon as there is enough."""
    monkeypatch.setattr(kernelimage, "MAX_UNPACKED", 3 << 20)
    assert len(kernelimage._by_program(("yes",), b"")) == 3 << 20
    monkeypatch.setattr(kernelimage, "_DECOMPRESS_S", 0.1)
    with pytest.raises(ValueError, match="sleep is not done after 0 s"):
        kernelimage._by_program(("sleep", "60"), b"")
    with pytest.raises(ValueError, match="No such file"):
        kernelimage._by_program(("cat", "/nowhere"), b"")


def test_unpacking_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert unpack(b"\x28\xb5\x2f\xfd" + bytes(9)) == (None, "it is compressed by zstd, which is not installed here")


def real(pattern: str) -> Path:
    found = sorted(DEBS.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {DEBS}: tests/setup.sh fetches it where there is apt-get")
    return found[-1]


@pytest.mark.parametrize(
    ("package", "arch", "words"),
    [
        ("linux-image-6.1.*[0-9]-amd64_*.deb", "x86_64", "PREEMPT_DYNAMIC"),
        ("linux-image-6.1.*-rt-amd64_*.deb", "x86_64", "PREEMPT_RT"),
        ("linux-image-6.1.*-arm64_*.deb", "aarch64", "SMP"),
    ],
)
def test_debians_own_kernels(package: str, arch: str, words: str) -> None:
    """The image alone: packing modules would take 20 s a package."""
    deb = real(package)
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(listed)) as archive:
        name = next(each for each in archive.getnames() if "/boot/vmlinuz-" in each)
        file = archive.extractfile(name)
        assert file is not None
        data = file.read()
    found = read_image(data)
    assert found.arch == arch
    assert name.endswith(f"vmlinuz-{found.release}")
    assert words in found.version
    assert deb.name.split("_")[1].replace("%3a", ":") in found.version
    assert found.note is None
    assert found.build_id is not None
    assert len(found.build_id) == 40
    assert bytes.fromhex(found.build_id) not in data or arch == "aarch64"
