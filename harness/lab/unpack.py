# SPDX-License-Identifier: Apache-2.0
"""mmdebstrap → our sieve → squashfs-tools, as one stream: the unpacked root is never on the disk as a whole.

mmdebstrap fetches and unpacks (as root, or in a user namespace of its own), the sieve drops, moves or keeps each file.
No file is ever owned by somebody here, so nothing here needs to be root's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ..errors import EnvironmentFault
from . import tools
from .cache import Cache
from .pause import Pause, Stopped, wait
from .recipes import DEBIAN_ARCH, Recipe
from .sieve import NOTED, Sieve

#: Bytes. A disk that had less than this was full: mmdebstrap keeps to itself what dpkg said of it.
_NEARLY_FULL = 16 << 20
#: Seconds that mmdebstrap has to end by itself. Root removes what it leaves; in a user namespace nobody else could.
_END_S = 2.0 if os.geteuid() == 0 else 30.0


def pack(wanted: Recipe, cache: Cache, sieve: Sieve, scratch: Path, output: Path, pause: Pause) -> None:
    """mmdebstrap → ``sieve`` → sqfstar into ``output``: an image's root.

    Raises EnvironmentFault where packages cannot be unpacked here, StorageFull, and Stopped if ``pause`` says so.
    """
    fetch = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        "--format=tar",
        f"--arch={DEBIAN_ARCH[wanted.arch]}",
        "--skip=check/qemu",
        "--include=?essential",
        f"--include={','.join(wanted.packages)}",
        f'--extract-hook=cd "$1/var/cache/apt/archives" && ls -1 *.deb >"$1/{NOTED}"',
        wanted.suite,
        "-",
    ]
    options = ["-no-progress", "-quiet", "-comp", "lz4", "-mkfs-time", "0", "-all-time", "0", "-no-xattrs"]
    options += ["-root-mode", "755"]
    # Who packs stands in the table of owners: root, if only by name.
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    errors = (scratch / "errors").open("w+b")
    unpacked = _unpacking_folder(scratch)
    space = _Space((unpacked, str(scratch)))
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
            env={"PATH": tools.path()},
        ) as sink,
    ):
        assert source.stdout is not None
        assert sink.stdin is not None
        broken: Exception | None = None
        try:
            with _watched(source, space, f"image {wanted.name}", pause):
                sieve.run(source.stdout, sink.stdin)
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
    if space.least < _NEARLY_FULL or any("No space left" in line for line in said):
        raise cache.full(f", or in {unpacked}, where packages are unpacked")
    # That a pipe broke is the consequence of something else, and so is that mmdebstrap gave up.
    consequences = ("failed: 13", "mmdebstrap failed to run")
    causes = [line for line in said if line.startswith(("E:", "FATAL")) and not line.endswith(consequences)]
    last = said[-1] if said else str(broken or f"mmdebstrap ended with {ends[0]}, sqfstar with {ends[1]}")
    why = causes[0] if causes else last
    raise EnvironmentFault(
        f"image {wanted.name}: the packages cannot be unpacked: {why}",
        advice="mmdebstrap needs Debian's archive, the package debian-archive-keyring, and root; or else "
        "the package uidmap, and a line for you in /etc/subuid and /etc/subgid",
    )


def _unpacking_folder(scratch: Path) -> str:
    """Where packages are unpacked, a gigabyte of them: on a disk, which /tmp may not be. What runs in a user namespace
    is somebody else, and has no way into an ordinary user's own folders."""
    if (asked := os.environ.get("TMPDIR")) is not None:
        return asked
    return str(scratch) if os.geteuid() == 0 else "/var/tmp"  # noqa: S108  # mmdebstrap makes a folder of its own there


class _Space:
    """The least that was free on the disks of ``folders``, in bytes, as far as anybody looked."""

    def __init__(self, folders: tuple[str, ...]) -> None:
        self._folders = folders
        self.least = 1 << 62

    def look(self) -> None:
        self.least = min(self.least, *(shutil.disk_usage(folder).free for folder in self._folders))


@contextlib.contextmanager
def _watched(source: subprocess.Popen[bytes], space: _Space, what: str, pause: Pause) -> Iterator[None]:
    """``source`` may say nothing for long: if an end is asked for, it is ended, and Stopped raised."""
    done = threading.Event()
    stopped: list[Stopped] = []

    def watch() -> None:
        while not done.is_set():
            space.look()
            try:
                wait(pause, what)
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
