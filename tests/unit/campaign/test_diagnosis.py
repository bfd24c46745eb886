# SPDX-License-Identifier: Apache-2.0
"""Doctor's measurement: what was found by target, and of a target on which nothing was measured why, and what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import diagnosis
from harness.campaign import execution as executions
from harness.campaign.execution import Execution
from harness.campaign.outcome import LaneOutcome, Outcome
from harness.config.inventory import load_inventory
from harness.store.runs import write_attempt

from ..report import fake_execution as fake
from ..store.attributed import attributed_run, change

Made = Callable[[Execution], dict[str, Any]]


def unreachable(_execution: Execution) -> dict[str, Any]:
    return {"failure": "no route to host", "advice": "is it on?"}


def failed(execution: Execution) -> dict[str, Any]:
    cell = execution.plan.cells[0].id
    own = fake.context(execution.id)
    told = {"reason": "it hung", "fault": "environment", "advice": "look at its console", "context": own}
    write_attempt(execution.path, "local", cell=cell, repeat=1, attempt=1, **told)
    return {"failed": 1}


def unsupported(execution: Execution) -> dict[str, Any]:
    execution.write_lane("local", {"unsupported": [{"cell": "c", "reason": "no CPU is isolated"}]})
    return {"unsupported": 1}


def of_another_probe(execution: Execution) -> dict[str, Any]:
    change(attributed_run(execution.path, target="local"), gaps=None)
    return {"finished": 1}


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (unreachable, ("no route to host", "is it on?")),
        (failed, ("it hung", "look at its console")),
        (unsupported, ("no CPU is isolated", "")),
        (lambda _: {"stopped": "interrupted"}, ("interrupted", "")),
        (of_another_probe, ("its run tells nothing of gaps", "")),
    ],
)
def test_why_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Made, why: tuple[str, str]
) -> None:
    known = load_inventory(None)
    execution = executions.create(diagnosis.plan_of({"local": "pinned"}, known, 10**9), tmp_path, known.path)

    def carry_out(execution: Execution, *_: object, **__: object) -> Outcome:
        lane: dict[str, Any] = {"planned": 1, "finished": 0, "usable": 0, **made(execution)}
        return Outcome((LaneOutcome("local", **lane),), 1.0)

    monkeypatch.setattr(diagnosis, "carry_out", carry_out)
    measured = diagnosis.carried_out(execution, known)
    assert measured.found == {}
    assert measured.lacking == {"local": why}
