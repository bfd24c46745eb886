# SPDX-License-Identifier: Apache-2.0
"""How QEMU is called for a board. Pure but for looking for the program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentFault
from ..toolchain import ARCHES

#: arch → (program, Debian package, machine, emulated CPU, serial console)
_QEMU = {
    "x86_64": ("qemu-system-x86_64", "qemu-system-x86", "q35", "max", "ttyS0"),
    # "max" would emulate pointer authentication, which halves its speed.
    "aarch64": ("qemu-system-aarch64", "qemu-system-arm", "virt,gic-version=3", "cortex-a72", "ttyAMA0"),
}
#: x86 kernels from this release on die now and then, of an int3 of their own, where QEMU emulates each CPU in a thread
#: of its own: they patch themselves as they run. Seen with QEMU 7.2 in one boot of fifty, and not with 6.1.
_TURNS_SINCE = (6, 12)
#: MiB of translated code that QEMU keeps. With its default of 1024 a second boot takes twice the CPU time of the first:
#: the next kernel is unpacked over the last one, and each write to a page of which code is kept goes a long way. With
#: much less, what runs on the board is translated again and again.
_TRANSLATED_MB = 128
#: Of a board's disks: the system's is the first, its own the second.
_BOOT_DISK = 1


@dataclass(frozen=True)
class Boot:
    """What QEMU itself loads: a kernel, its first root, and its command line but for what the board always adds.

    ``whole``: ``append`` is all of the command line. ``once``: where the board would boot again, QEMU ends instead.
    """

    kernel: Path
    initrd: Path | None
    append: tuple[str, ...] = ()
    whole: bool = False
    once: bool = False


@dataclass(frozen=True)
class Disk:
    path: Path
    read_only: bool = False


@dataclass(frozen=True)
class Hardware:
    """A board as far as QEMU is concerned. ``console`` and ``disks`` may be relative to the folder QEMU runs in.

    ``ssh_port`` is on loopback, and None where there is no network. ``boot`` is None where the disk boots.
    ``releases`` are those of the kernels that it may boot, as far as they are known. ``tsc_khz``: see :func:`always`.
    """

    name: str
    arch: str
    cpus: int
    memory_mb: int
    accel: str
    console: Path
    boot: Boot | None
    disks: tuple[Disk, ...] = ()
    ssh_port: int | None = None
    socket: str | None = None
    releases: tuple[str, ...] = ()
    tsc_khz: int | None = None


def qemu_name(board: str) -> str:
    """What a board's QEMU is called on its command line."""
    return f"isolbench-{board}"


def program(arch: str) -> str:
    """QEMU for ``arch``, found on PATH. Raises EnvironmentFault that says what to install."""
    name, package = _QEMU[arch][:2]
    found = shutil.which(name)
    if found is None:
        raise EnvironmentFault(
            f"virtual boards of {arch} need {name}, which is not installed",
            advice=f"on Debian: apt-get install --no-install-recommends {package}",
        )
    return found


def console_device(arch: str) -> str:
    return _QEMU[arch][4]


def always(arch: str, accel: str, tsc_khz: int | None) -> tuple[str, ...]:
    """Parameters that a kernel gets on any board of ours, before its own.

    ``tsc_khz``: the rate of the counter of the machine that emulates.
    """
    said = [f"console={console_device(arch)}", "panic=10"]
    if arch == "x86_64" and accel == "tcg":
        said.append("tsc=reliable")  # else the clock falls to hpet, and reading it becomes a system call
        if tsc_khz is not None:
            said.append(f"tsc_early_khz={tsc_khz}")  # else it is measured by emulated timers
    return tuple(said)


def command_line(hardware: Hardware, append: Sequence[str]) -> str:
    return " ".join([*always(hardware.arch, hardware.accel, hardware.tsc_khz), *append])


def _threads(hardware: Hardware) -> str:
    """One for each CPU, or one in which they take turns: a boot takes as long, two busy CPUs are half as fast."""
    found = [re.match(r"([0-9]+)\.([0-9]+)", release) for release in hardware.releases]
    newer = any(each and (int(each[1]), int(each[2])) >= _TURNS_SINCE for each in found)
    return "single" if hardware.arch == "x86_64" and newer else "multi"


def argv(hardware: Hardware, qemu: str) -> list[str]:
    """The call. No monitor, no display, nothing that QEMU adds by itself; it ends by a signal."""
    machine, cpu = _QEMU[hardware.arch][2:4]
    tcg = hardware.accel == "tcg"
    call = [qemu, "-name", qemu_name(hardware.name), "-nodefaults", "-no-user-config", "-display", "none"]
    emulation = f"tcg,thread={_threads(hardware)},tb-size={_TRANSLATED_MB}"
    call += ["-machine", machine, "-accel", emulation if tcg else "kvm"]
    call += ["-cpu", cpu if tcg else "host", "-smp", str(hardware.cpus), "-m", f"{hardware.memory_mb}M"]
    log = f"logfile={_escaped(hardware.console)},logappend=on"
    if hardware.socket is None:
        call += ["-chardev", f"null,id=console,{log}"]
    else:
        call += ["-chardev", f"socket,id=console,path={hardware.socket},server=on,wait=off,{log}"]
    call += ["-serial", "chardev:console"]
    for number, disk in enumerate(hardware.disks):
        drive = f"if=none,id=disk{number},format=raw,file={_escaped(disk.path)}"
        # A board that is killed loses what it had not written, as boards do.
        drive += ",read-only=on" if disk.read_only else ",cache=writeback,discard=unmap"
        call += [
            "-drive",
            drive,
            "-device",
            f"virtio-blk-pci,drive=disk{number}{',bootindex=1' if number == 1 else ''}",
        ]
    if hardware.ssh_port is not None:
        forward = f"hostfwd=tcp:127.0.0.1:{hardware.ssh_port}-10.0.2.15:22"
        # restrict=on: a board reaches nothing, neither this machine nor the world; only the forward leads in.
        call += [
            "-netdev",
            f"user,id=net0,restrict=on,ipv6=off,{forward}",
            "-device",
            "virtio-net-pci,netdev=net0,romfile=",
        ]
    call += ["-device", "virtio-rng-pci"]
    if hardware.boot is not None:
        call += ["-kernel", str(hardware.boot.kernel)]
        if hardware.boot.initrd is not None:
            call += ["-initrd", str(hardware.boot.initrd)]
        append = hardware.boot.append
        call += ["-append", " ".join(append) if hardware.boot.whole else command_line(hardware, append)]
        call += ["-no-reboot"] if hardware.boot.once else []
    return call


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


assert set(_QEMU) == set(ARCHES)
