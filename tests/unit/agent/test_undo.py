# SPDX-License-Identifier: Apache-2.0
"""The journal of changes: written first, played back newest first, verified, and never forgotten while it fails."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.system import Tree
from harness.agent.undo import Undo, file_entry

BOOT = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    boot = tmp_path / "root" / BOOT[1:]
    boot.parent.mkdir(parents=True)
    boot.write_text("boot-a\n")
    (tmp_path / "root/knob").write_text("950000\n")
    (tmp_path / "root/other").write_text("x\n")
    (tmp_path / "run").mkdir()
    return Tree(str(tmp_path / "root"))


def undo_of(tmp_path: Path, tree: Tree) -> Undo:
    return Undo(str(tmp_path / "run"), tree)


def note(undo: Undo, tree: Tree, name: str, path: str) -> None:
    """Write a file down, as every knob does."""
    undo.record([file_entry(name, path, tree.read(path) or "")])


def test_recorded_before_and_put_back_after(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    assert undo.entries() == []
    note(undo, tree, "rt", "/knob")
    assert not undo.empty
    tree.write("/knob", "-1")
    [report] = undo_of(tmp_path, tree).play()  # another process reads it from the disk
    assert (report["found"], report["before"], report["ok"]) == ("-1", "950000", True)
    assert tree.read("/knob") == "950000"
    assert undo.empty
    assert undo.play() == []


def test_the_oldest_value_wins(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    for value in ("1", "2", "3"):
        note(undo, tree, "rt", "/knob")
        tree.write("/knob", value)
    undo.play()
    assert tree.read("/knob") == "950000"


def test_entries_of_another_boot_are_dropped(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    note(undo, tree, "rt", "/knob")
    tree.write("/knob", "-1")
    tree.write(BOOT, "boot-b")
    later = undo_of(tmp_path, tree)
    assert later.empty
    assert later.play() == []
    assert tree.read("/knob") == "-1"


def test_what_fails_stays_and_is_reported_each_time(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    note(undo, tree, "rt", "/knob")
    note(undo, tree, "other", "/other")
    tree.write("/knob", "-1")
    tree.write("/other", "y")
    (tmp_path / "root/knob").unlink()
    (tmp_path / "root/knob").mkdir()  # neither readable nor writable, not even for root
    for _ in range(2):
        report = {each["name"]: each for each in undo.play()}
        assert not report["rt"]["ok"]
        assert report["rt"]["reason"]
        assert not undo.empty
    assert tree.read("/other") == "x"  # the failure of one holds up no other
    (tmp_path / "root/knob").rmdir()
    (tmp_path / "root/knob").write_text("-1")
    assert [each["ok"] for each in undo.play()] == [True]
    assert undo.empty


def test_a_file_that_may_vanish_may(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    undo.record([file_entry("irq", "/gone", "0-1", vanishes=True)])
    [report] = undo.play()
    assert report["ok"]
    assert report["reason"] == "gone"
    assert undo.empty


def test_a_write_that_does_not_take_is_no_success(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    undo.record([file_entry("odd", "/knob", " spaces are not read back ")])
    [report] = undo.play()
    assert not report["ok"]
    assert "after it was written" in report["reason"]


@given(st.binary(min_size=1, max_size=60).filter(lambda torn: b"\n" not in torn))
def test_a_torn_line_swallows_nothing(tmp_path_factory: pytest.TempPathFactory, torn: bytes) -> None:
    root = tmp_path_factory.mktemp("torn")
    (root / "knob").write_text("now")
    undo = Undo(str(root), Tree(str(root)))
    undo.record([file_entry("rt", "/knob", "first")])
    with open(undo.path, "ab") as file:
        file.write(torn)
    undo.record([file_entry("rt", "/knob", "second")])
    befores = [entry.get("before") for entry in undo.entries()]
    assert befores[0] == "first"
    assert befores[-1] == "second"


def test_it_is_on_the_disk_as_json_with_the_boot(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    note(undo, tree, "rt", "/knob")
    lines = [json.loads(line) for line in Path(undo.path).read_text().split("\n") if line]
    expected: list[dict[str, Any]] = [
        {"boot_id": "boot-a", "kind": "file", "name": "rt", "path": "/knob", "before": "950000", "vanishes": False}
    ]
    assert lines == expected


def test_a_journal_that_cannot_be_written_stops_the_change(tmp_path: Path, tree: Tree) -> None:
    with pytest.raises(OSError, match="No such file"):
        note(Undo(str(tmp_path / "absent"), tree), tree, "rt", "/knob")


def test_what_a_file_takes_may_differ_from_what_it_says(tmp_path: Path, tree: Tree) -> None:
    """``always [madvise] never`` takes ``madvise``; nothing is written where it says the same again."""
    undo = undo_of(tmp_path, tree)
    undo.record([file_entry("thp", "/knob", "950000", write="word")])
    [report] = undo.play()
    assert report["ok"]  # as it was
    tree.write("/knob", "-1")
    undo.record([file_entry("thp", "/knob", "950000", write="word")])
    [report] = undo.play()
    assert tree.read("/knob") == "word"
    assert report["reason"] == "reads 'word' after it was written"  # a plain file is no kernel's


def test_an_empty_list_is_put_back_as_a_line(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    undo.record([file_entry("watchdog", "/knob", "")])
    [report] = undo.play()
    assert report["ok"]
    assert (tmp_path / "root/knob").read_bytes() == b"\n"  # a write of nothing is none


def test_one_knob_alone_is_put_back_and_the_others_stay(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    undo.record([{"kind": "processes", "marker": "m"}])
    note(undo, tree, "rt", "/knob")
    note(undo, tree, "other", "/other")
    before = undo.entries()
    tree.write("/knob", "-1")
    tree.write("/other", "y")
    assert [each["name"] for each in undo.play(only=frozenset({"rt"}))] == ["rt"]
    assert (tree.read("/knob"), tree.read("/other")) == ("950000", "y")
    assert undo.entries() == [before[0], before[2]]


def test_what_only_a_newer_agent_can_put_back_is_kept_for_it(tmp_path: Path, tree: Tree) -> None:
    undo = undo_of(tmp_path, tree)
    undo.record([{"kind": "spell", "name": "magic", "before": "frog"}])
    [report] = undo.play()
    assert (report["ok"], report["name"]) == (False, "magic")
    assert "newer" in report["reason"]
    assert [entry["before"] for entry in undo.entries()] == ["frog"]


def test_the_kinds_of_entries_are_those_of_the_document(tmp_path: Path, tree: Tree) -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text().partition("\n## Undo\n")[2]
    kinds = re.findall(r"^\| `([a-z]+)` \|", text.partition("\n## ")[0], re.MULTILINE)[1:]  # without the heading
    assert sorted(kinds) == ["file", "partition", "processes", "unit"]
    undo = undo_of(tmp_path, tree)
    undo.record([{"kind": kind, "name": kind} for kind in kinds])
    report = undo.play()
    assert len(report) == len(kinds)
    assert not [each for each in report if "newer" in str(each["reason"])]
