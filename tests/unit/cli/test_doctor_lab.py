# SPDX-License-Identifier: Apache-2.0
"""What `doctor` says of virtual boards: what runs and builds them here, and how to bring one up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.doctor_lab import findings
from harness.config.inventory import Inventory, read_inventory
from harness.config.yaml import parse
from harness.lab import images

from .test_cli import isolbench

BOARDS = "targets:\n  box: {virtual: {arch: x86_64}}\n  arm: {virtual: {arch: aarch64}}\n"


def inventory(text: str) -> Inventory:
    return read_inventory(parse(text, "i.yaml"), Path("/lab/i.yaml"))


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without QEMU, tools and images."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "_path", lambda: str(tmp_path / "bin"))
    return tmp_path / "bin"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_what_is_missing_is_named_with_the_package(nothing_here: Path) -> None:
    put(nothing_here, "qemu-system-x86_64")
    x86, arm, keys, *unbuilt = findings(inventory(BOARDS))
    assert (x86.level, x86.text) == ("ok", f"x86_64 by {nothing_here}/qemu-system-x86_64")
    assert (arm.level, arm.advice.split()[-1]) == ("warn", "qemu-system-arm")
    assert "ssh-keygen" in keys.text
    assert [(each.level, each.topic) for each in unbuilt] == [
        ("warn", "image bookworm-x86_64"), ("warn", "image bookworm-aarch64"),
    ]  # fmt: skip
    assert all("mmdebstrap" in each.advice for each in unbuilt)


def test_an_image_that_can_be_built_is_no_fault(nothing_here: Path) -> None:
    put(nothing_here, *images._TOOLS)
    notes = [each for each in findings(inventory(BOARDS)) if each.topic == "image bookworm-x86_64"]
    assert [(each.level, each.text) for each in notes] == [("note", "not built yet: isolbench lab up box does it")]


@pytest.mark.parametrize("about", ["address: n", "virtual: {arch: x86_64}, disabled: broken"])
def test_without_virtual_boards_nothing_is_said(about: str) -> None:
    assert findings(inventory(f"targets: {{box: {{{about}}}}}")) == []


def test_a_board_that_is_down_says_how_to_bring_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "i.yaml").write_text("targets: {box: {virtual: {arch: x86_64}}}\n")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    done = isolbench("doctor", "box", "-i", "i.yaml", "--json", cwd=tmp_path, **state)
    assert done.returncode == 3
    (finding,) = json.loads(done.stdout)["targets"]["box"]
    assert (finding["level"], finding["text"]) == ("fail", "board box is not up")
    assert finding["advice"].endswith("isolbench lab up box")


def test_a_board_is_added_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "i.yaml").write_text("targets:\n  nuc: {address: n}\n")
    done = isolbench("init", "--virtual", "aarch64", "arm", "--tag", "emulated", "-i", "i.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "isolbench lab up arm" in done.stderr
    found = json.loads(done.stdout)
    assert (found["target"], found["host_key"], found["written"]) == ("arm", None, True)
    assert {each["topic"] for each in found["findings"]} <= {"virtual boards", "image bookworm-aarch64"}
    added = read_inventory(parse((tmp_path / "i.yaml").read_text(), "i.yaml"), tmp_path / "i.yaml").targets["arm"]
    assert added.virtual is not None
    assert (added.virtual.arch, added.isolated, "emulated" in added.tags) == ("aarch64", (1,), True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--virtual x86_64", "give the board a name"),
        ("--virtual x86_64 b --identity k", "alone"),
        ("--virtual z80 b", "x86_64, aarch64 are"),
    ],
)
def test_what_is_no_board(words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    done = isolbench("init", *words.split(), "-i", "i.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "i.yaml").exists()
