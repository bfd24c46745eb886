# SPDX-License-Identifier: Apache-2.0
"""``doctor --sensitivity`` on this machine: the real probe, its runs fetched and scored, and what is left of them."""

from __future__ import annotations

import json
import signal

import pytest

from harness.campaign import sensitivity
from harness.cli.sensitivity import run
from harness.stats.marks import KINDS
from harness.store.runs import load_run, read_events
from harness.store.sensitivity import newest

from .agent_kit import without_measured
from .campaign_kit import Lab, measuring, wait_for

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))


def test_what_is_done_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sensitivity, "RUNS", 1)
    monkeypatch.chdir(lab.folder)
    code = run(("local",), None, lab.results, mode="pinned", duration_ns=2 * 10**9, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["bar"]) == (code, 0.99)
    entry = document["targets"]["local"]
    execution = lab.newest()
    assert document["path"] == str(execution.path / "sensitivity.json")
    if not entry["runs"]["scored"]:
        pytest.skip(f"no run was usable on this machine just now: {entry['reason']}")
    # Each kind was made and scored, or is unavailable with the reason.
    kinds = {kind["kind"]: kind for kind in entry["kinds"]}
    assert {*kinds, *entry["unavailable"]} == set(KINDS)
    assert all(kind["made"] for kind in kinds.values())
    folder = execution.path / "runs" / "local" / sorted(execution.finished("local"))[0]
    done = list(read_events(folder, "disturbances"))
    assert {each["kind"] for each in done} >= {kind for kind, each in kinds.items() if each["effective"]}
    if entry["level"] != "tracepoints":
        pytest.skip(f"what is found is not looked at: level {entry['level']}: {entry['level_reason']}")
    # A handful of each, on a machine that others use: far from the bound, but nearly all are found.
    seen = [kind for kind in kinds.values() if kind["effective"]]
    assert sum(kind["effective"] for kind in seen) >= 20
    assert sum(kind["found"] for kind in seen) >= 0.9 * sum(kind["effective"] for kind in seen)
    assert code in (0, 1)
    found = newest(lab.results, "local", load_run(folder).document["identity"])
    assert found is not None
    assert found.path.parent == execution.path


def test_an_interrupted_one_puts_back_and_leaves_the_one_before_in_force(lab: Lab) -> None:
    words = ("doctor", "--sensitivity", "local", "--mode", "shared", "--duration", "60s", "--results", str(lab.results))
    with lab.start(*words) as process:
        wait_for(measuring, "it measures")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert measuring() == []
    assert not (lab.newest().path / "sensitivity.json").exists()
    assert "targets were put back" in err.splitlines()[-1]
    assert out.startswith("sensitivity ")
