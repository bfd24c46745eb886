# SPDX-License-Identifier: Apache-2.0
"""The facts of the last contact: convenient, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign import facts_cache
from harness.config.inventory import Target

BOX = Target(name="box", address="box.lan")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "isolbench/facts"


def test_what_was_found_is_recalled(cache: Path) -> None:
    assert facts_cache.recall(BOX) is None
    facts_cache.remember(BOX, {"arch": "x86_64"})
    facts_cache.remember(BOX, {"arch": "aarch64"})
    assert facts_cache.recall(BOX) == {"arch": "aarch64"}
    assert len(list(cache.iterdir())) == 1


def test_what_a_boot_of_ours_shows_is_not_what_the_machine_is() -> None:
    own = {"kernel": {"cmdline": "root=/dev/sda quiet"}}
    facts_cache.remember(BOX, own)
    facts_cache.remember(BOX, {"kernel": {"cmdline": "root=/dev/sda nohz_full=1 isolbench.boot=installed/quiet"}})
    assert facts_cache.recall(BOX) == own


@pytest.mark.parametrize("change", [{"address": "other.lan"}, {"user": "me"}, {"port": 23}, {"name": "other"}])
def test_another_address_is_another_machine(change: dict[str, object]) -> None:
    facts_cache.remember(BOX, {"arch": "x86_64"})
    assert facts_cache.recall(BOX.model_copy(update=change)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "0.0.0", "facts": {}}', '{"version": "x", "facts": 1}'])
def test_what_is_damaged_or_of_another_version_is_unknown(text: str, cache: Path) -> None:
    facts_cache.remember(BOX, {"arch": "x86_64"})
    (path,) = cache.iterdir()
    path.write_text(text)
    assert facts_cache.recall(BOX) is None


def test_where_nothing_can_be_written_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    facts_cache.remember(BOX, {"arch": "x86_64"})
    assert facts_cache.recall(BOX) is None
