# SPDX-License-Identifier: Apache-2.0
"""What of the cache is of no use any more: other recipes' images, files of images built anew, builds left half-done."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import recipes, state
from .cache import SCRATCH, Cache

_FILE = re.compile(r"[0-9a-f]{16}-.+")


@dataclass(frozen=True)
class Pruned:
    """``files`` were removed, ``kept`` images stay. ``busy``: an image is being built, so files were left alone."""

    files: tuple[str, ...]
    bytes: int
    kept: tuple[str, ...]
    busy: bool


def prune(cache: Cache) -> Pruned:
    """Remove all but the images that this version of isolbench makes boards of, and what boards that are up use."""
    known = {recipes.key(recipe): recipe.name for recipe in recipes.RECIPES.values()}
    removed: dict[str, int] = {}
    busy = {key for key in {*cache.entries(), *known} if cache.is_busy(key)}
    for path in cache.folder.glob(f"{SCRATCH}*"):
        key = path.name.removeprefix(SCRATCH)
        if cache.is_busy(key):
            busy.add(key)
        else:
            removed[path.name] = _size(path)
            shutil.rmtree(path, ignore_errors=True)
    for key in cache.entries():
        if key not in known and key not in busy:
            removed[f"{key}.json"] = _size(cache.folder / f"{key}.json")
            cache.drop_entry(key)
    if not busy:  # what is finished comes in before its entry does
        used = {name for key in cache.entries() for name in cache.files(key)} | _open()
        for path in sorted(cache.folder.glob("*")):
            if _FILE.fullmatch(path.name) and path.name not in used:
                removed[path.name] = _size(path)
                path.unlink(missing_ok=True)
    kept = sorted(known[key] for key in cache.entries() if key in known)
    return Pruned(tuple(sorted(removed)), sum(removed.values()), tuple(kept), bool(busy))


def _size(path: Path) -> int:
    """Bytes that ``path`` takes on the disk, with all that is in it."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(each.lstat().st_blocks * 512 for each in files)


def _open() -> set[str]:
    """The names of the files that boards that are up have open."""
    found = set()
    for record in state.records():
        with contextlib.suppress(OSError):  # gone meanwhile
            for each in os.listdir(f"/proc/{record.pid}/fd") if record.is_alive() else []:
                with contextlib.suppress(OSError):
                    found.add(os.path.basename(os.readlink(f"/proc/{record.pid}/fd/{each}")))
    return found
