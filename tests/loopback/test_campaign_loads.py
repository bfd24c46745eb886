# SPDX-License-Identifier: Apache-2.0
"""Loads through a whole campaign: what was run is in the record, and a tool that a target lacks is known before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable

import pytest

from harness.agent.loads import tools

from .agent_kit import without_measured
from .campaign_kit import Lab
from .conftest import Server

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))


def test_what_was_run_is_in_the_record(lab: Lab) -> None:
    lab.enter("local", smt="shared")
    loads = ["syscalls", {"cat": ["cat", "/dev/zero"]}]
    execution = lab.execution(axes={"mode": ["shared"], "load": loads}, repeat=1)
    lab.carry_out(execution)
    # A busy machine may have made a run invalid: then the same stands in its attempt.
    found = [*execution.path.glob("runs/local/*/run.json"), *execution.path.glob("attempts/local/*/attempt.json")]
    documents = {each["spec"]["load"]["name"]: each for each in (json.loads(path.read_text()) for path in found)}
    assert set(documents) == {"syscalls", "cat"}
    assert {document["spec"]["smt"] for document in documents.values()} == {"shared"}
    assert documents["syscalls"]["load"]["due_ns"] > 0
    assert documents["cat"]["load"]["command"] == ["cat", "/dev/zero"]
    assert all(document["load"]["cpu_time_ns"] > 0 for document in documents.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace for the server needs root")
def test_a_tool_that_a_target_lacks_is_unsupported(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    present = [path for path in map(shutil.which, tools.PACKAGES) if path is not None]
    lab.add(start_sshd(mounts=[f"mount --bind /dev/null {path}" for path in present]))
    axes = {"mode": ["pinned"], "load": ["idle", "hackbench", "stress-ng"]}
    execution = lab.execution(targets=["box"], axes=axes, repeat=1)
    outcome = lab.carry_out(execution)
    assert outcome.exit_code == 0
    lane = json.loads((execution.path / "lanes/box.json").read_text())
    assert {each["load"]: each["reason"] for each in lane["unsupported"]} == {
        name: f"{name} is not installed on the target: install the package {package} there"
        for name, package in tools.PACKAGES.items()
    }
    assert len(list(execution.path.glob("attempts/*/*"))) == 0
    assert len(list(execution.path.glob("runs/box/*"))) == 1
