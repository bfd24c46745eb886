# SPDX-License-Identifier: Apache-2.0
"""Where images are kept: files named by their own SHA-256, and entries that say which files make which image.

``$XDG_CACHE_HOME/isolbench/lab``, outside of any repository. What is read from it is checked against its hash first: a
damaged image is said to be damaged, never booted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import EnvironmentFault, StorageFull
from .pause import POLL_S

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


#: Less free space than this, and the build of an image is not begun: it takes 1.3 GB, and keeps 0.1.
NEEDED_BYTES = 1_400_000_000
_FREE_MORE = "free 1.4 GB for the build of an image (isolbench lab prune), or set XDG_CACHE_HOME to another disk"
#: A folder in which an image is being built, or was: what follows is the key.
SCRATCH = ".build-"


def _flocked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/isolbench/lab``; a relative one is ignored, as its specification says."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "isolbench" / "lab"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Cache:
    """One folder of files and entries. Safe for several at once: whoever builds an image holds its lock."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A full disk becomes :class:`StorageFull`, which names the folder."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise self.full() from error

    def full(self, left: str = "") -> StorageFull:
        return StorageFull(f"no space left for images in {self.folder}{left}", advice=_FREE_MORE)

    @contextlib.contextmanager
    def locked(self, name: str, waiting: Callable[[], object] = lambda: time.sleep(POLL_S)) -> Iterator[None]:
        """One at a time; the others wait and then find it done. ``waiting`` waits a moment, and may raise."""
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / f"{name}.lock").open("w")
        with lock:
            while not _flocked(lock):
                waiting()
            yield

    def is_busy(self, name: str) -> bool:
        """Whether somebody holds that lock now."""
        try:
            with (self.folder / f"{name}.lock").open() as lock:
                return not _flocked(lock)
        except FileNotFoundError:
            return False

    def entries(self) -> list[str]:
        """The keys of all entries there are, whichever version of isolbench made them."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    @contextlib.contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """A folder beside the files, so that a finished one is moved in by one rename. Gone afterwards.

        The caller holds the lock of ``key``; what somebody left who was killed is removed first.
        """
        scratch = self.folder / f"{SCRATCH}{key}"
        with self.writing():
            shutil.rmtree(scratch, ignore_errors=True)
            if (free := shutil.disk_usage(self.folder).free) < NEEDED_BYTES:
                raise self.full(f" ({free / 1e6:.0f} MB)")
            scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def enter(self, path: Path, name: str) -> dict[str, Any]:
        """Move a finished file in; what an entry says of it: ``{"file", "sha256", "size"}``."""
        sha256 = sha256_of(path)
        file = f"{sha256[:16]}-{name}"
        size = path.stat().st_size
        path.chmod(0o644)
        path.replace(self.folder / file)
        return {"file": file, "sha256": sha256, "size": size}

    def write_entry(self, key: str, entry: dict[str, Any]) -> None:
        with self.writing(), tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            json.dump(entry, file, indent=1, sort_keys=True)
            file.write("\n")
        Path(file.name).replace(self.folder / f"{key}.json")

    def read_entry(self, key: str) -> dict[str, Any] | None:
        """None where there is none, or none that can be read: it is built again."""
        try:
            entry = json.loads((self.folder / f"{key}.json").read_text())
        except (OSError, ValueError):
            return None
        return entry if isinstance(entry, dict) else None

    def files(self, key: str) -> set[str]:
        """The names of the files that an entry notes, whatever else it says."""

        def noted(found: object) -> Iterator[str]:
            if isinstance(found, dict):
                if isinstance(found.get("file"), str):
                    yield found["file"]
                for each in found.values():
                    yield from noted(each)

        return set(noted(self.read_entry(key)))

    def drop_entry(self, key: str) -> None:
        (self.folder / f"{key}.json").unlink(missing_ok=True)

    def checked(self, noted: dict[str, Any]) -> Path:
        """The file that an entry notes, after its bytes were compared with its hash. Raises EnvironmentFault."""
        path = self.folder / str(noted["file"])
        try:
            found = sha256_of(path)
        except OSError as error:
            found = error.strerror or str(error)
        if found != noted["sha256"]:
            raise EnvironmentFault(
                f"damaged image: {path} is not what was built (expected SHA-256 {str(noted['sha256'])[:16]}…, "
                f"found {found[:16]}…)",
                advice="build it again: isolbench lab build --again",
            )
        return path
