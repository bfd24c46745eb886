# SPDX-License-Identifier: Apache-2.0
"""Progress and `status`, fed with events and folders: lines for people, without hashes and said once."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.campaign import execution as executions
from harness.campaign.events import EventLog
from harness.campaign.execution import Execution
from harness.cli.progress import Progress
from harness.cli.status import status
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan

from ..campaign import fake_sense
from .test_cli import isolbench

ONE = "{campaign: c, targets: [local], benches: [gap], duration: 1s, repeat: 3, axes: {mode: [pinned, 'fifo:50']}}"
TWO = (
    "{campaign: c, targets: [local], benches: [gap, {bench: gap, params: {threshold: 5us}}], duration: 1s,"
    " axes: {mode: [pinned, 'fifo:50']}}"
)


def execution(tmp_path: Path, text: str) -> Execution:
    (tmp_path / "c.yaml").write_text(text)
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), load_inventory(None))
    return executions.create(plan, tmp_path / "results", None)


@pytest.mark.parametrize(
    ("text", "repeat", "name"), [(ONE, 2, "fifo50/idle 2/3"), (TWO, 1, "gap threshold=5us fifo50/idle 1/1")]
)
def test_runs_are_named_by_what_they_are(
    text: str, repeat: int, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = execution(tmp_path, text)
    cell = made.plan.cells[-1].id
    with Progress(made) as progress:
        progress.listen({"kind": "run-stored", "target": "local", "run": f"{cell}-r{repeat}", "state": "valid"})
        progress.listen({"kind": "unsupported", "target": "local", "cell": cell, "reason": "no root"})
        progress.listen({"kind": "stray-run", "target": "local", "run": "odd", "message": "left there"})
    first, *lines = capsys.readouterr().err.splitlines()
    assert f"about {made.plan.estimate} without retries" in first
    assert lines[0].endswith(f" {name} valid")
    assert lines[1] == f"local: {name.rpartition(' ')[0]} is not supported: no root"
    assert lines[2] == "local: odd: left there"


def test_an_invalid_run_is_no_failure_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = execution(tmp_path, ONE)
    run = {"target": "local", "run": f"{made.plan.cells[-1].id}-r2", "reason": "invalid: load spin had 74 % of its CPU"}
    with Progress(made) as progress:
        progress.listen({"kind": "run-failed", **run, "fault": "environment", "retried": True})
        progress.listen({"kind": "run-stored", **run, "state": "invalid"})
        progress.listen({"kind": "run-failed", **run, "fault": "bug", "reason": "a crash"})
    _, again, kept, failed = capsys.readouterr().err.splitlines()
    assert again.endswith("2/3 invalid (load spin had 74 % of its CPU), will be tried again")
    assert kept.endswith("2/3 invalid (load spin had 74 % of its CPU)")
    assert failed.endswith("2/3 failed (bug): a crash")


def test_one_run_is_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(execution(tmp_path, "{campaign: c, targets: [local], benches: [gap], duration: 1s}")):
        pass
    assert ": 1 run, " in capsys.readouterr().err


def drawn(progress: Progress) -> list[str]:
    return [str(line).rstrip() for line in progress.drawing().renderables]


def test_a_terminal_sees_a_line_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    made = execution(tmp_path, ONE)
    run = f"{made.plan.cells[0].id}-r1"
    with Progress(made, quiet=True) as progress:
        assert drawn(progress)[0].endswith("0/6  connecting")
        progress.listen({"kind": "lane-started", "target": "local", "planned": 6, "finished": 2})
        progress.listen({"kind": "connection-lost", "target": "local", "message": "gone\x1b[2J", "retry_in_s": 2})
        assert drawn(progress)[0].endswith("2/6  gone\\x1b[2J")
        progress.listen({"kind": "contacted", "target": "local", "planned": 5})
        progress.listen({"kind": "run-started", "target": "local", "run": run})
        assert re.search(r"2/5  0:0\d left  pinned/idle 1/3$", drawn(progress)[0])
        progress.listen({"kind": "run-stored", "target": "local", "run": run, "state": "valid"})
        progress.listen({"kind": "run-failed", "target": "local", "run": run, "reason": "it broke", "fault": "bug"})
        assert re.search(r"3/5  +\d+/min  0:0\d left  1 failed  pinned/idle 1/3$", drawn(progress)[0])
        progress.listen({"kind": "lane-finished", "target": "local", "failure": None, "stopped": "until 06:30"})
        assert re.search(r"3/5  +\d+/min  1 failed  until 06:30$", drawn(progress)[0])


def test_status_says_why_below_the_table_and_how_to_go_on_once(tmp_path: Path) -> None:
    made = execution(tmp_path, ONE)
    made.write_lane("local", {"failure": {"message": "it broke " * 20, "fault": "infrastructure"}})
    done = isolbench("status", "--results", str(tmp_path / "results"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, row, *rest = done.stdout.splitlines()
    assert "failed attempts" in head
    assert row.split()[1:6] == ["local", "failed", "0/6", "0/0/0", "0"]
    assert rest[0].startswith("  local failed: it broke it broke")
    assert rest[1:] == [f"  continue by: isolbench resume c/{made.id}"]
    assert row.split()[0] == f"c/{made.id}"
    found = json.loads(isolbench("status", "--json", "--results", str(tmp_path / "results"), cwd=tmp_path).stdout)
    assert found["lanes"][0]["state"] == "failed"


def test_status_cuts_no_name_however_narrow_the_terminal(tmp_path: Path) -> None:
    """An id is there to be copied."""
    made = execution(tmp_path, ONE.replace("campaign: c", "campaign: a-rather-long-name-of-a-campaign"))
    events = EventLog(made.path / "events.jsonl")
    events.emit("lane-finished", target="local")
    events.close()
    shown = io.StringIO()
    with patch("harness.cli.status.console", lambda: Console(file=shown, width=60, force_terminal=True)):
        CliRunner().invoke(status, ["--results", str(tmp_path / "results")])
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    assert f"a-rather-long-name-of-a-campaign/{made.id}" in text
    assert re.search(r"lane-finished \d\d:\d\d:\d\d$", text, re.MULTILINE)


def test_a_kernel_is_told_of_with_how_much_of_it_is_to_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = {"target": "local", "kernel": "next", "release": "6.18"}
    with Progress(execution(tmp_path, ONE)) as progress:
        progress.listen({"kind": "installing", **kernel, "sha256": "0" * 64, "bytes": 124_489_589})
        for done, shown in ((12_400_000, "uploading next: 12 MB of 124 MB"), (124_489_589, "installing next")):
            progress.listen({"kind": "uploaded", "target": "local", "kernel": "next", "bytes": done, "of": 124_489_589})
            assert progress._lanes["local"].doing == shown
    assert capsys.readouterr().err.splitlines()[1:] == ["local: installing kernel next (6.18): 124 MB to upload"]


BOOTS: list[dict[str, object]] = [
    {"kind": "lane-started", "planned": 4, "finished": 0},
    {"kind": "contacted", "planned": 4},
    {"kind": "installing", "kernel": "next", "release": "6.18", "bytes": 31_400_000},
    {"kind": "booting", "kernel": "next", "boot": "quiet", "method": "kexec"},
    {"kind": "power-cycled", "message": "did not come back within 60 s"},
    {"kind": "boot-failed", "kernel": "next", "boot": "quiet", "session": 1, "message": "a panic", "retried": True},
    {"kind": "booting", "kernel": "next", "boot": "quiet", "method": "kexec"},
    {"kind": "boot-failed", "kernel": "next", "boot": "quiet", "session": 1, "message": "a panic", "retried": False},
    {"kind": "run-failed", "run": "x-r1", "reason": "boot of next quiet: a panic", "fault": "infrastructure"},
    {"kind": "booting", "kernel": "rt", "boot": "plain", "method": "kexec"},
    {"kind": "booted", "kernel": "rt", "boot": "plain", "session": 1, "took_s": 27.4},
]


def test_boots_are_told_in_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(execution(tmp_path, ONE)) as progress:
        for event in BOOTS:
            progress.listen({"target": "local", **event})
    assert capsys.readouterr().err.splitlines()[1:] == [
        "local: installing kernel next (6.18): 31 MB to upload",
        "local: booting next quiet by kexec",
        "local: did not come back within 60 s; its power was switched off and on",
        "local: boot of next quiet failed, trying again: a panic",
        "local: booting next quiet by kexec",
        "local: boot of next quiet failed, its runs are not measured: a panic",
        "local: booting rt plain by kexec",
        "local: booted rt plain in 27 s, and proved it",
    ]


def test_a_terminal_sees_for_how_long_it_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(execution(tmp_path, ONE), quiet=True) as progress:
        progress.listen({"target": "local", "kind": "contacted", "planned": 4, "cells": 0})
        assert drawn(progress)[0].endswith("  about to boot")
        for event in BOOTS[:4]:
            progress.listen({"target": "local", **event})
        assert re.search(r"  0:0\d booting next quiet$", drawn(progress)[0])
        progress.listen({"target": "local", **BOOTS[8]})
        assert "1 failed" in drawn(progress)[0]
        progress.listen({"target": "local", **BOOTS[10]})
        assert drawn(progress)[0].endswith("  booted rt plain")


def test_status_says_what_was_booted_and_what_was_not(tmp_path: Path) -> None:
    made = execution(tmp_path, ONE)
    events = EventLog(made.path / "events.jsonl")
    for event in BOOTS:
        kind = str(event["kind"])
        events.emit(kind, target="local", **{key: value for key, value in event.items() if key != "kind"})
    events.close()
    done = isolbench("status", "--results", str(tmp_path / "results"), cwd=tmp_path)
    assert done.stdout.splitlines()[2:4] == [
        "  local: 1 boot proved, 2 failed, power switched 1 time",
        "    next quiet: a panic (2 times)",
    ]
    found = json.loads(isolbench("status", "--json", "--results", str(tmp_path / "results"), cwd=tmp_path).stdout)
    (lane,) = found["lanes"]
    assert (lane["booted"], lane["booting"], lane["boots"], lane["power_cycles"]) == ("rt plain", None, 1, 1)
    assert lane["boot_failures"] == ["next quiet: a panic"] * 2


def test_a_sensitivity_is_done_with_its_trials_and_is_not_resumed(tmp_path: Path) -> None:
    made = fake_sense.execution(tmp_path)
    fake_sense.run(made)

    def said() -> list[str]:
        done = CliRunner().invoke(status, ["--results", str(tmp_path / "results")])
        assert done.exit_code in (0, None), done.output
        return done.output.splitlines()

    assert said()[1].split()[2:4] == ["stopped", "1/24"]
    (made.path / "sensitivity.json").write_text("{}")
    assert said()[1].split()[2:4] == ["done", "1/24"]
    assert len(said()) == 2  # no word of resume
