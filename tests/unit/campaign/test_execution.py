# SPDX-License-Identifier: Apache-2.0
"""Executions on disk: made once, found by many names, carried out by one process at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.campaign import execution as executions
from harness.campaign.execution import Execution, Stop, target_of
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.errors import Busy, ConfigError, StorageFull, UserError
from harness.plan import Plan, build_plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "c.yaml").write_text("{campaign: c, targets: [local], benches: [gap], duration: 1s, sessions: 2}")
    return build_plan(load_campaign(tmp_path / "c.yaml"), load_inventory(None))


@pytest.fixture
def made(plan: Plan, tmp_path: Path) -> Execution:
    return executions.create(plan, tmp_path / "results", None)


def test_it_is_read_back_as_it_was(made: Execution) -> None:
    again = executions.load(made.path)
    assert (again.id, again.nonce, again.plan.to_json()) == (made.id, made.nonce, made.plan.to_json())
    assert again.owner("local") == made.owner("local")
    assert again.spool == made.spool
    assert len(again.run_names["local"]) == 2


def test_two_of_one_second_have_folders_of_their_own(made: Execution, plan: Plan, tmp_path: Path) -> None:
    other = executions.create(plan, tmp_path / "results", None)
    assert other.path != made.path
    assert other.spool != made.spool


def test_it_is_found_by_many_names(made: Execution, plan: Plan, tmp_path: Path) -> None:
    newer = executions.create(plan, tmp_path / "results", None)
    results = tmp_path / "results"
    for name in (str(newer.path), "c", "c@-1", f"c/{newer.id}", newer.id):
        assert executions.find(name, results) == newer.path, name
    assert executions.find("c@-2", results) == made.path
    assert executions.executions(results) == [made.path, newer.path]


@pytest.mark.parametrize("name", ["nothing", "c@-3", "c@0", "c@x", "../c", "c/../c", "", "/etc", "*", "c/*"])
def test_what_is_not_there_is_the_users_mistake(name: str, made: Execution, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        executions.find(name, tmp_path / "results")


def test_one_id_under_two_campaigns_is_ambiguous(made: Execution, tmp_path: Path) -> None:
    other = tmp_path / "results/d" / made.id
    other.mkdir(parents=True)
    (other / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="is ambiguous"):
        executions.find(made.id, tmp_path / "results")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_a_broken_plan_is_named(text: str, made: Execution) -> None:
    (made.path / "plan.json").write_text(text)
    with pytest.raises((UserError, ConfigError), match=r"plan\.json"):
        executions.load(made.path)


def test_without_an_inventory_there_is_this_machine_alone(plan: Plan, tmp_path: Path) -> None:
    inventory = tmp_path / "lab.yaml"
    inventory.write_text("targets: {box: {address: box.lan}, dead: {address: dead.lan, disabled: PSU dead}}")
    (tmp_path / "d.yaml").write_text("{campaign: d, targets: [box], benches: [gap], duration: 1s}")
    known = load_inventory(inventory)
    remote = build_plan(load_campaign(tmp_path / "d.yaml"), known)
    with pytest.raises(UserError, match="without an inventory"):
        executions.create(remote, tmp_path / "results", None)
    assert not (tmp_path / "results").exists()
    assert target_of(executions.create(remote, tmp_path / "results", inventory).inventory(), "box").name == "box"
    with pytest.raises(UserError, match="gone: no such target"):
        target_of(known, "gone")
    with pytest.raises(UserError, match="dead: disabled in the inventory: PSU dead"):
        target_of(known, "dead")


def test_no_plan_no_execution(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFull("no space")

    monkeypatch.setattr("harness.campaign.execution.write_file", full)
    with pytest.raises(StorageFull):
        executions.create(plan, tmp_path / "results", None)
    assert list((tmp_path / "results/c").iterdir()) == []


def test_a_lane_is_locked_by_one(made: Execution) -> None:
    assert not made.is_locked("local")
    with made.locked("local"):
        assert made.is_locked("local")
        with pytest.raises(Busy, match=f"this lane of c/{made.id} is being carried out"), made.locked("local"):
            pass
        with made.locked("other"):
            pass
    assert not made.is_locked("local")


def test_a_lock_dies_with_its_process(made: Execution) -> None:
    child = os.fork()
    if child == 0:
        with made.locked("local"):
            os._exit(0)
    os.waitpid(child, 0)
    with made.locked("local"):
        pass


def test_a_damaged_lane_says_nothing(made: Execution) -> None:
    made.write_lane("local", {"failure": None})
    assert made.lane("local") == {"schema": 1, "target": "local", "failure": None}
    (made.path / "lanes/local.json").write_text("{")
    assert made.lane("local") == {}
    assert made.lane("other") == {}


def test_finished_is_a_folder_with_its_document(made: Execution) -> None:
    for name in ("a-r1", "b-r1", ".tmp-c-r1-00"):
        (made.path / "runs/local" / name).mkdir(parents=True)
    for name in ("a-r1", ".tmp-c-r1-00"):
        (made.path / "runs/local" / name / "run.json").write_text(json.dumps({}))
    assert made.finished("local") == {"a-r1"}
    assert made.finished("other") == set()


def test_the_first_reason_to_stop_is_told() -> None:
    stop = Stop()
    assert not stop
    stop.set("until 06:30", at_once=False)
    assert (bool(stop), stop.at_once) == (True, False)
    stop.set("interrupted", at_once=True)
    assert (stop.reason, stop.at_once) == ("until 06:30", True)
    assert stop.wait(0)
