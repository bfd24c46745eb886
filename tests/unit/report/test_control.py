# SPDX-License-Identifier: Apache-2.0
"""A control in the summary and in a run's detail: beside the measured figures, and never in them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.report.detail import show
from harness.report.model import build_view
from harness.report.terminal import summary
from harness.store.runs import write_run

from . import fake_execution as fake
from .test_terminal import flat, printed

REASON = {"rule": "minor-faults", "state": "suspect", "text": "7 minor page faults after arming", "advice": "lock it"}


def run_with(folder: Path, repeat: int, **control: Any) -> Path:
    """A run on CPU 3 whose control on CPU 0 saw gaps of milliseconds, unless ``control`` says otherwise."""
    rng = np.random.default_rng(repeat)
    record, files = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(2_500, 0.4, 0, 40)]), repeat=repeat)
    noisy, its = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(2_000_000, 0.1, 0, 4000)]), cpu=0)
    its = {f"control.{name}": data for name, data in its.items() if name != "log.txt"}
    about = {"cpu": 0, "status": "ok", "validity": {"state": "valid", "reasons": []}, "result": noisy["results"][0]}
    if control.get("status") == "unavailable":
        about, its = {"cpu": 0, **control}, {}
    record["control"] = {**about, **control}
    record["spec"]["control"] = {"probe": record["spec"]["probe"], "cpu": 0}
    files |= its
    record["files"] = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
    return write_run(folder, "nuc", record, files, replace(fake.context(), control=fake.METRICS))


@pytest.fixture
def execution(tmp_path: Path) -> Path:
    folder = tmp_path / "nightly" / fake.EXECUTION
    run_with(folder, 1)
    run_with(folder, 2, validity={"state": "suspect", "reasons": [REASON]})
    run_with(folder, 3, status="unavailable", reason="the probe crashed with signal 11")
    return folder


def test_the_summary_shows_it_beside(execution: Path) -> None:
    text = flat(printed(summary, execution, width=120))
    assert "gap, load idle: gap_ns, median of runs" in text
    assert "beside gap, load idle, the control on CPU 0: control.gap_ns, median of runs" in text
    assert "gaps: over 1 µs mode p50 p99 p99.9 p99.99 p99.9999 max gaps/s stolen runs" in text.partition("beside")[2]
    # Its reasons are not the run's.
    assert text.count("1 run suspect: 7 minor page faults") == 1
    assert "control beside shared, 1 run suspect: 7 minor page faults after arming" in text
    assert "1 run without control: it was to be on CPU 0: the probe crashed with signal 11" in text
    assert "3 runs: 3 valid" in text


def test_its_state_decides_which_of_its_figures_count(execution: Path) -> None:
    (target,) = build_view(execution).targets
    [measured], [beside] = target.sections, target.controls
    assert [run.state for run in measured.modes[0].runs] == ["valid"] * 3
    assert [(run.state, run.cpus) for run in beside.modes[0].runs] == [("valid", (0,)), ("suspect", (0,))]
    assert measured.modes[0].maximum.high < 1_000_000 < beside.modes[0].maximum.low
    assert beside.modes[0].events > 1000
    assert [scalar.label for scalar in beside.scalars] == ["stolen"]


def test_a_run_in_detail(execution: Path) -> None:
    shown = [flat(printed(show, path)) for path in sorted((execution / "runs" / "nuc").iterdir())]
    assert "validity: valid control on CPU 0: valid gap_ns, CPU 3" in shown[0]
    assert "control.gap_ns, CPU 0" in shown[0]
    assert "CPU 3 · housekeeping 0-1 · control 0" in shown[0]
    assert "control on CPU 0: suspect suspect: 7 minor page faults after arming" in shown[1]
    assert "control on CPU 0: unavailable reason: the probe crashed with signal 11" in shown[2]


def test_several_measured_cpus_are_told(tmp_path: Path) -> None:
    """A table has one number for a run: the worst CPU's."""
    rng = np.random.default_rng(1)
    record, files = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(2_500, 0.4, 0, 40)]))
    other, its = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(900_000, 0.1, 0, 40)]), cpu=2)
    files |= {name: data for name, data in its.items() if name != "log.txt"}
    record["results"] += other["results"]
    record["spec"]["cpus"] = [2, 3]
    record["files"] = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
    write_run(tmp_path, "nuc", record, files, fake.context())
    text = flat(printed(summary, tmp_path, width=120))
    assert "gap_ns, median of runs, the worst CPU of each (max: the longest of any)" in text
    (section,) = build_view(tmp_path).targets[0].sections
    assert section.modes[0].runs[0].cpus == (3, 2)
    assert section.modes[0].maximum.high > 500_000
