# SPDX-License-Identifier: Apache-2.0
"""What a kernel image says of itself: release, version, build id, configuration. Bytes in, facts out.

Sources: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot.lds
and scripts/extract-ikconfig of the kernel.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import UserError

#: An unpacked kernel is some tens of MB: what unpacks to more than this is none.
MAX_UNPACKED = 512 << 20
_DECOMPRESS_S = 60.0
_BLOCK = 1 << 20

#: The banner of init/version.c: release, (user@host), (compiler), version.
_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,63}) \([^\n\0]{0,400}?\) (#[0-9]+[^\n\0]{0,200})\n")
_BUILD_ID_NOTE = re.compile(rb"\x04\0\0\0([\x08-\x40])\0\0\0\x03\0\0\0GNU\0")
_ELF = b"\x7fELF"
#: XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h: its owner's length and its own, its type, its owner.
_PVH_NOTE = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"
#: Compressions by how they begin, as the kernel's own lib/decompress.c tells them apart.
_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x5d\0\0", "lzma"),
    (b"BZh", "bzip2"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZ", "lzop"),
)
#: Those that Python has no module for: by a program that reads from one pipe and writes to another.
_PROGRAMS = {"zstd": ("zstd", "-dcq"), "lz4": ("lz4", "-dcq"), "lzop": ("lzop", "-dcq")}


class NoKernel(UserError):
    """What was given is no kernel image; the message says what it is instead."""


@dataclass(frozen=True)
class Image:
    """``version`` is what ``uname -v`` will say. ``build_id`` in hex; None where the image does not let it be known,
    ``note`` then says why. ``config`` is the configuration's text, if it is built in.
    """

    arch: str
    release: str
    version: str
    build_id: str | None = None
    config: bytes | None = None
    note: str | None = None


def read_image(data: bytes) -> Image:
    """What ``data`` says of itself; :class:`NoKernel` if it is none."""
    if _is_bzimage(data):
        return _bzimage(data)
    if data[:2] == b"\x1f\x8b":
        inner, note = unpack(data)
        if inner is not None and _is_arm64(inner):
            return _arm64(inner)
        raise NoKernel(f"no kernel: what is compressed in it is {_what(inner or b'', note)}")
    if _is_zboot(data):
        return _zboot(data)
    if _is_arm64(data):
        return _arm64(data)
    raise NoKernel(f"no kernel: {_what(data)}")


def elf_with_pvh(data: bytes) -> bytes | None:
    """The ELF file in an x86 kernel's image, if it says by a note how it is entered unpacked: QEMU can then load it as
    it is. Else None."""
    inner = _inside_bzimage(data)[0] if _is_bzimage(data) else None
    if inner is None or not inner.startswith(_ELF):
        return None
    notes = _note_segments(inner, 0)
    return inner if any(_PVH_NOTE in inner[start : start + size] for start, size in notes) else None


def _what(data: bytes, note: str | None = None) -> str:
    """What ``data`` may be, to a person."""
    if note is not None and not data:
        return note
    if not data.strip(b"\0"):
        return "nothing but zeros" if data else "empty"
    known = (
        (_ELF, "an ELF file (a vmlinux is not booted: take bzImage or Image)"),
        (b"!<arch>", "a Debian package (say deb)"),
        (b"PK", "a zip file"),
        (b"\x27\x05\x19\x56", "a U-Boot image (take Image)"),
        (b"\xd0\x0d\xfe\xed", "a device tree, or a FIT image"),
        (b"070701", "an initramfs"),
        *((magic, f"{name} of something else") for magic, name in _MAGICS),
        (b"MZ", "an EFI program, but not a kernel's"),
        (b"#!", "a script"),
    )
    for magic, name in known:
        if data.startswith(magic):
            return name
    if data[257:262] == b"ustar":
        return "a tar file (say tar)"
    return f"it begins with {data[:8].hex(' ')}"


# -- x86


def _is_bzimage(data: bytes) -> bool:
    return len(data) > 0x264 and data[0x202:0x206] == b"HdrS"


def _bzimage(data: bytes) -> Image:
    """The setup header: kernel_version at 0x20e, from protocol 2.08 on where the packed kernel lies at 0x248."""
    protocol, version_at = struct.unpack_from("<H", data, 0x206)[0], struct.unpack_from("<H", data, 0x20E)[0] + 0x200
    words = data[version_at : version_at + 400].split(b"\0")[0].decode("ascii", "replace")
    match = re.fullmatch(r"([0-9]\S*) \(.*?\) (#[0-9]+ .*)", words)
    if match is None:
        raise NoKernel(f"no kernel: its header has no version but {words[:40]!r}")
    load_flags_64 = struct.unpack_from("<H", data, 0x236)[0] & 1 if protocol >= 0x20C else 0
    arch = "x86_64" if load_flags_64 else "i686"
    release, version = match[1], match[2].strip()
    inner, note = _inside_bzimage(data)
    if inner is None:
        return Image(arch, release, version, note=note)
    if not inner.startswith(_ELF):
        raise NoKernel(f"no kernel: what is compressed in it is {_what(inner)}")
    return Image(arch, release, version, build_id_of_elf(inner), built_in_config(inner))


def _inside_bzimage(data: bytes) -> tuple[bytes | None, str | None]:
    """What is packed in it, as of :func:`unpack`. The header says where it lies; NoKernel where that is cut short."""
    if struct.unpack_from("<H", data, 0x206)[0] < 0x208:
        return None, "its boot protocol is too old to say where the kernel lies in it"
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1F1] or 4) + 1) * 512 + offset
    if len(data) < start + length:
        raise NoKernel(f"no whole kernel: {len(data)} bytes, and its header speaks of {start + length}")
    return unpack(data[start : start + length])


# -- arm64


def _is_arm64(data: bytes) -> bool:
    return data[56:60] == b"ARM\x64"


def _is_zboot(data: bytes) -> bool:
    return data[:2] == b"MZ" and data[4:8] == b"zimg"


def _arm64(data: bytes) -> Image:
    banner = _BANNER.search(data)
    if banner is None:
        raise NoKernel("no kernel: it has an arm64 header, and no version in it")
    size = struct.unpack_from("<Q", data, 16)[0]
    # image_size counts the .bss, which is not in the file; far less than that is half a file
    if size and len(data) < size // 2:
        raise NoKernel(f"no whole kernel: {len(data)} bytes of {size}")
    found, note = _build_id_of_raw(data)
    return Image(
        "aarch64",
        banner[1].decode("ascii", "replace"),
        banner[2].decode("ascii", "replace").strip(),
        found,
        built_in_config(data),
        note,
    )


def _zboot(data: bytes) -> Image:
    """An EFI zboot image: offset and size of the packed Image at 8, the compression's name at 24."""
    offset, size = struct.unpack_from("<II", data, 8)
    inner, note = unpack(data[offset : offset + size])
    if inner is None:
        raise NoKernel(f"the kernel in it cannot be looked at: {note}")
    if not _is_arm64(inner):
        raise NoKernel(f"no kernel: what is compressed in it is {_what(inner)}")
    return _arm64(inner)


# -- parts


def unpack(data: bytes) -> tuple[bytes | None, str | None]:
    """(what was packed, None), or (None, why it cannot be had). What follows the packed part is passed over."""
    name = next((name for magic, name in _MAGICS if data.startswith(magic)), None)
    if name is None:
        return (data, None) if data.startswith(_ELF) else (None, "it is compressed by something that nobody knows")
    try:
        if name in _PROGRAMS:
            return _by_program(_PROGRAMS[name], data), None
        makers: dict[str, Callable[[], zlib._Decompress | lzma.LZMADecompressor | bz2.BZ2Decompressor]] = {
            "gzip": lambda: zlib.decompressobj(31),
            "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
            "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE),
            "bzip2": bz2.BZ2Decompressor,
        }
        return makers[name]().decompress(data, MAX_UNPACKED), None
    except FileNotFoundError:
        return None, f"it is compressed by {name}, which is not installed here"
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, subprocess.SubprocessError) as error:
        return None, f"its {name} data is damaged: {str(error).splitlines()[0][:120]}"


def _by_program(argv: tuple[str, ...], data: bytes) -> bytes:
    """The kernel appends the size, which the program complains of: what it gave before counts, up to MAX_UNPACKED."""
    with tempfile.TemporaryFile() as packed, tempfile.TemporaryFile() as errors:
        packed.write(data)
        packed.seek(0)
        with subprocess.Popen(argv, stdin=packed, stdout=subprocess.PIPE, stderr=errors) as program:
            assert program.stdout is not None
            late = threading.Timer(_DECOMPRESS_S, program.kill)
            late.start()
            try:
                found = bytearray()
                while len(found) < MAX_UNPACKED and (block := program.stdout.read(_BLOCK)):
                    found += block
                in_time = late.is_alive()
            finally:
                late.cancel()
                program.kill()
        if not in_time:
            raise ValueError(f"{argv[0]} is not done after {_DECOMPRESS_S:.0f} s")
        errors.seek(0)
        if not found:
            raise ValueError(errors.read(_BLOCK).decode("utf-8", "replace").strip() or f"{argv[0]} gave nothing")
    return bytes(found[:MAX_UNPACKED])


def build_id_of_elf(data: bytes) -> str | None:
    """The GNU build id among the notes of an ELF file's segments (64- or 32-bit, little-endian)."""
    for start, size in _note_segments(data, 0):
        for match in _BUILD_ID_NOTE.finditer(data, start, start + size):
            end = match.end() + match[1][0]
            if end <= start + size:
                return data[match.end() : end].hex()
    return None


def _note_segments(data: bytes, base: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of each PT_NOTE of the ELF file that lies at ``base``, counted from the beginning of ``data``."""
    head = data[base : base + 64]
    if len(head) < 64 or head[5] != 1:
        return
    wide = head[4] == 2
    table, entry, count = (
        (*struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54))
        if wide
        else (*struct.unpack_from("<I", head, 28), *struct.unpack_from("<HH", head, 42))
    )
    for number in range(min(count, 64)):
        at = base + table + number * entry
        if at + (56 if wide else 32) > len(data):
            return
        if struct.unpack_from("<I", data, at)[0] != 4:
            continue
        if wide:
            offset, size = struct.unpack_from("<Q", data, at + 8)[0], struct.unpack_from("<Q", data, at + 32)[0]
        else:
            offset, size = struct.unpack_from("<I", data, at + 4)[0], struct.unpack_from("<I", data, at + 16)[0]
        yield base + offset, size


def _build_id_of_raw(data: bytes) -> tuple[str | None, str | None]:
    """The build id of a kernel that has lost its ELF header. The vDSOs in it have theirs, and notes of their own."""
    others: list[tuple[int, int]] = []
    at = data.find(_ELF)
    while at >= 0:
        others += _note_segments(data, at)
        at = data.find(_ELF, at + 4)
    found = {
        data[match.end() : match.end() + match[1][0]].hex()
        for match in _BUILD_ID_NOTE.finditer(data)
        if not any(start <= match.start() < start + size for start, size in others)
    }
    if len(found) == 1:
        return found.pop(), None
    return (
        None,
        "no build id in it" if not found else f"{len(found)} build ids in it: which is the kernel's is not known",
    )


def built_in_config(data: bytes) -> bytes | None:
    """The configuration's text, where the kernel has CONFIG_IKCONFIG."""
    at = data.find(b"IKCFG_ST\x1f\x8b")
    if at < 0:
        return None
    try:
        return zlib.decompressobj(31).decompress(data[at + 8 :], MAX_UNPACKED)
    except zlib.error:
        return None
