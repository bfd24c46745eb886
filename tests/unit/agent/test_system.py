# SPDX-License-Identifier: Apache-2.0
"""CPU lists and masks as the kernel writes them, and files that may not be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.system import Tree, format_cpus, format_mask, parse_cpus, parse_mask, remove_tree, write_durably

cpu_sets = st.sets(st.integers(0, 300), max_size=40)


@given(cpu_sets)
def test_cpu_lists_and_masks_there_and_back(cpus: set[int]) -> None:
    assert parse_cpus(format_cpus(cpus)) == sorted(cpus)
    assert parse_mask(format_mask(cpus)) == sorted(cpus)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-2,5\n", [0, 1, 2, 5]),
        (" (null)", []),  # /sys/devices/system/cpu/nohz_full of some kernels
        ("", []),
        (None, []),
        ("3-1", []),
        ("x,2", [2]),
    ],
)
def test_cpu_lists_of_real_kernels(text: str | None, cpus: list[int]) -> None:
    assert parse_cpus(text) == cpus


def test_masks_are_in_groups_of_32_bits() -> None:
    assert format_mask([32, 0]) == "1,00000001"
    assert format_mask([]) == "0"
    assert parse_mask("ffffffff,00000000") == list(range(32, 64))


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    (tmp_path / "folder").mkdir()
    assert tree.read("/absent") is None
    assert tree.read("/folder") is None
    assert tree.number("/absent") is None
    assert tree.names("/absent") == []
    assert tree.write("/absent/file", "1") != 0


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("x")
    (tmp_path / "doomed/deep").mkdir(parents=True)
    (tmp_path / "doomed/deep/link").symlink_to(tmp_path / "kept")
    remove_tree(str(tmp_path / "doomed"))
    assert not (tmp_path / "doomed").exists()
    assert (tmp_path / "kept/file").read_text() == "x"


def test_a_durable_write_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(str(path), b"one")
    write_durably(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(OSError, match="No such file"):
        write_durably(str(tmp_path / "absent/file"), b"x")
