# SPDX-License-Identifier: Apache-2.0
"""A board's own disks: what makes this board this one. Made without privileges and without loop devices.

The disk that it may write: a partition with an empty file system for all that the board changes, and /boot. The seed: a
plain tar archive as a disk, whose files are put over the system at each boot: host key, the key it lets in, its name.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

from ..errors import EnvironmentFault, StorageFull

_SECTOR = 512
_START = 2048  # sectors: room for a boot loader before the first partition
_DISK_BYTES = 2 << 30  # sparse: what is not written takes nothing
_LINUX = 0x83


def check_tools() -> None:
    """Raise EnvironmentFault, saying what to install, where no board can be furnished: before an image is built."""
    _ssh_keygen()
    _mkfs()


def _ssh_keygen() -> str:
    tool = shutil.which("ssh-keygen")
    if tool is None:
        raise EnvironmentFault(
            "no ssh-keygen: a board gets keys of its own",
            advice="on Debian: apt-get install --no-install-recommends openssh-client",
        )
    return tool


def _mkfs() -> str:
    tool = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        raise EnvironmentFault(
            "no mkfs.ext4: a board has a disk", advice="on Debian: apt-get install --no-install-recommends e2fsprogs"
        )
    return tool


def keygen(path: Path, comment: str) -> str:
    """A new key pair at ``path``; the public key's first two words."""
    tool = _ssh_keygen()
    path.unlink(missing_ok=True)
    call = [tool, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(call, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def seed(path: Path, hostname: str, host_key: Path, lets_in: str, machine_id: str) -> None:
    """The archive of the board's own files, all of them root's."""
    files = {
        "etc/hostname": (0o644, hostname + "\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost\n"),
        "etc/machine-id": (0o444, machine_id + "\n"),
        "etc/ssh/authorized_keys": (0o644, lets_in + "\n"),
        "etc/ssh/ssh_host_ed25519_key": (0o600, host_key.read_text()),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (mode, text) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), mode
            archive.addfile(info, io.BytesIO(text.encode()))
    path.touch(mode=0o600)
    path.write_bytes(out.getvalue())


def make(path: Path, boot: dict[str, bytes], scratch: Path, loader: bytes = b"") -> None:
    """A disk with one partition, whose file system holds ``boot`` in /boot and no more, and a ``loader`` before it."""
    tool = _mkfs()
    tree = scratch / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name, data in boot.items():
        file = tree / "boot" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    with path.open("wb") as disk:
        disk.truncate(_DISK_BYTES)
    sectors = _DISK_BYTES // _SECTOR - _START
    if len(loader) > _START * _SECTOR:
        raise EnvironmentFault(f"the boot loader ({len(loader)} bytes) does not fit before the first partition")
    options = f"offset={_START * _SECTOR},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1"
    call = [tool, "-q", "-F", "-E", options, "-J", "size=16", "-d", str(tree), str(path), f"{sectors // 2}k"]
    done = subprocess.run(call, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    shutil.rmtree(tree, ignore_errors=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        if "No space" in done.stderr:
            raise StorageFull(f"no space left for board {path.parent.name}'s disk in {path.parent}")
        raise EnvironmentFault(f"mkfs.ext4: {said[-1] if said else done.returncode}")
    with path.open("r+b") as disk:
        disk.write(partition_table(sectors, loader) + loader[_SECTOR:])


def partition_table(sectors: int, code: bytes = b"") -> bytes:
    """A master boot record with one partition, and ``code`` before its table (446 bytes at most)."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", _LINUX, b"\xfe\xff\xff", _START, sectors)
    return code[:446].ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa"
