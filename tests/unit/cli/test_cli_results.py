# SPDX-License-Identifier: Apache-2.0
"""``show``, ``report`` and ``export`` of an execution, as the command line gives them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from harness.campaign import execution as executions
from harness.campaign.execution import Execution
from harness.campaign.outcome import LaneOutcome, Outcome
from harness.cli.render import outcome_json, say_outcome
from harness.cli.written import Written
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.stats.budgets import FAILED, Verdict

from ..report import fake_execution as fake


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    fake.realistic(root, repeat=1)
    return root


def isolbench(*argv: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment}
    done = subprocess.run([sys.executable, "-m", "harness", *argv], cwd=cwd, env=env, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def test_a_failed_attempt_is_shown_by_its_name_and_by_its_folder(results: Path, tmp_path: Path) -> None:
    name = "gap.pinned.spin-000000000004-r2-a1"
    by_name = isolbench("show", "nightly", name, "--results", str(results), cwd=tmp_path)
    text = by_name.stdout.decode()
    assert text.splitlines()[0] == "nuc gap.pinned.spin-000000000004-r2, attempt 1"
    for part in ("failed (environment)", "reason: the probe was killed", "advice: look at log.txt", "armed on CPU 3"):
        assert part in text
    folder = next(results.glob(f"*/*/attempts/nuc/{name}"))
    assert isolbench("show", str(folder), cwd=tmp_path).stdout == by_name.stdout
    as_json = isolbench("show", str(folder), "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["reason"] == "the probe was killed: no progress for 16 s"


def test_a_run_is_not_mistaken_for_its_attempt(results: Path, tmp_path: Path) -> None:
    run = isolbench("show", "nightly", "nuc/gap.pinned.spin-000000000004-r1", "--results", str(results), cwd=tmp_path)
    assert run.stdout.decode().splitlines()[0] == "nuc gap.pinned.spin-000000000004-r1"
    none = isolbench("show", "nightly", "nothing", "--results", str(results), cwd=tmp_path)
    assert none.returncode == 2
    assert b"no run and no failed attempt begins with 'nothing'" in none.stderr


def test_a_dash_is_stdout(results: Path, tmp_path: Path) -> None:
    page = isolbench("report", "nightly", "--results", str(results), "-o", "-", cwd=tmp_path)
    assert page.stdout.startswith(b"<!DOCTYPE html>")
    table = isolbench("export", "nightly", "--results", str(results), "-f", "csv", "-o", "-", cwd=tmp_path)
    assert table.stdout.startswith(b"campaign,execution,target,")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["report", "nightly"], ["export", "nightly", "-f", "csv"]])
def test_a_folder_that_is_not_there_is_not_made(results: Path, tmp_path: Path, argv: list[str]) -> None:
    done = isolbench(*argv, "--results", str(results), "-o", str(tmp_path / "no" / "x"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no such folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_the_newest_and_a_folder_is_all(tmp_path: Path) -> None:
    for execution in ("20261120T010000Z", "20261121T010000Z"):
        path = tmp_path / "results" / "nightly" / execution
        fake.simple_run(path)
        fake.plan(path, ["nuc"], [fake.plan_cell("gap.shared.idle-000000000001", "nuc", "shared", "idle")], 1)
    rows = {
        reference: isolbench("export", reference, "-f", "jsonl", cwd=tmp_path).stdout.count(b"\n")
        for reference in ("nightly", "results/nightly")
    }
    assert rows == {"nightly": 4, "results/nightly": 8}
    said = isolbench("export", "--help", cwd=tmp_path).stdout.decode()
    assert "newest execution alone" in " ".join(said.split())


def test_a_pipe_has_whole_lines_whatever_the_width(results: Path, tmp_path: Path) -> None:
    done = isolbench("show", "nightly", "--results", str(results), cwd=tmp_path, COLUMNS="40")
    lines = done.stdout.decode().splitlines()
    assert [line for line in lines if line.endswith(" ")] == []
    assert any(line.endswith("become: sudo gives it") for line in lines)
    assert "µs" in done.stdout.decode()


def test_ascii_is_enough(results: Path, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = isolbench("show", "nightly", "--results", str(results), cwd=tmp_path, **plain)
    assert done.returncode == 0
    assert b" us " in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("words", [[], ["nuc/gap.pinned.spin-000000000004-r1"], ["gap.pinned.spin-000000000004-r2-a1"]])
def test_a_mail_gets_short_lines_of_ascii(results: Path, tmp_path: Path, words: list[str]) -> None:
    colours = {"COLUMNS": "300", "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    done = isolbench("show", "nightly", *words, "--plain", "--results", str(results), cwd=tmp_path, **colours)
    assert done.returncode == 0
    assert done.stdout.isascii()
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert " us" in text or "reason:" in text
    lines = text.splitlines()
    # A path has no place to be broken at.
    assert [line for line in lines if len(line) >= 80 and str(results) not in line] == []
    assert [line for line in lines if line.endswith(" ")] == []


def test_blanks_at_the_ends_of_lines_are_a_terminals() -> None:
    for strip, wanted in ((True, "a\n  b\n"), (False, "a   \n  b \n")):
        inner = io.StringIO()
        console = Console(file=Written(inner, strip=strip), width=80)  # type: ignore[arg-type]
        console.print(Text("a   \n  b "), end="\n", soft_wrap=True)
        assert inner.getvalue() == wanted


OVER = Verdict("nuc", "gap", "fifo", "idle", "c-1", "gap_ns", "p99.99", "ns", 31_000, 20_000, 3, "valid", FAILED)


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    (tmp_path / "c.yaml").write_text("{campaign: c, targets: [local], benches: [gap], duration: 1s}")
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), load_inventory(None))
    return executions.create(plan, tmp_path / "results", None)


def test_a_broken_budget_is_an_object_for_machines(execution: Execution) -> None:
    found = outcome_json(execution, Outcome((LaneOutcome("nuc", 3, 3, 3, valid=3),), 1.0, (OVER,)))
    assert found["over_budget"] == [
        {
            "target": "nuc", "bench": "gap", "mode": "fifo", "load": "idle", "cell": "c-1", "metric": "gap_ns",
            "quantile": "p99.99", "unit": "ns", "value": 31_000, "at_most": 20_000, "runs": 3, "state": "valid",
            "why": "", "judged_at": None,
        }
    ]  # fmt: skip
    assert found["sentence"] == "3 of 3 runs finished: 3 valid; 1 budget check failed"
    assert found["not_judged"] == []


def test_what_befell_many_is_said_once(execution: Execution, capsys: pytest.CaptureFixture[str]) -> None:
    dead = LaneOutcome("a", 3, 0, 0, failure="a: no route to host", advice="look at the cable", fault="infrastructure")
    lanes = (dead, replace(dead, target="b", failure="no route to host"))
    say_outcome(execution, Outcome(lanes, 1.0), None)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "isolbench: a, b: no route to host",
        "  advice: look at the cable",
        "isolbench: 0 of 6 runs finished, below the quorum of 100%; resume continues",
    ]


def test_what_the_tables_say_is_not_said_again(execution: Execution, capsys: pytest.CaptureFixture[str]) -> None:
    fake.simple_run(execution.path, "local")
    execution.write_lane("local", {"failure": {"message": "local: the link broke", "fault": "infrastructure"}})
    lane = LaneOutcome("local", 3, 1, 1, failure="local: the link broke", fault="infrastructure")
    say_outcome(execution, Outcome((lane,), 1.0), None)
    out, err = capsys.readouterr()
    assert out.count("the link broke") == 1
    assert "ended early (infrastructure): the link broke" in out
    assert "the link broke" not in err
