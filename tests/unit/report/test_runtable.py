# SPDX-License-Identifier: Apache-2.0
"""The data of single runs: what is alike is there once, and what is left out for size is said and can be found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.report import runtable
from harness.report.model import build_view
from harness.report.rundata import RunCollection

from . import fake_execution as fake
from .test_control import run_with


def collected(execution: Path) -> tuple[dict, dict]:
    runs = RunCollection()
    view = build_view(execution, runs.add)
    return runtable.table(view, runs), json.loads(runtable.details(runs, execution))


def test_what_runs_say_alike_is_there_once(tmp_path):
    for repeat in range(1, 21):
        fake.simple_run(tmp_path, repeat=repeat, seed=repeat)
    _, details = collected(tmp_path)
    assert len(details["runs"]) == 20
    assert len({tuple(run["groups"]) for run in details["runs"]}) == 1
    assert json.dumps(details).count(fake.FACTS["kernel"]["cmdline"]) == 2  # of the machine, and its identity


def test_a_row_has_the_numbers_of_the_run(tmp_path):
    folder = fake.simple_run(tmp_path, state="suspect", reasons=[fake.STEAL])
    (metric,) = [m for m in json.loads((folder / "run.json").read_text())["metrics"] if m["metric"] == "gap_ns"]
    table, _ = collected(tmp_path)
    (row,) = table["rows"]
    assert [table["strings"][place] for place in row[:5]] == [
        "nuc", "gap", "shared", "idle", "gap.shared.idle-000000000001",
    ]  # fmt: skip
    assert runtable.STATES[row[8]] == "suspect"
    assert row[9:13] == [metric["quantiles"][name] for name in ("p50", "p99", "p99.9", "p99.99")]
    assert row[13] == metric["max"]
    assert table["strings"][row[-1]] == "steal"


def test_a_quantile_of_too_few_samples_is_not_in_the_row(tmp_path):
    fake.wake_run(tmp_path, missed=5)  # 9,995 values tell p99.9, and no more
    table, _ = collected(tmp_path)
    (row,) = table["rows"]
    assert [value is None for value in row[9:13]] == [False, False, False, True]
    assert row[14] == 5


def test_a_long_log_is_cut_in_the_middle(tmp_path):
    folder = fake.simple_run(tmp_path)
    text = b"the first line\n" + b"x" * 20_000 + b"\nthe last line\x1b[2J\n"
    (folder / "log.txt").write_bytes(text)
    _, details = collected(tmp_path)
    log = details["runs"][0]["log"]
    assert log["size"] == len(text)
    assert log["file"] == f"runs/nuc/{folder.name}/log.txt"
    head, tail = log["parts"]
    assert (len(head), len(tail) < 4200) == (runtable.LOG_HEAD, True)
    assert head.startswith("the first line\n")
    assert tail.endswith("the last line\\x1b[2J")


def test_logs_have_a_limit_and_those_of_what_went_wrong_come_first(tmp_path, monkeypatch):
    for repeat, state in ((1, "valid"), (2, "invalid"), (3, "valid")):
        reasons = [] if state == "valid" else [fake.THROTTLED]
        (fake.simple_run(tmp_path, repeat=repeat, state=state, reasons=reasons) / "log.txt").write_bytes(b"y" * 1000)
    monkeypatch.setattr(runtable, "LOGS", 1500)
    _, details = collected(tmp_path)
    assert ["parts" in run["log"] for run in details["runs"]] == [False, True, False]
    assert all(run["log"]["size"] == 1000 for run in details["runs"])


def test_beyond_the_limit_only_what_is_not_valid_can_be_opened(tmp_path, monkeypatch):
    for repeat, state in ((1, "valid"), (2, "valid"), (3, "suspect")):
        fake.simple_run(tmp_path, repeat=repeat, state=state, reasons=[] if state == "valid" else [fake.STEAL])
    monkeypatch.setattr(runtable, "DETAILED", 2)
    table, details = collected(tmp_path)
    assert len(table["rows"]) == 3
    assert [run is None for run in details["runs"]] == [False, True, False]


def test_an_attempt_without_a_record_is_named_by_its_cell(tmp_path):
    execution = fake.realistic(tmp_path, repeat=1)
    runs = RunCollection()
    view = build_view(execution, runs.add)
    document = view.attempts[0]
    path = execution / "attempts" / document.target / f"{document.run}-a{document.attempt}"
    runs.add_attempt(path, json.loads((path / "attempt.json").read_text()))
    table = runtable.table(view, runs)
    row = table["rows"][-1]
    assert [table["strings"][place] for place in row[:4]] == ["nuc", "gap", "pinned", "spin"]
    assert (row[7], runtable.STATES[row[8]]) == (1, "failed")


@pytest.mark.parametrize("left", ["gaps.jsonl.gz", "histograms.hlog"])
def test_a_damaged_file_costs_what_it_held_and_is_named(tmp_path, left):
    folder = fake.simple_run(tmp_path)
    (folder / left).write_bytes(b"\x1f\x8bnothing")
    runs = RunCollection()
    view = build_view(tmp_path, runs.add)
    assert any(left in warning for warning in runs.warnings)
    assert len(runtable.table(view, runs)["rows"]) == 1
    assert json.loads(runtable.details(runs, tmp_path))["runs"][0] is not None


def test_a_control_that_failed_is_told_of_its_run(tmp_path):
    run_with(tmp_path, 1, status="unavailable", reason="the probe crashed with signal 11")
    _, details = collected(tmp_path)
    (run,) = details["runs"]
    told = {title: dict(rows) for title, rows in (details["pool"][place] for place in run["groups"])}
    assert told["control"] == {"CPU": "0", "state": "unavailable", "reason": "the probe crashed with signal 11"}
    assert [each["role"] for each in run["measured"]] == ["measured"]
