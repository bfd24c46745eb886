# SPDX-License-Identifier: Apache-2.0
"""What is shown: which runs enter a number, which do not, and that nothing is left out in silence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import UserError
from harness.report.model import build_view
from harness.store.files import write_file
from harness.store.runs import write_attempt

from . import fake_execution as fake

CELL = "gap.shared.idle-000000000001"


def runs(execution, *states, **options):
    for repeat, state in enumerate(states, 1):
        reasons = [{**fake.STEAL, "state": state}] if state != "valid" else []
        histogram = fake.counts(np.random.default_rng(repeat), quiet=40, noise=[(1000.0 * 10**repeat, 0.01, 0, 5)])
        fake.simple_run(execution, repeat=repeat, state=state, reasons=reasons, histogram=histogram, **options)


def only_mode(execution):
    (target,) = build_view(execution).targets
    (section,) = target.sections
    (mode,) = section.modes
    return mode


def test_numbers_are_of_valid_runs(tmp_path):
    runs(tmp_path, "valid", "suspect", "valid", "invalid")
    mode = only_mode(tmp_path)
    assert [mode.number(state) for state in ("valid", "suspect", "invalid")] == [2, 1, 1]
    assert mode.basis == "valid"
    assert [run.repeat for run in mode.used] == [1, 3]
    assert mode.maximum.runs == 2
    assert 9_000 < mode.maximum.low < 11_000
    assert 900_000 < mode.maximum.high < 1_100_000


def test_without_valid_runs_the_suspect_ones_are_shown_and_marked(tmp_path):
    runs(tmp_path, "suspect", "invalid", "suspect")
    mode = only_mode(tmp_path)
    assert (mode.basis, [run.repeat for run in mode.used]) == ("suspect", [1, 3])


def test_invalid_runs_never_enter_a_number(tmp_path):
    runs(tmp_path, "invalid", "invalid")
    mode = only_mode(tmp_path)
    assert (mode.basis, mode.used, mode.maximum, mode.events, mode.rate_upper_hz) == (None, (), None, None, None)
    assert all(quantile.spread is None for quantile in mode.quantiles)


def test_a_run_counts_once_whatever_its_samples(tmp_path):
    """The median over runs, not of the pooled samples: one long run does not outvote two."""
    for repeat, (quiet, scale) in enumerate(((40, 1), (50, 1), (60, 1000)), 1):
        counts = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
        counts[fake.GEOMETRY.index(quiet)] = 1_000_000 * scale
        fake.simple_run(tmp_path, repeat=repeat, histogram=fake.Counts(fake.GEOMETRY, counts))
    spread = only_mode(tmp_path).quantile("p50").spread
    assert (spread.median, spread.low, spread.high, spread.runs) == (50, 40, 60, 3)


def test_too_few_samples_are_said(tmp_path):
    counts = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    counts[40] = 29_955
    fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, counts))
    assert {q.name: q.enough for q in only_mode(tmp_path).quantiles} == {
        "p50": True, "p90": True, "p99": True, "p99.9": True, "p99.99": False, "p99.999": False,
        "p99.9999": False, "p99.99999": False,
    }  # fmt: skip


def test_no_gap_in_all_the_time_gives_a_bound(tmp_path):
    quiet = fake.counts(np.random.default_rng(1), quiet=40, noise=[])
    for repeat in (1, 2, 3, 4):
        fake.simple_run(tmp_path, repeat=repeat, histogram=quiet)
    mode = only_mode(tmp_path)
    assert (mode.events, mode.observed_s) == (0, 40)
    assert mode.rate_upper_hz == pytest.approx(2.9957 / 40, rel=1e-4)


def test_reasons_are_counted_once_a_run_worst_first(tmp_path):
    fake.simple_run(tmp_path, repeat=1, state="suspect", reasons=[fake.STEAL, fake.STEAL])
    fake.simple_run(tmp_path, repeat=2, state="invalid", reasons=[fake.STEAL, fake.THROTTLED])
    assert [(r.rule, r.runs) for r in only_mode(tmp_path).reasons] == [("rt-throttling", 1), ("steal", 2)]


def test_reasons_that_differ_in_numbers_alone_are_one(tmp_path):
    texts = ["irq 36 hit CPU 1: 19", "irq 36 hit CPU 1: 250", "irq 36 hit CPU 1: 19", "the clock stepped"]
    for repeat, text in enumerate(texts, 1):
        fake.simple_run(tmp_path, repeat=repeat, state="suspect", reasons=[{**fake.STEAL, "text": text}])
    assert [(reason.text, reason.runs) for reason in only_mode(tmp_path).reasons] == [
        ("e.g. irq 36 hit CPU 1: 19", 3),
        ("the clock stepped", 1),
    ]


def test_the_whole_of_a_night(tmp_path):
    view = build_view(fake.realistic(tmp_path, repeat=2))
    assert (view.campaign, view.execution, view.version) == ("nightly", fake.EXECUTION, "0.1.0")
    assert (view.finished, view.planned) == (22, 22)
    assert view.modes == ("shared", "pinned", "fifo")
    assert [target.name for target in view.targets] == ["nuc", "box"]
    assert [(target.virtual, target.metal) for target in view.targets] == [(None, True), ("kvm", False)]
    assert [(s.bench, s.load, len(s.modes)) for s in view.targets[1].sections] == [
        ("gap", "idle", 3),
        ("gap", "spin", 2),
    ]
    assert [(u.target, u.mode, u.load) for u in view.unsupported] == [("box", "fifo", "spin")]
    assert [u.mode for u in view.targets[1].sections[1].unsupported] == ["fifo"]
    (attempt,) = view.attempts
    assert attempt.fault == "environment"
    pinned = view.targets[0].sections[1].modes[1]
    assert (pinned.name, pinned.failed, pinned.planned) == ("pinned", 1, 2)
    facts = dict(view.targets[0].facts)
    assert facts["Command line"] == fake.FACTS["kernel"]["cmdline"]
    assert facts["Measured on"] == "CPU 3 · housekeeping 0-1"
    assert "TSC constant, nonstop, trusted" in facts["Clock"]
    assert facts["Knobs"] == "irq-affinity = 0-2"


def test_variants_of_a_bench_are_never_in_one_table(tmp_path):
    """Another threshold counts other gaps: its own section, name and row, what is unsupported with it."""
    cells = []
    for number, threshold in enumerate(("1000ns", "5000ns"), 1):
        params = {"threshold": threshold}
        cell = f"gap.shared.idle-{number:012x}"
        cells.append(fake.plan_cell(cell, "nuc", "shared", "idle", params=params))
        cells.append(fake.plan_cell(f"gap.fifo.idle-{number:012x}", "nuc", "fifo", "idle", params=params))
        fake.simple_run(tmp_path, cell=cell, params=params)
    fake.plan(tmp_path, ["nuc"], cells, 1)
    lacks = {"cell": cells[3]["cell"], "bench": "gap", "mode": "fifo", "load": "idle", "reason": "EPERM"}
    fake.lane(tmp_path, "nuc", fake.FACTS, [lacks])
    (target,) = build_view(tmp_path).targets
    assert [(s.title, [mode.cell for mode in s.modes], [u.mode for u in s.unsupported]) for s in target.sections] == [
        ("gap", [cells[0]["cell"]], []),
        ("gap threshold=5us", [cells[2]["cell"]], ["fifo"]),
    ]
    assert [each.bench for each in target.unsupported] == ["gap threshold=5us"]


def test_runs_of_other_lengths_are_told_apart(tmp_path):
    fake.simple_run(tmp_path, repeat=1)
    fake.simple_run(tmp_path, repeat=1, cell="gap.shared.idle-000000000002", duration_ns=10**9)
    (target,) = build_view(tmp_path).targets
    assert sorted(section.title for section in target.sections) == ["gap duration=10s", "gap duration=1s"]


def test_budgets_are_judged_as_the_tables_are(tmp_path):
    view = build_view(fake.realistic(tmp_path, repeat=2))
    found = {(v.target, v.mode, v.load, v.metric): (v.result, v.state, v.runs) for v in view.budgets}
    assert len(found) == 2 * 11
    assert found["box", "shared", "idle", "stolen_ppm"] == ("fail", "suspect", 2)
    assert found["nuc", "fifo", "spin", "gap_ns"] == ("pass", "valid", 1)
    for verdict in view.budgets:
        (target,) = [target for target in view.targets if target.name == verdict.target]
        modes = [mode for section in target.sections for mode in section.modes if mode.cell == verdict.cell]
        assert (verdict.state, verdict.runs) == (modes[0].basis, len(modes[0].used))
        if verdict.quantile:
            assert verdict.value == modes[0].quantile(verdict.quantile).spread.median


def test_no_advice_to_use_a_sudo_that_asks_for_a_password(tmp_path):
    advice = "run the agent as root (become: sudo)"
    fake.simple_run(tmp_path, state="suspect", reasons=[{**fake.STEAL, "advice": advice}])
    lane = {"schema": 1, "target": "nuc", "facts": fake.FACTS}
    for notes, wanted in (
        ([], advice),
        (["not root, and sudo asks for a password (x)"], "run the agent as root (let sudo work without a password)"),
    ):
        write_file(tmp_path / "lanes" / "nuc.json", json.dumps({**lane, "contact": {"notes": notes}}).encode())
        assert [reason.advice for reason in only_mode(tmp_path).reasons] == [wanted]


def test_a_lane_that_broke_and_a_target_never_reached_are_there(tmp_path):
    fake.plan(
        tmp_path, ["nuc", "far"], [{"cell": CELL, "target": "far", "bench": "gap", "mode": "fifo", "load": "idle"}], 1
    )
    failure = {"fault": "infrastructure", "message": "no route to host", "advice": "look at the cable"}
    write_file(tmp_path / "lanes" / "far.json", json.dumps({"schema": 1, "target": "far", "failure": failure}).encode())
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "disabled": {"rpi5-07": "PSU dead"}}))
    view = build_view(tmp_path)
    assert [target.name for target in view.targets] == ["nuc", "far"]
    assert view.targets[1].failure.message == "no route to host"
    assert view.disabled == (("rpi5-07", "PSU dead"),)
    assert (view.finished, view.planned) == (0, 1)


def test_a_machine_that_nobody_looked_at_is_not_called_metal(tmp_path):
    fake.simple_run(tmp_path, facts=None)
    (target,) = build_view(tmp_path).targets
    assert (target.virtual, target.metal) == (None, False)
    assert "Machine" not in dict(target.facts)


def test_broken_files_are_named_and_the_rest_is_shown(tmp_path):
    runs(tmp_path, "valid", "valid")
    (next((tmp_path / "runs" / "nuc").iterdir()) / "run.json").write_text("{")
    write_file(tmp_path / "plan.json", b"[")
    write_file(tmp_path / "lanes" / "nuc.json", b'{"schema": 99}')
    view = build_view(tmp_path)
    assert view.finished == 1
    assert len(view.warnings) == 3
    assert any("newer" in warning for warning in view.warnings)


def test_an_execution_of_failures_alone(tmp_path):
    write_attempt(
        tmp_path, "nuc", cell=CELL, repeat=1, attempt=1, reason="x", fault="bug", context=fake.context()
    )  # fmt: skip
    view = build_view(tmp_path)
    assert (view.finished, len(view.attempts), view.targets[0].sections) == (0, 1, ())


def test_what_is_no_execution_is_said(tmp_path):
    with pytest.raises(UserError, match="not an execution"):
        build_view(tmp_path)


def test_a_control_is_never_among_the_measured(tmp_path):
    """The same metric on a housekeeping CPU at the same time: a part of its own, and no number of the mode changes."""
    folder = fake.simple_run(tmp_path)
    alone = build_view(tmp_path).targets[0].sections
    fake.with_control(folder, cpu=0, worse=1000)
    (target,) = build_view(tmp_path).targets
    assert target.sections == alone
    (control,) = target.controls
    (mode,) = control.modes
    assert control.role == "control"
    assert mode.runs[0].cpus == (0,)
    assert mode.maximum.high == 1000 * alone[0].modes[0].maximum.high
