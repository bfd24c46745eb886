# SPDX-License-Identifier: Apache-2.0
"""The cache of images: what stays in it and what goes, what is damaged, what is said where there is no room."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import EnvironmentFault, StorageFull
from harness.lab import cache as caches
from harness.lab import recipes
from harness.lab.cache import SCRATCH, Cache
from harness.lab.prune import prune
from harness.lab.recipes import RECIPES
from harness.lab.state import BoardFolder, Record, host_boot_id, process_start

KNOWN = recipes.key(RECIPES["bookworm-x86_64"])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "cache"
    folder.mkdir()
    return Cache(folder)


def enter(cache: Cache, key: str, *contents: bytes) -> list[Path]:
    """An entry with a file for each of ``contents``, the first of which is the root."""
    noted = []
    for content in contents:
        new = cache.folder / "new"
        new.write_bytes(content)
        noted.append(cache.enter(new, "part"))
    cache.write_entry(key, {"root": noted[0], "kernels": {"stock": {"image": noted[-1]}}})
    return [cache.folder / each["file"] for each in noted]


def test_images_of_other_recipes_go_and_files_of_images_built_anew(cache: Cache) -> None:
    replaced = enter(cache, KNOWN, b"yesterday's", b"the same kernel")
    mine = enter(cache, KNOWN, b"today's", b"the same kernel")
    others = enter(cache, "0" * 64, b"another version's")
    (cache.folder / "kvm-note").write_text("tcg")
    pruned = prune(cache)
    assert set(pruned.files) == {replaced[0].name, others[0].name, "0" * 64 + ".json"}
    assert pruned.bytes > 0
    assert (pruned.kept, pruned.busy) == (("bookworm-x86_64",), False)
    assert all(path.exists() for path in mine)
    assert (cache.folder / "kvm-note").exists()
    assert prune(cache).files == ()


def test_what_a_board_that_is_up_has_open_stays(cache: Cache) -> None:
    (root,) = enter(cache, "0" * 64, b"another version's")
    pid = os.getpid()
    ticks = process_start(pid)
    assert ticks is not None
    folder = BoardFolder("box")
    with folder.locked(), root.open("rb"):
        folder.write(
            Record("box", "x86_64", 1, 512, "i", "stock", "tcg", 22, "k", pid, ticks, host_boot_id())
        )  # its QEMU is this process
        assert root.name not in prune(cache).files
        assert root.exists()
    folder.remove()
    assert prune(cache).files == (root.name,)


def test_a_build_that_was_killed_leaves_nothing_for_long_and_one_that_goes_on_is_left_alone(cache: Cache) -> None:
    left = cache.folder / f"{SCRATCH}{KNOWN}"
    left.mkdir()
    (left / "root.squashfs").write_bytes(b"half")
    (orphan,) = enter(cache, KNOWN, b"not yet in an entry")
    cache.drop_entry(KNOWN)
    with cache.locked(KNOWN):
        assert prune(cache).busy
        assert (left / "root.squashfs").exists()
        assert orphan.exists()
        with cache.scratch(KNOWN) as scratch:
            assert list(scratch.iterdir()) == []
        assert not left.exists()
    left.mkdir()
    assert set(prune(cache).files) == {left.name, orphan.name}
    assert not left.exists()


def test_a_disk_that_is_nearly_full_is_said_to_be_before_anything_is_fetched(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=caches.NEEDED_BYTES - 1))
    with pytest.raises(StorageFull, match=rf"no space left for images in {cache.folder} \(1400 MB\)") as caught:
        cache.scratch(KNOWN).__enter__()
    assert "isolbench lab prune" in str(caught.value.advice)
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_is_said_to_be(cache: Cache, code: int) -> None:
    with pytest.raises(StorageFull, match="no space left for images in"), cache.writing():
        raise OSError(code, "full")
    with pytest.raises(StorageFull, match="no space left for board box in"), BoardFolder("box").writing():
        raise OSError(code, "full")
    with pytest.raises(PermissionError), cache.writing():
        raise PermissionError


@pytest.mark.parametrize("damage", [b"other bytes", None])
def test_a_file_that_is_not_what_was_built_is_damaged(cache: Cache, damage: bytes | None) -> None:
    (path,) = enter(cache, KNOWN, b"what was built")
    entry = cache.read_entry(KNOWN)
    assert entry is not None
    assert cache.checked(entry["root"]) == path
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(EnvironmentFault, match="damaged image: ") as caught:
        cache.checked(entry["root"])
    assert caught.value.advice == "build it again: isolbench lab build --again"
