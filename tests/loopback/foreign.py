# SPDX-License-Identifier: Apache-2.0
"""This machine as one of the other architecture: an unpacked aarch64 Debian, its programs run by qemu-user.

The kernel starts foreign programs by an interpreter that is registered in a user namespace of a command's own: nothing
on this machine changes, and there "root" has no privilege. What a time under emulation is worth, nobody asks here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile

import pytest

from harness.build import native_arch

from .unpacked import unpacked

#: ELF, 64 bits, little endian, of any ABI; ET_EXEC or ET_DYN; EM_AARCH64.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

#: Its own interpreters of foreign programs and its own mounts; the emulator's libraries beside the foreign ones; the
#: caller's folder is /mnt, with the places where root's agent keeps its state.
INSIDE = r"""
set -e
emulator=$1 root=$2 mnt=$3
shift 3
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' ":isolbench:M:0:MAGIC:MASK:$emulator:F" >/proc/sys/fs/binfmt_misc/register
for each in proc sys dev; do mkdir -p "$root/$each"; mount --rbind /$each "$root/$each"; done
for each in /lib64 /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu; do
    mkdir -p "$root$each"
    mount --rbind "$(readlink -f $each)" "$root$each"
done
for each in mnt run var/lib; do mkdir -p "$root/$each"; done
mount --rbind "$mnt" "$root/mnt"
for each in run var/lib; do mkdir -p "$mnt/$each"; mount --rbind "$mnt/$each" "$root/$each"; done
exec chroot "$root" "$@"
""".replace("MAGIC", MAGIC).replace("MASK", MASK)


@pytest.fixture(scope="session")
def foreign() -> list[str]:
    """Before a folder and a command: it then runs on aarch64, and the folder is /mnt."""
    if native_arch() != "x86_64":
        pytest.skip("this machine runs aarch64 itself")
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user)")
    root = unpacked("bookworm-arm64", "bookworm", "python3,dash,coreutils", "--arch=arm64")
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private"]
    prefix = [*unshare, "sh", "-c", INSIDE, "sh", emulator, str(root)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*prefix, folder, "/usr/bin/python3", "-V"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no foreign programs in a user namespace here: {done.stderr.strip()[-300:]}")
    return prefix
