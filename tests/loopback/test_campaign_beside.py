# SPDX-License-Identifier: Apache-2.0
"""Campaigns with a control, with helpers, and on all isolated CPUs: from the file to the catalogue."""

from __future__ import annotations

import json
import os

import pytest

import harness
from harness.store.runs import iter_runs

from .campaign_kit import Lab, complete, tidy

CPUS = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(CPUS) != 2, reason="written for a machine of two CPUs: who sits where differs")
HOUSE, MEASURED = CPUS[0], CPUS[-1]


def test_a_control_and_a_helper(lab: Lab) -> None:
    """On two CPUs a control is beside an idle machine alone: a load or a helper would have to share its CPU."""
    execution = lab.execution(
        control=True,
        benches=[{"bench": "gap", "params": {"threshold": "5us"}}, "xwake"],
        axes={"mode": ["pinned", "shared"], "load": ["idle", "spin"]},
        exclude=[{"mode": "shared", "load": "spin"}],
        repeat=1,
    )
    outcome = lab.carry_out(execution)
    [lane] = outcome.lanes
    assert (lane.finished, lane.unsupported, lane.failure) == (2, 4, None)
    document = json.loads((execution.path / "lanes" / "local.json").read_text())
    assert document["placement"]["control"] == HOUSE
    assert set(document["probes"]) == {"gap"}  # of the refused bench nothing is built
    reasons = {(each["bench"], each["mode"], each["load"]): each["reason"] for each in document["unsupported"]}
    assert "and the load's" in reasons["gap", "pinned", "spin"]
    assert "and the probe's helper's" in reasons["xwake", "pinned", "idle"]
    runs = list(iter_runs(execution.path))
    for run in runs:
        assert (run.control["cpu"], run.control["status"]) == (HOUSE, "ok"), run.control
        assert run.control["result"]["params"] == run.document["results"][0]["params"]
    frame = harness.load(execution.path)
    assert set(frame[frame.role == "control"].cpu) == {HOUSE}
    assert set(frame[(frame.role == "control")].metric) >= {"control.gap_ns", "control.gap_rate_hz"}
    assert HOUSE not in set(frame[frame.metric == "gap_ns"].cpu.dropna())
    tidy(execution)


def test_a_helper_is_where_the_plan_says(lab: Lab) -> None:
    execution = lab.execution(benches=["xwake"], axes={"mode": ["pinned"], "load": ["idle", "spin"]}, repeat=1)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    document = json.loads((execution.path / "lanes" / "local.json").read_text())
    assert document["placement"]["helpers"] == [HOUSE]
    assert document["placement"]["notes"] == [
        f"the probe's helper shares CPU {HOUSE} with the load: it may be late itself"
    ]
    for run in iter_runs(execution.path):
        assert run.document["effective"]["tasks"][str(MEASURED)]["helper_cpu"] == HOUSE
        assert run.document["results"][0]["detail"]["waker"]["cpu"] == HOUSE
    tidy(execution)


def test_all_isolated_cpus(lab: Lab) -> None:
    lab.enter("local", isolated=str(MEASURED))
    execution = lab.execution(name="every", cpus="all", axes={"mode": ["shared", "pinned"], "load": ["idle"]})
    [lane] = lab.carry_out(execution).lanes
    assert (lane.finished, lane.unsupported) == (2, 1)
    assert {run.document["spec"]["mode"]["name"] for run in iter_runs(execution.path)} == {"pinned"}
    tidy(execution)


def test_all_where_nothing_is_isolated_measures_nothing(lab: Lab) -> None:
    execution = lab.execution(cpus="all")
    outcome = lab.carry_out(execution)
    assert outcome.exit_code == 4
    document = json.loads((execution.path / "lanes" / "local.json").read_text())
    assert document["placement"]["measured"] == []
    assert {"none is isolated here" in each["reason"] for each in document["unsupported"]} == {True}
    assert list(iter_runs(execution.path)) == []
