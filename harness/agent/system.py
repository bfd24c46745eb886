# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the kernel's files below a root that tests may replace. Reads never raise: missing is None."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import Any, Iterable, Sequence


class Tree:
    """``/proc`` and ``/sys`` as seen below ``root``; paths are absolute as on a real machine."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def path(self, path: str) -> str:
        return self.root + path

    def read_bytes(self, path: str, limit: int = 1 << 22) -> bytes | None:
        """The first ``limit`` bytes of a file, or None where it cannot be read (for whatever reason)."""
        try:
            fd = os.open(self.root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return None
        try:
            parts = []
            while limit > 0:
                part = os.read(fd, min(limit, 1 << 18))
                if not part:
                    break
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(fd)

    def read(self, path: str) -> str | None:
        """The file's text without surrounding white space, or None."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace").strip("\0 \t\r\n")

    def number(self, path: str) -> int | None:
        text = self.read(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """What a directory holds, sorted; nothing where it cannot be read."""
        try:
            return sorted(os.listdir(self.root + path))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)

    def write(self, path: str, value: str) -> int:
        """Write in one go, as kernel files want it; the errno, or 0."""
        try:
            fd = os.open(self.root + path, os.O_WRONLY | os.O_CLOEXEC | (os.O_TRUNC if self.root else 0))
        except OSError as error:
            return error.errno or errno.EIO
        try:
            os.write(fd, value.encode())
            return 0
        except OSError as error:
            return error.errno or errno.EIO
        finally:
            os.close(fd)

    def make_folder(self, path: str) -> int:
        """The errno, or 0."""
        try:
            os.mkdir(self.root + path, 0o755)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def remove_folder(self, path: str) -> int:
        """An empty one; of a control group the kernel's files do not count. The errno, or 0."""
        try:
            os.rmdir(self.root + path)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def affinity(self, tid: int) -> list[int] | None:
        """The CPUs of a thread, or None where there is none such."""
        try:
            return sorted(os.sched_getaffinity(tid))
        except OSError:
            return None

    def set_affinity(self, tid: int, cpus: Iterable[int]) -> int:
        """The errno, or 0."""
        try:
            os.sched_setaffinity(tid, cpus)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
        """A command of this machine, by its path and without a shell: exit status, output, errors.

        Raises OSError where it cannot be started, or is not done in time (it is killed then).
        """
        try:
            done = subprocess.run(
                [self.root + argv[0], *argv[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError(errno.ETIMEDOUT, f"not done after {timeout_s:g} s") from None
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def errno_name(number: int) -> str:
    """``EPERM`` for 1; the number itself where it has no name."""
    return errno.errorcode.get(number, str(number))


def parse_cpus(text: str | None) -> list[int]:
    """A kernel CPU list, ``0-2,5`` -> [0, 1, 2, 5]. Empty, absent or ``(null)`` (seen in nohz_full) -> []."""
    cpus: set[int] = set()
    for part in (text or "").strip().split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            continue
        if 0 <= low <= high < 1 << 16:
            cpus.update(range(low, high + 1))
    return sorted(cpus)


def format_cpus(cpus: Iterable[int]) -> str:
    """The inverse: [0, 1, 2, 5] -> ``0-2,5``."""
    parts: list[str] = []
    ordered = sorted(set(cpus))
    index = 0
    while index < len(ordered):
        end = index
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[index]) if end == index else f"{ordered[index]}-{ordered[end]}")
        index = end + 1
    return ",".join(parts)


def parse_mask(text: str | None) -> list[int]:
    """A kernel CPU mask in hex, groups of 32 bits: ``3`` -> [0, 1], ``1,00000000`` -> [32]. Unreadable -> []."""
    try:
        value = int((text or "0").strip().replace(",", ""), 16)
    except ValueError:
        return []
    return [cpu for cpu in range(value.bit_length()) if value >> cpu & 1]


def format_mask(cpus: Iterable[int]) -> str:
    """The inverse, as the kernel accepts it."""
    value = 0
    for cpu in cpus:
        value |= 1 << cpu
    groups = []
    while True:
        groups.append(value & 0xFFFFFFFF)
        value >>= 32
        if not value:
            break
    head, rest = groups[-1], groups[-2::-1]
    return ",".join([f"{head:x}"] + [f"{group:08x}" for group in rest])


class AgentError(Exception):
    """An error that crosses the wire: whose ``fault``, a ``kind`` for machines, a message and advice for people."""

    def __init__(self, fault: str, kind: str, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.kind = kind
        self.advice = advice

    def to_json(self) -> dict[str, Any]:
        return {"fault": self.fault, "kind": self.kind, "message": str(self), "advice": self.advice}


def remove_tree(path: str) -> None:
    """Remove a folder and all in it, as far as possible; symbolic links are not followed."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            _quietly(os.unlink, os.path.join(folder, name))
        for name in folders:
            full = os.path.join(folder, name)
            _quietly(os.unlink if os.path.islink(full) else os.rmdir, full)
    _quietly(os.rmdir, path)


def _quietly(act: Any, path: str) -> None:
    with contextlib.suppress(OSError):
        act(path)


def write_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` atomically, and have it on the disk when this returns."""
    partial = f"{path}.tmp-{os.getpid()}"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except OSError:
        _quietly(os.unlink, partial)
        raise
    finally:
        os.close(fd)
    os.rename(partial, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
