# SPDX-License-Identifier: Apache-2.0
"""What a control's own condition makes of it; that of the measured task is none of it."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.agent.control import Control
from harness.agent.spec import ControlSpec, LoadSpec, ProbeSpec
from harness.agent.system import AgentError

from .specs import spec_of

TASK = {"affinity": "0", "policy": "other", "priority": 0, "cpu": 0}
RESULT: dict[str, Any] = {
    "cpu": 0,
    "started": {"monotonic_raw_ns": 5 * 10**9},
    "effective": {"start": TASK, "end": TASK, "memory_locked": True},
    "faults": {"minor": 0, "major": 0},
    "histograms": {"gap_ns": {"file": "gap_ns.hdr", "dropped": 0, "negative": 0}},
    "gaps": {"file": "gaps.jsonl", "count": 3, "stored": 3, "dropped": 0},
}
#: What was measured had troubles of its own.
MEASURED: dict[str, Any] = {
    "cpu": 3,
    "started": {"monotonic_raw_ns": 5 * 10**9},
    "effective": {},
    "faults": {"minor": 9, "major": 9},
}
SPEC = spec_of(
    "fifo",
    load=LoadSpec("spin", "spin"),
    housekeeping=[0, 1],
    load_cpus=[1],
    control=ControlSpec(ProbeSpec("gap", "c" * 64), 0),
)


def finished(folder: Path, result: dict[str, Any] | AgentError, **facts: Any) -> dict[str, Any]:
    """What the record says of a control that left ``result``."""
    control = Control(SPEC, lambda sha256: f"/blobs/{sha256}", str(folder), [0, 1, 3])
    os.mkdir(control.out)

    def left() -> dict[str, Any]:
        if isinstance(result, AgentError):
            raise result
        for name in ("gap_ns.hdr", "gaps.jsonl"):
            Path(control.out, name).write_bytes(b"")
        return result

    state: Any = control
    state.process = SimpleNamespace(result=left)
    return control.finish({"boot_id": "a", **facts}, {"boot_id": "a"}, [MEASURED])


def test_a_sound_one(tmp_path: Path) -> None:
    found = finished(tmp_path, copy.deepcopy(RESULT))
    assert (found["cpu"], found["status"], found["result"]["cpu"]) == (0, "ok", 0)
    assert found["validity"] == {"state": "valid", "reasons": []}
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"control.gap_ns.cpu0.hdr", "control.gaps.cpu0.jsonl"}


def test_it_looks_for_no_causes_itself(tmp_path: Path) -> None:
    state: Any = Control(replace(SPEC, attribution="perf"), str, str(tmp_path), [0, 1, 3])
    assert state._spec.attribution == "off"


@pytest.mark.parametrize(
    ("change", "rule", "state"),
    [
        ({"cpu": 1}, "wrong-cpu", "invalid"),
        ({"effective": {"start": TASK, "end": {**TASK, "affinity": "0-3"}}}, "affinity-lost", "invalid"),
        ({"effective": {"start": TASK, "end": {**TASK, "policy": "idle"}}}, "policy-lost", "invalid"),
        ({"faults": {"minor": 0, "major": 1}}, "major-faults", "invalid"),
        ({"started": {"monotonic_raw_ns": 6 * 10**9}}, "started-apart", "suspect"),
        ({"gaps": {"file": "gaps.jsonl", "count": 9, "stored": 3, "dropped": 6}}, "ring-loss", "suspect"),
    ],
)
def test_its_own_condition(tmp_path: Path, change: dict[str, Any], rule: str, state: str) -> None:
    found = finished(tmp_path, {**copy.deepcopy(RESULT), **change})
    assert found["status"] == "ok"
    assert rule in [reason["rule"] for reason in found["validity"]["reasons"]]
    assert found["validity"]["state"] == state


def test_what_changed_on_the_whole_machine_is_against_it_too(tmp_path: Path) -> None:
    found = finished(tmp_path, copy.deepcopy(RESULT), boot_id="b")
    assert [reason["rule"] for reason in found["validity"]["reasons"]] == ["rebooted"]


def test_one_that_failed(tmp_path: Path) -> None:
    found = finished(tmp_path, AgentError("environment", "probe", "not here", "try elsewhere"))
    assert found == {"cpu": 0, "status": "unavailable", "reason": "not here (try elsewhere)"}


def test_files_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "control.gap_ns.cpu0.hdr").mkdir()
    found = finished(tmp_path, copy.deepcopy(RESULT))
    assert found["status"] == "unavailable"
    assert found["reason"].startswith("its files cannot be kept: ")
