# SPDX-License-Identifier: Apache-2.0
"""How a sensitivity reads, and what the command line refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.campaign.outcome import LaneOutcome, Outcome
from harness.campaign.sensitivity import RUNS, document_of, scored
from harness.cli.doctor import doctor
from harness.cli.progress import Progress
from harness.cli.sensitivity import so_far
from harness.report.sensitivity import print_sensitivity
from harness.stats.shares import Score, Sensitivity

from ..campaign import fake_sense


def said(root: Path, *, width: int | None = None, failure: str | None = None, **run: object) -> str:
    """What is printed of an execution of one run, or of none."""
    execution = fake_sense.execution(root)
    if run:
        fake_sense.run(execution, **run)  # type: ignore[arg-type]
    lane = LaneOutcome("local", RUNS, 1, 1, failure=failure)
    document = document_of(execution, {"local": scored(execution, "local")}, Outcome((lane,), 1.0))
    out = io.StringIO()
    print_sensitivity(
        json.loads(json.dumps(document)), Console(file=out, width=width or 10_000, force_terminal=bool(width))
    )
    return out.getvalue()


def test_a_line_a_kind(tmp_path: Path) -> None:
    text = said(tmp_path, kinds={"membarrier": 600, "syscall": 300, "none": 9}, missed={"membarrier": 1}, false=2)
    lines = [line.split() for line in text.splitlines()]
    assert ["membarrier", "600", "600", "599", "600", "99.21", "%", "601", "2", "98.95", "%", "not", "shown"] in lines
    assert ["syscall", "300", "300", "300", "300", "99.00", "%", "300", "0", "99.00", "%", "met"] in lines
    assert "local: 6.18.5-rt2 · x86_64 · level tracepoints" in text
    assert "1 run; by the kernel's counts no event is missing" in text
    assert "membarrier: unexplained (1)" in text


def test_what_it_comes_to_is_said_first(tmp_path: Path) -> None:
    text = said(tmp_path, kinds={"membarrier": 600, "syscall": 300, "none": 9}, missed={"membarrier": 1}, false=2)
    assert text.splitlines()[3:6] == [
        "  the bar of 99.00 % is not shown, nor that it is missed: membarrier",
        "  the bar of 99.00 % is met by 1 kind: found in at least 99.00 % of cases, named rightly in at least 99.00 %",
        "  1 run; by the kernel's counts no event is missing",
    ]
    for folder, missed, answer in (
        ("below", 300, "BELOW the bar of 99.00 %: membarrier"),
        ("met", 0, "the bar of 99.00 % is met: each kind that can be seen is found in at least 99.50 % of cases"),
    ):
        (tmp_path / folder).mkdir()
        text = said(tmp_path / folder, kinds={"membarrier": 600}, missed={"membarrier": missed})
        assert text.splitlines()[3].startswith(f"  {answer}")
        assert text.splitlines()[-1].startswith("effective: ")


def test_what_cannot_be_said_is_no_number(tmp_path: Path) -> None:
    events = ("irq_vectors/call_function_entry", "raw_syscalls/sys_enter")
    text = said(
        tmp_path,
        kinds={"membarrier": 30, "signal": 9, "none": 40},
        events=events,
        unavailable={"tlb": "no interrupt is needed for it"},
        holds=False,
    )
    assert ["signal", "9", "-", "-", "-", "-", "-", "-", "-", "not", "seen"] in [
        line.split() for line in text.splitlines()
    ]
    assert "signal: no event that could be opened shows it (level tracepoints)" in text
    assert "tlb: no interrupt is needed for it" in text
    assert "this kernel does not say who sends these" in text
    assert "events are missing in 1: what the kernel did not tell of counts as missed" in text


def test_nothing_measured_says_why(tmp_path: Path) -> None:
    text = said(tmp_path, failure="cannot connect: \x1b[31mred")
    assert text.splitlines()[2:] == ["local", "  nothing was measured: cannot connect: \\x1b[31mred"]
    (tmp_path / "ended").mkdir()
    assert said(tmp_path / "ended").splitlines()[2:] == ["local", "  0 runs"]


def test_a_terminal_of_80_columns_is_enough(tmp_path: Path) -> None:
    text = said(tmp_path, width=80, kinds={"membarrier": 2_000})
    assert max(len(click.unstyle(line)) for line in text.splitlines()) <= 80


def test_after_each_run_what_is_settled_and_what_takes_longest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = fake_sense.execution(tmp_path)
    few, good = (
        Score("signal", 200, effective=200, found=200, named=200),
        Score("tlb", 800, effective=800, found=700, named=700),
    )
    blind = Score("tick", 9, not_judged=9, blind=True)
    for scores in ((good, few, blind), (good, blind), (blind,)):
        so_far(Progress(execution), "nuc", Sensitivity(scores))
    assert capsys.readouterr().err.splitlines() == [
        "nuc: 1 of 2 kinds have their 773 trials; signal has 200",
        "nuc: 1 of 1 kinds have their 773 trials",
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--sensitivity", "--fix", "local"], "without --facts and --fix"),
        (["--sensitivity", "nobody"], "nobody"),
        (["--sensitivity", "local", "--mode", "no-such-mode"], "no-such-mode"),
        (["--sensitivity", "local", "--duration", "0s"], "--duration"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_left(
    words: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(doctor, words)
    assert done.exit_code != 0
    assert why in f"{done.output}{done.exception}"
    assert list(tmp_path.iterdir()) == []
