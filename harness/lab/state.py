# SPDX-License-Identifier: Apache-2.0
"""What is known of the boards that are up: one folder each, gone with the board.

``$XDG_STATE_HOME/isolbench/lab/NAME`` holds the board's disk, keys, consoles and ``board.json``. A process id proves
nothing after a crash: QEMU is known by its process id and the moment at which that process started.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..deadline import Deadline
from ..errors import Busy, EnvironmentFault, StorageFull
from .machine import qemu_name

_POLL_S = 0.05
_TERM_S = 5.0
#: In a board's folder: somebody wants it down, whoever is bringing it up.
_DOWN = "down"


def state_dir() -> Path:
    """``$XDG_STATE_HOME/isolbench/lab``; a relative one is ignored, as its specification says."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local/state"
    return root / "isolbench" / "lab"


@dataclass(frozen=True)
class Record:
    """``board.json``: a board as it was started last. ``started_ticks`` is field 22 of /proc/PID/stat."""

    name: str
    arch: str
    cpus: int
    memory_mb: int
    image: str
    kernel: str
    accel: str
    port: int
    host_key: str
    pid: int
    started_ticks: int
    boot_id: str
    append: tuple[str, ...] = ()
    #: Its QEMU ends with this boot.
    once: bool = False

    def is_alive(self) -> bool:
        """Does this very QEMU run? Another process under its number does not count."""
        return self.boot_id == host_boot_id() and process_start(self.pid) == self.started_ticks


def host_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None if there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class BoardFolder:
    """One board's folder. Whoever changes the board holds :meth:`locked`."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        self.name = name
        self.root = root or state_dir()
        self.path = self.root / name

    @property
    def identity(self) -> Path:
        return self.path / "id_ed25519"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time for a board: the lock is on the folder itself, and goes with it. Raises Busy."""
        folder = self._try_lock()
        if folder is None:
            raise Busy(
                f"another isolbench is working on board {self.name}",
                advice=f"wait for it, or end it: isolbench lab down {self.name}",
            )
        try:
            yield
        finally:
            os.close(folder)

    def _try_lock(self) -> int | None:
        """A descriptor that holds the lock, or None. A folder that was removed meanwhile is nobody's lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(folder), self.path.stat()):
                return folder
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(folder)
        return None

    def is_busy(self) -> bool:
        """Does somebody bring the board up now, or take it down?"""
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(folder)
        return False

    def ask_down(self) -> None:
        """Have whoever is bringing the board up give up: see :meth:`asked_down`."""
        with contextlib.suppress(OSError):
            (self.path / _DOWN).touch()

    def asked_down(self) -> bool:
        return (self.path / _DOWN).exists()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A full disk becomes :class:`StorageFull`, which names the board and its folder."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StorageFull(f"no space left for board {self.name} in {self.path}") from error

    def read(self) -> Record | None:
        try:
            data: dict[str, Any] = json.loads((self.path / "board.json").read_text())
            return Record(**{**data, "append": tuple(data.get("append", ()))})
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: Record) -> None:
        new = self.path / "board.json.new"
        try:
            new.write_text(json.dumps(asdict(record), indent=1) + "\n")
        except OSError as error:
            raise StorageFull(f"cannot write {new}: {error.strerror}") from error
        new.replace(self.path / "board.json")

    def clear(self) -> None:
        """Remove all there is in the folder, but not the folder, which is the lock."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise EnvironmentFault(f"board {self.name}: {self.path} cannot be removed", advice="whose is it?")
        with contextlib.suppress(OSError):  # the last board takes the folder of all with it
            self.root.rmdir()

    def end(self) -> None:
        """End the board's QEMU, and any other that was started in this folder: its record may never have been written.

        Raises EnvironmentFault where one cannot be ended.
        """
        record = self.read()
        found = {record.pid: record.started_ticks} if record is not None and record.is_alive() else {}
        for pid, ticks in (found | self._started_here()).items():
            if not end_process(pid, ticks):
                raise EnvironmentFault(
                    f"board {self.name}: its QEMU (pid {pid}) cannot be ended", advice="whose is it?"
                )

    def _started_here(self) -> dict[int, int]:
        """QEMUs of this board, alive, by process id: they run in its folder, removed or not."""
        path = os.path.realpath(self.path)
        here = {path, f"{path} (deleted)"}
        found: dict[int, int] = {}
        for each in Path("/proc").iterdir():
            if not each.name.isdecimal():
                continue
            with contextlib.suppress(OSError):  # another user's, or gone
                if os.readlink(each / "cwd") not in here:
                    continue
                called = (each / "cmdline").read_bytes().split(b"\0")
                ticks = process_start(int(each.name))
                if ticks is not None and qemu_name(self.name).encode() in called:
                    found[int(each.name)] = ticks
        return found


def folders(root: Path | None = None) -> list[BoardFolder]:
    """All boards there is anything of, by name."""
    folder = root or state_dir()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [BoardFolder(name, folder) for name in names]


def records(root: Path | None = None) -> list[Record]:
    """All boards that somebody brought up, alive or not, by name."""
    found = [folder.read() for folder in folders(root)]
    return [record for record in found if record is not None]


def end_process(pid: int, started_ticks: int) -> bool:
    """End the process ``pid`` that started then, if it is still that one. False if it lives on."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if process_start(pid) != started_ticks:
            break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)
        deadline = Deadline.after(_TERM_S)
        while process_start(pid) == started_ticks and not deadline.expired:
            _reap(pid)
            time.sleep(_POLL_S)
    return process_start(pid) != started_ticks


def _reap(pid: int) -> None:
    """A child of ours stays as a corpse until it is waited for; anybody else's is not ours to wait for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
