# SPDX-License-Identifier: Apache-2.0
"""doctor without a target that answers: what is refused, what is not measured and why, which exit code it ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.doctor_fix import fix
from harness.cli.doctor_measure import Examination, worst_of
from harness.cli.render import console
from harness.config.inventory import load_inventory

from ..stats.test_diagnosis import FACTS, FOUND, found
from .test_cli import isolbench

#: Doctor builds every probe: once on this machine is enough.
CACHES = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}
INVENTORY = "targets: {away: {address: 127.0.0.1, disabled: no cable}, dead: {address: 127.0.0.1, port: 9}}\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--fix",), "name the targets"),
        (("--mode", "pinned"), "name the targets"),
        (("away", "--facts", "--fix"), "without --facts"),
        (("away", "--mode", "pined"), "pinned"),
        (("away", "--duration", "1"), "--duration"),
        (("away", "--duration", "1us"), "--duration"),
    ],
)
def test_a_mistake_is_told_before_anybody_is_asked(words: tuple[str, ...], what: str, tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(INVENTORY)
    done = isolbench("doctor", *words, "-i", "i.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert what in done.stderr
    assert not done.stdout


def test_what_cannot_be_met_is_not_measured_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(INVENTORY)
    done = isolbench("doctor", "away", "dead", "--fix", "-i", "i.yaml", "--json", cwd=tmp_path, **CACHES)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    messages = {each["target"]: each["error"]["message"] for each in told["measured"]}
    assert messages["away"] == "disabled: no cable"
    assert "127.0.0.1" in messages["dead"]
    assert told["fixed"] == []
    assert not (tmp_path / "results").exists()


@given(st.permutations([0, 3, 4, 5, 130]), st.integers(1, 5))
def test_the_exit_code_is_that_which_says_most(codes: list[int], count: int) -> None:
    some = codes[:count]
    assert worst_of(some) == next(code for code in (130, 3, 4, 5, 0) if code in some)
    assert (worst_of([]), worst_of([0, 70, 3])) == (0, 70)


class Before:
    """A first round that is over."""

    def __init__(self, gaps: Any, facts: Any) -> None:
        self.found = {"box": found(gaps, facts=facts)}
        self.facts = {"box": facts}


@pytest.mark.parametrize(
    ("gaps", "root", "code", "why"),
    [
        ({}, True, [], "nothing to fix"),
        (FOUND, False, [3], "cannot fix without root (become: sudo): workqueues, stat-"),
    ],
)
def test_what_is_not_fixed_says_why_and_measures_nothing(
    gaps: Any, root: bool, code: list[int], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.yaml").write_text("targets: {box: {address: a}}\n")
    facts = {**FACTS, "privileges": {"root": root}}
    examined = Examination(load_inventory(tmp_path / "i.yaml"), {"box": facts}, {}, tmp_path / "results", 10**9)
    [told] = fix(examined, Before(gaps, facts), console())  # type: ignore[arg-type]
    assert (told["target"], told["tune"], examined.codes) == ("box", [], code)
    assert told["error"]["message"].startswith(why)
    out = capsys.readouterr().out
    assert f"box: {why}" in out
    assert ("(and isolated: 1 for box):" in out and "boots: {quiet:" in out) is bool(gaps)
    assert not (tmp_path / "results").exists()


def test_a_target_that_cannot_be_measured_is_told_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.yaml").write_text("targets: {box: {address: a, arch: aarch64}}\n")
    facts = {"arch": "x86_64", "cpus": {"online": [0, 1]}}
    examined = Examination(load_inventory(tmp_path / "i.yaml"), {"box": facts}, {}, tmp_path / "results", 10**9)
    assert examined.measure(console()) is None
    assert examined.codes == [3]
    assert "box: not measured: the inventory says arch: aarch64" in capsys.readouterr().out
    assert [each["target"] for each in examined.told] == ["box"]
