# SPDX-License-Identifier: Apache-2.0
"""A campaign that asks for knobs: other cells than without, each knob's outcome in each run, and in the verdict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.agent.knobs import show_all
from harness.agent.system import Tree
from harness.store.runs import load_run

from .campaign_kit import Lab, complete

#: What any kernel has that runs these tests as root, and what virtual machines have not.
TUNE = ["stat-interval", "thp", "governor"]


def runs_of(lab: Lab, **changes: Any) -> list[dict[str, Any]]:
    execution = lab.execution(axes={"mode": ["shared"]}, **changes)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    return [load_run(path).document for path in sorted((execution.path / "runs" / "local").iterdir())]


@pytest.mark.skipif(os.geteuid() != 0, reason="knobs are root's")
def test_what_a_campaign_asks_for_is_in_its_runs(lab: Lab) -> None:
    plain = runs_of(lab, name="plain", repeat=1)
    tuned = runs_of(lab, name="tuned", tune=TUNE)
    assert {run["cell"] for run in plain}.isdisjoint({run["cell"] for run in tuned})
    shown = show_all(Tree())
    assert [run["knobs"] for run in plain] == [[]]
    assert len(tuned) == 2
    for run in tuned:
        assert run["spec"]["tune"] == sorted(TUNE)
        knobs = {knob["name"]: knob for knob in run["knobs"]}
        assert set(knobs) == set(TUNE)
        reasons = [reason["text"] for reason in run["validity"]["reasons"] if reason["rule"] == "knob-ineffective"]
        for name, knob in knobs.items():
            assert knob["ok"] is shown[name]["available"]
            assert any(text.startswith(f"{name} was asked for") for text in reasons) is not knob["ok"]
        assert run["identity"]["knobs"]["stat-interval"] == "120"
    assert Path("/proc/sys/vm/stat_interval").read_text().strip() == shown["stat-interval"]["value"]
