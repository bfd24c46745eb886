# SPDX-License-Identifier: Apache-2.0
"""The bookkeeping of a lane: what is kept, what is tried again, and that no record whatever can break it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.campaign import execution as executions
from harness.campaign.execution import Execution
from harness.campaign.ledger import Ledger
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.report.html import write_report
from harness.report.terminal import summary
from harness.store.runs import load_run

from ..report import fake_execution as fake

HISTOGRAM = fake.counts(np.random.default_rng(1), quiet=40, noise=[(2_500, 0.4, 0, 400)])


def new_execution(folder: Path, retry: Mapping[str, int]) -> Execution:
    campaign = {
        "campaign": "c",
        "targets": ["local"],
        "benches": ["gap"],
        "axes": {"mode": ["pinned"]},
        "duration": "1s",
        "repeat": 3,
        "retry": retry,
    }
    (folder / "c.yaml").write_text(json.dumps(campaign))
    plan = build_plan(load_campaign(folder / "c.yaml"), load_inventory(None))
    return executions.create(plan, folder / "results", None)


class Lane:
    """A ledger, what it told, and records that an agent could have sent."""

    def __init__(self, folder: Path, infrastructure: int = 1, invalid: int = 1) -> None:
        self.execution = new_execution(folder, {"infrastructure": infrastructure, "invalid": invalid})
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.ledger = self.again()
        (self.cell,) = self.execution.plan.cells
        self.run = f"{self.cell.id}-r1"

    def again(self) -> Ledger:
        """As another process would find it."""
        self.ledger = Ledger(self.execution, "local", self.tell)
        self.ledger.facts = fake.FACTS
        self.ledger.read()
        return self.ledger

    def tell(self, kind: str, /, **fields: Any) -> None:
        self.told.append((kind, fields))

    def record(self, attempt: int = 1, state: str = "valid", **changes: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
        reasons = [{"rule": "load", "state": state, "text": "it was away", "advice": ""}] if state != "valid" else []
        made, files = fake.record(
            cell=self.cell.id, mode=fake.MODES["pinned"], histogram=HISTOGRAM, state=state, reasons=reasons,
            duration_ns=self.cell.duration_ns,
        )  # fmt: skip
        made["spec"] |= {"attempt": attempt, "settle_ns": self.cell.settle_ns, "duration_ns": self.cell.duration_ns}
        made["spec"]["probe"] = {**made["spec"]["probe"], "params": dict(self.cell.params)}
        return {**copy.deepcopy(made), **changes}, files

    def attempts(self) -> list[str]:
        folder = self.execution.path / "attempts/local"
        return sorted(path.name.removeprefix(self.run) for path in folder.iterdir()) if folder.exists() else []

    def keep(self, attempt: int = 1, state: str = "valid", **changes: Any) -> None:
        self.ledger.keep(self.run, *self.record(attempt, state, **changes))


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


FAILED = {"status": "failed", "reason": "the wire broke", "fault": "infrastructure"}


def test_a_run_is_kept_under_the_facts_of_the_contact(lane: Lane) -> None:
    assert lane.ledger.begin(lane.run) == 1
    lane.keep()
    assert lane.told == [("run-stored", {"run": lane.run, "state": "valid"})]
    run = load_run(lane.execution.path / "runs/local" / lane.run)
    assert run.document["identity"]["cpu_model"] == fake.FACTS["cpu_model"]
    assert run.document["identity"]["cmdline"] == fake.FACTS["kernel"]["cmdline"]
    assert not lane.ledger.open(lane.run)
    assert lane.ledger.settled == 1
    assert not lane.ledger.complete
    assert lane.again().finished == {lane.run}


def test_a_record_with_a_control_that_nobody_asked_for_is_none_of_this_cell(lane: Lane) -> None:
    lane.ledger.begin(lane.run)
    record, files = lane.record()
    record["spec"]["control"] = {"probe": {"name": "gap", "sha256": "ab" * 32, "params": {}}, "cpu": 0}
    lane.ledger.keep(lane.run, record, files)
    [(kind, told)] = lane.told
    assert kind == "run-failed"
    assert "it is not what was asked for" in told["reason"]


def test_a_failure_is_tried_as_often_as_the_campaign_says(lane: Lane) -> None:
    for number, retried in ((1, True), (2, False)):
        assert lane.ledger.begin(lane.run) == number
        lane.keep(number, **FAILED)
        kind, fields = lane.told[-1]
        assert (kind, fields["retried"], fields["fault"]) == ("run-failed", retried, "infrastructure")
        assert lane.ledger.open(lane.run) is retried
    assert lane.ledger.given_up == {lane.run}
    assert lane.attempts() == ["-a1", "-a2"]
    assert lane.again().open(lane.run)  # whoever resumes has the tries again
    assert lane.ledger.begin(lane.run) == 3


@pytest.mark.parametrize("fault", ["environment", "user", "bug", "nobody's"])
def test_other_faults_are_not_tried_again(fault: str, lane: Lane) -> None:
    lane.ledger.begin(lane.run)
    lane.keep(status="failed", reason="no such program", fault=fault)
    assert lane.ledger.given_up == {lane.run}
    kept = json.loads(next(lane.execution.path.glob("attempts/*/*/attempt.json")).read_text())
    assert kept["fault"] == ("bug" if fault == "nobody's" else fault)


def test_what_is_invalid_is_tried_once_more_then_kept(lane: Lane) -> None:
    lane.ledger.begin(lane.run)
    lane.keep(1, "invalid")
    assert lane.told[-1][1]["reason"] == "invalid: it was away"
    assert lane.ledger.begin(lane.run) == 2
    lane.keep(2, "invalid")
    kind, told = lane.told[-1]
    assert (kind, told["state"], told["reason"].partition(": ")[0]) == ("run-stored", "invalid", "invalid")
    assert lane.attempts() == ["-a1"]


def test_a_campaign_without_such_a_retry_keeps_it_at_once(tmp_path: Path) -> None:
    lane = Lane(tmp_path, invalid=0)
    lane.keep(1, "invalid")  # also one that an earlier process asked for
    kind, told = lane.told[-1]
    assert (kind, told["state"], told["reason"].partition(": ")[0]) == ("run-stored", "invalid", "invalid")


def test_what_an_earlier_process_asked_for_takes_no_try(tmp_path: Path) -> None:
    lane = Lane(tmp_path, infrastructure=0)
    lane.keep(1, **FAILED)  # found in the spool
    assert lane.told[-1][1]["retried"]
    lane.ledger.begin(lane.run)
    lane.keep(2, **FAILED)
    assert not lane.told[-1][1]["retried"]


def test_an_attempt_that_is_kept_is_not_kept_or_counted_twice(lane: Lane) -> None:
    lane.ledger.begin(lane.run)
    lane.keep(1, **FAILED)
    told = len(lane.told)
    lane.again()
    lane.keep(1, **FAILED)
    assert lane.attempts() == ["-a1"]
    assert len(lane.told) == told


def test_a_reason_of_megabytes_is_cut(lane: Lane) -> None:
    lane.keep(status="failed", reason="x" * (1 << 22), fault="environment")
    assert len(lane.told[-1][1]["reason"]) == 2000


def test_a_record_that_cannot_be_written_down_is_kept_without(lane: Lane) -> None:
    lane.keep(status="failed", reason="hot", fault="environment", knobs=[float("nan")])
    kept = json.loads(next(lane.execution.path.glob("attempts/*/*/attempt.json")).read_text())
    assert kept["reason"] == "hot"
    assert "knobs" not in kept


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"duration_ns": 7}, "it is not what was asked for"),
        ({"bench": "wake"}, "it is not what was asked for"),
        ({"mode": fake.MODES["shared"]}, "it is not what was asked for"),
        ({"load": {"name": "idle", "kind": "spin"}}, "it is not what was asked for"),
        ({"repeat": 2}, "is not repeat 2 of cell"),
    ],
)
def test_a_record_of_something_else_is_refused(change: dict[str, Any], says: str, lane: Lane) -> None:
    record, files = lane.record()
    record["spec"] |= change
    lane.ledger.keep(lane.run, record, files)
    kind, fields = lane.told[-1]
    assert (kind, fields["fault"]) == ("run-failed", "bug")
    assert says in fields["reason"]
    assert lane.ledger.finished == set()


def test_another_placement_is_no_other_cell(lane: Lane) -> None:
    """What was measured before the inventory was corrected is a result all the same."""
    record, files = lane.record()
    record["spec"] |= {"housekeeping": [0]}
    lane.ledger.keep(lane.run, record, files)
    assert lane.told[-1][0] == "run-stored"


def test_damaged_on_its_way_is_the_wires_fault(lane: Lane) -> None:
    record, files = lane.record()
    files["gap_ns.cpu3.hdr"] = files["gap_ns.cpu3.hdr"][:-1] + b"\0"
    lane.ledger.keep(lane.run, record, files)
    assert lane.told[-1][1]["fault"] == "infrastructure"


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        found += paths(below, (*at, key))
    return found


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("../../evil"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    return Lane(tmp_path_factory.mktemp("fuzz"), infrastructure=100, invalid=0)


@settings(max_examples=100)
@given(data=st.data(), junk=JUNK)
def test_whatever_a_target_sends_it_is_kept_or_refused(victim: Lane, data: st.DataObject, junk: Any) -> None:
    """And what was kept can be reported."""
    record, files = victim.record()
    *way, last = data.draw(st.sampled_from(paths(record)))
    there = record
    for step in way:
        there = there[step]
    there[last] = junk
    before = set(victim.execution.path.parent.parent.rglob("evil*"))
    lane = victim
    lane.again()
    lane.ledger.keep(lane.run, record, files)
    assert lane.told[-1][0] in ("run-stored", "run-failed")
    lane.told.clear()
    assert set(victim.execution.path.parent.parent.rglob("evil*")) == before
    with Path("/dev/null").open("w") as nowhere:
        summary(lane.execution.path, Console(file=nowhere))
    write_report(lane.execution.path, lane.execution.path / "report.html")
    for kind in ("runs", "attempts"):
        for path in (lane.execution.path / kind).glob("*/*"):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
