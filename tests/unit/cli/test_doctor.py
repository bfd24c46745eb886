# SPDX-License-Identifier: Apache-2.0
"""doctor without a target that answers: what is refused, what is not measured and why, which exit code it ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.diagnosis import Measured
from harness.campaign.outcome import LaneOutcome, Outcome
from harness.cli import doctor_facts
from harness.cli.doctor import doctor as command
from harness.cli.doctor_facts import leased
from harness.cli.doctor_fix import fix
from harness.cli.doctor_measure import Examination, worst_of
from harness.cli.render import console
from harness.config.inventory import load_inventory
from harness.errors import EnvironmentFault

from ..stats.test_diagnosis import FACTS, FOUND, found
from .test_cli import isolbench

#: Doctor builds every probe: once on this machine is enough.
CACHES = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}
INVENTORY = "targets: {away: {address: 127.0.0.1, disabled: no cable}, dead: {address: 127.0.0.1, port: 9}}\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--facts", "--fix"), "without --facts"),
        (("--facts", "--mode", "pinned"), "without --facts"),
        (("away", "--facts", "--duration", "1s"), "without --facts"),
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


@pytest.mark.parametrize("words", [(), ("--fix",)])
def test_where_nothing_may_be_measured_that_is_a_mistake_as_for_run(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(INVENTORY)
    done = isolbench("doctor", "away", *words, "-i", "i.yaml", cwd=tmp_path, **CACHES)
    assert done.returncode == 2, done.stdout
    assert "away: not measured: disabled: no cable" in done.stdout.splitlines()
    looked = isolbench("doctor", "away", "--facts", "-i", "i.yaml", cwd=tmp_path, **CACHES)
    assert looked.returncode == 0, looked.stdout


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ((), False),
        (("--facts",), False),
        (("local", "--facts"), False),
        (("local",), True),
        (("--fix",), True),
        (("--mode", "pinned"), True),
        (("--duration", "2s"), True),
    ],
)
def test_without_a_target_local_is_measured_where_an_option_asks_for_it(
    words: tuple[str, ...], measured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--sensitivity` does. Met is a machine on which nothing else happens."""
    asked: list[Examination] = []
    monkeypatch.setattr("harness.cli.doctor.controller", list)
    monkeypatch.setattr("harness.cli.doctor.meet", lambda target: ({"name": target.name}, []))
    monkeypatch.setattr(Examination, "measure", lambda self, out: asked.append(self))
    done = CliRunner().invoke(command, [*words, "--json"], standalone_mode=False)
    assert done.return_value == 0, done.output
    assert [list(each.facts) for each in asked] == ([["local"]] if measured else [])
    assert {each.duration_ns for each in asked} <= {2 * 10**9 if "--duration" in words else 5 * 10**9}


@pytest.mark.parametrize(("words", "code"), [((), 3), (("--fix",), 3), (("--facts",), 0)])
def test_a_target_in_use_ends_it_as_it_ends_run_and_says_what_to_do(
    words: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = {"owner": {"id": "nightly/20261120T010000Z-1f/box", "who": "ann@lab"}, "age_s": 12.3, "expires_s": 44.0}
    monkeypatch.setattr("harness.cli.doctor.controller", list)
    monkeypatch.setattr("harness.cli.doctor.meet", lambda target: ({}, [leased(held, target.name)]))
    done = CliRunner().invoke(command, ["local", *words, "--results", str(tmp_path)], standalone_mode=False)
    assert done.return_value == code, done.output
    why = "local: not measured: in use by ann@lab (nightly/20261120T010000Z) for 12 s"
    advice = "wait (its lease ends in 44 s unless it is renewed); if that is yours and forgotten: isolbench restore"
    assert (why in done.output) is bool(code)
    assert f"advice: {advice} --cancel local" in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("root", "words"), [(True, "what can be set now, and --fix tries:"), (False, "what root could set now, and --fix")]
)
def test_what_is_next_is_told_to_whom_it_is_open(
    root: bool, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.yaml").write_text("targets: {box: {address: a}}\n")
    facts = {**FACTS, "privileges": {"root": root}}
    examined = Examination(load_inventory(tmp_path / "i.yaml"), {"box": facts}, {}, tmp_path / "results", 10**9)
    examined._hint(found(facts=facts), facts, console())
    out = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(out) if words in line)
    assert out[at + 1].strip() == "tune: [workqueues, stat-interval]"


def test_an_execution_in_which_nothing_was_measured_is_not_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lease was lost after it had been looked at."""
    (tmp_path / "i.yaml").write_text("targets: {box: {address: a}}\n")
    facts = {"cpus": {"online": [0, 1]}}
    for finished in (0, 1):
        outcome = Outcome((LaneOutcome("box", 1, finished, finished),), 1.0)
        execution = SimpleNamespace(path=tmp_path / "there")
        measured = Measured(execution, outcome, {}, {"box": ("in use by ann", "wait")})  # type: ignore[arg-type]
        examined = Examination(load_inventory(tmp_path / "i.yaml"), {"box": facts}, {}, tmp_path / "results", 10**9)
        monkeypatch.setattr(examined, "round", lambda chosen, tune, made=measured: made)
        examined.measure(console())
        said = capsys.readouterr()
        assert (str(tmp_path / "there") in said.err) is bool(finished)
        assert said.out.splitlines() == ["box: not measured: in use by ann", "  advice: wait"]


def test_probes_that_fail_alike_and_modes_that_lack_the_same_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, arch: str) -> SimpleNamespace:
        if name in ("gap", "wake"):
            raise EnvironmentFault("no compiler", advice="apt install gcc")
        return SimpleNamespace(compiler="gcc 12")

    monkeypatch.setattr("harness.build.build_probe", build)
    probes = [each for each in doctor_facts.controller() if each.topic == "probes"]
    assert [(each.level, each.text, each.advice) for each in probes] == [
        ("ok", "sense, work, xwake: by gcc 12", ""),
        ("fail", "gap, wake: no compiler", "apt install gcc"),
    ]
    facts = {"cpus": {"online": [0, 1], "isolated": [], "nohz_full": []}, "cgroup": {"version": 1, "controllers": []}}
    target = load_inventory(None).targets["local"]
    found = [each for each in doctor_facts._modes(target, facts) if each.topic == "modes"]
    assert (found[0].level, found[0].text) == ("ok", "can run: shared, pinned, fifo")
    (cgroup,) = (each for each in found if "cpuset of cgroup v2" in each.text)
    assert cgroup.text.startswith("partition, deadline: not supported: a partition needs")
