# SPDX-License-Identifier: Apache-2.0
"""A target as embedded systems are: busybox for everything, dropbear, a root that is read-only, and no systemd.

Debian bullseye's Python 3.9, dropbear and static busybox, unpacked and never configured. What may be written is in
memory: /tmp, /run and /dev/shm.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .conftest import ROOT, Server, _wait_listening, free_port
from .unpacked import unpacked

#: $1 the root, $2 a folder of ours with authorized_keys, host key and perhaps a library for Python, $3 the port; then
#: the mount options of /tmp, /run and /dev/shm.
START = r"""
set -e
root=$1 own=$2 port=$3
mount --rbind "$root" "$root"
for each in proc sys dev; do mount --rbind /$each "$root/$each"; done
mount -t tmpfs -o "mode=1777,$4" none "$root/tmp"
mount -t tmpfs -o "mode=755,$5" none "$root/run"
mount -t tmpfs -o "mode=1777,$6" none "$root/dev/shm"
mount -t tmpfs -o mode=755 none "$root/etc"
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
cp "$own/host" "$root/etc/host"
mount -t tmpfs -o mode=700 none "$root/root"
mkdir -m 700 "$root/root/.ssh"
cp "$own/authorized_keys" "$root/root/.ssh/"
[ ! -d "$own/library" ] || mount --bind "$own/library" "$root/usr/lib/python3.9"
for each in etc root; do mount -o remount,ro "$root/$each"; done
mount -o remount,ro,bind "$root"
exec chroot "$root" /usr/sbin/dropbear -F -E -m -s -p "127.0.0.1:$port" -r /etc/host -P /run/dropbear.pid
"""

#: The modules of Python 3.9 that OpenEmbedded has in each of these packages; the rest is in others, or built in.
SPLIT = {
    "python3-core": (
        "__future__ _collections_abc _compression _markupbase _sitebuiltins _weakrefset abc argparse ast "
        "bisect bz2 code codecs codeop collections configparser contextlib copy copyreg csv dataclasses dis "
        "encodings enum fnmatch functools genericpath getopt gettext glob heapq importlib inspect io keyword "
        "linecache locale lzma ntpath opcode operator optparse os pathlib pkgutil platform posixpath re "
        "reprlib runpy selectors shutil signal site sre_compile sre_constants sre_parse stat stringprep "
        "struct subprocess sysconfig textwrap threading token tokenize traceback types typing warnings "
        "weakref lib-dynload"
    ),
    "python3-json": "json",
    "python3-crypt": "hashlib",
    "python3-io": "socket tempfile _pyio ssl",
}


@pytest.fixture(scope="session")
def small_root() -> Path:
    """The unpacked root, busybox's programs in their places. Skips where it cannot be had."""
    if not ROOT:
        pytest.skip("namespaces and chroot need root")
    root = unpacked("bullseye-small", "bullseye", "python3,dropbear-bin,busybox-static")
    for name in ("proc", "sys", "dev", "run", "root"):
        (root / name).mkdir(exist_ok=True)
    if not (root / "bin/sh").is_symlink():
        done = subprocess.run(
            ["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"cannot chroot here: {done.stderr.strip()[-300:]}")
    return root


@pytest.fixture
def start_small(small_root: Path, open_folder: Path, user_key: Path) -> Iterator[Callable[..., Server]]:
    """``start_small(tmp="", run="", shm="", packages=None)`` → a :class:`Server` on such a machine, for root.

    The first three are mount options, such as ``noexec``; ``packages`` are those of :data:`SPLIT` that are installed.
    """
    servers: list[Server] = []

    def start(tmp: str = "", run: str = "", shm: str = "", packages: Sequence[str] | None = None) -> Server:
        root = small_root
        for tool in ("dropbearkey", "unshare"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        own = open_folder / f"small{len(servers)}"
        own.mkdir()
        command = ["dropbearkey", "-t", "ed25519", "-f", f"{own}/host"]
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        key = next(line for line in made.splitlines() if line.startswith("ssh-ed25519"))
        shutil.copy(user_key.with_suffix(".pub"), own / "authorized_keys")
        if packages is not None:
            _library(root / "usr/lib/python3.9", own / "library", packages)
        port = free_port()
        options = [each or "exec" for each in (tmp, run, shm)]
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", START, "sh"]
        command += [str(root), str(own), str(port), *options]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        server = Server(port, " ".join(key.split()[:2]), user_key, own / "log", process, None)
        servers.append(server)
        _wait_listening(server)
        return server

    yield start
    for server in servers:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def _library(whole: Path, part: Path, packages: Sequence[str]) -> None:
    """Python's library with the modules of ``packages`` alone."""
    part.mkdir()
    names = {name for package in packages for name in SPLIT[package].split()}
    for path in whole.iterdir():
        if path.name.removesuffix(".py") in names or path.name.startswith("_sysconfigdata"):
            if path.is_dir():
                shutil.copytree(path, part / path.name, symlinks=True)
            else:
                shutil.copy(path, part / path.name)
