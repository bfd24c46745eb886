# SPDX-License-Identifier: Apache-2.0
"""Campaigns where nothing breaks: here and over SSH alike, twice over, stopped by the clock, and over a budget."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.campaign.events import Event
from harness.campaign.execution import Execution
from harness.deadline import Deadline
from harness.errors import UserError
from harness.target.session import open_session

from .campaign_kit import Lab, complete, needs_root, no_agent, once, spooled, tidy, wait_for
from .conftest import OTHER_MACHINE, Server, User

#: What a machine is and what happened to it differs between two runs on it.
MEASURED = {"interrupts", "tasks", "throttled", "reasons", "quantiles", "log.txt", "users"}


def shape(document: Any) -> Any:
    """The keys of a document, all the way down."""
    if isinstance(document, dict):
        return {key: shape(value) if key not in MEASURED else ... for key, value in document.items()}
    return [shape(document[0])] if isinstance(document, list) and document else None


def without_target(text: str, target: str) -> str:
    """A cell's id hashes what was asked, the target's name included."""
    return re.sub(r"-[0-9a-f]{12}\b", "", text).replace(target, "TARGET")


def files(execution: Execution, target: str) -> list[str]:
    found = [str(path.relative_to(execution.path)) for path in execution.path.rglob("*")]
    return sorted(without_target(name, target) for name in found)


def test_local_and_over_ssh_leave_the_same(lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    axes = {"mode": ["shared", "pinned"], "load": ["idle"]}
    left = {}
    for target in ("local", "box"):
        execution = lab.execution(name=f"on-{target}", targets=[target], axes=axes)
        assert lab.carry_out(execution).exit_code == 0
        complete(execution)
        left[target] = execution
    here, there = left["local"], left["box"]
    assert files(here, "local") == files(there, "box")
    asked = [json.loads((execution.path / "plan.json").read_text())["cells"] for execution in (here, there)]
    assert [without_target(str(cell), "local") for cell in asked[0]] == [
        without_target(str(cell), "box") for cell in asked[1]
    ]
    assert not here.run_names["local"] & there.run_names["box"]
    runs = [sorted(execution.path.glob("runs/*/*/run.json")) for execution in (here, there)]
    for pair in zip(*runs, strict=True):
        documents = [json.loads(path.read_text()) for path in pair]
        assert shape(documents[0]) == shape(documents[1])
        one, other = (document["identity"] for document in documents)
        assert one["kernel_release"] is not None
        assert one["probe_sha256"] is not None
        assert {**one, "mode": None} == {**other, "mode": None}
    assert spooled() == []


def test_several_targets_side_by_side_and_one_of_them_gone(lab: Lab, sshd: Server, no_waiting: None) -> None:
    lab.add(sshd)
    lab.add(sshd, "gone", port=1)
    execution = lab.execution(targets=["box", "gone"], quorum="50%")
    outcome = lab.carry_out(execution)
    assert [(lane.target, lane.finished) for lane in outcome.lanes] == [("box", 2), ("gone", 0)]
    assert "127.0.0.1:1: Connection refused" in str(outcome.lanes[1].failure)
    assert outcome.exit_code == 0  # half of the runs is what was asked for
    assert lab.carry_out(execution, lanes=["gone"]).exit_code == 3


def test_a_finished_execution_is_not_repeated(lab: Lab) -> None:
    path = lab.campaign()
    said = lab.cli("run", str(path))
    assert said.code == 0, said.err
    execution = lab.newest()
    complete(execution)
    stamps = {each: each.stat().st_mtime_ns for each in execution.path.glob("runs/*/*/run.json")}
    again = lab.cli("resume", "short")
    assert again.code == 0
    assert re.fullmatch(r"isolbench: 2 of 2 runs finished: .*", "\n".join(again.lines))
    assert {each: each.stat().st_mtime_ns for each in execution.path.glob("runs/*/*/run.json")} == stamps
    assert len(lab.events("batch-submitted")) == 1
    assert len(lab.events("connected")) == 1  # nobody is asked where nothing is left to do


def test_a_lane_goes_on_where_a_run_is_missing(lab: Lab) -> None:
    execution = lab.execution(repeat=3)
    assert lab.carry_out(execution).exit_code == 0
    missing = sorted((execution.path / "runs" / "local").iterdir())[1]
    kept = {path: path.stat().st_ino for path in missing.parent.iterdir() if path != missing}
    for each in missing.iterdir():
        each.unlink()
    missing.rmdir()
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert {path: path.stat().st_ino for path in kept} == kept
    assert [event["runs"] for event in lab.events("batch-submitted")] == [3, 1]


@needs_root
def test_one_lane_of_several(lab: Lab, sshd: Server, start_sshd: Callable[..., Server]) -> None:
    lab.add(sshd)
    lab.add(start_sshd(mounts=[OTHER_MACHINE]), "other")
    execution = lab.execution()
    name = f"short/{execution.id}"
    first = lab.cli("run", "--execution", name, "--lane", "box")
    assert first.code == 0, first.err
    assert not (execution.path / "runs" / "other").exists()
    wait_for(no_agent, "the first machine's agent ends")
    assert lab.cli("run", "--execution", name, "--lane", "other").code == 0
    complete(execution)
    unknown = lab.cli("run", "--execution", name, "--lane", "nobody")
    assert unknown.code == 2
    assert unknown.lines == [f"isolbench: nobody: no lane of {name} (its lanes: box, other)"]


def test_until_stops_in_order_and_keeps_the_run_under_way(lab: Lab) -> None:
    soon_s = time.time() + 3.0
    execution = lab.execution(until=time.strftime("%H:%M:%S", time.localtime(soon_s)), repeat=100, duration="200ms")
    outcome = lab.carry_out(execution)
    assert outcome.exit_code == 5
    assert 0 < outcome.finished < 100
    assert "until" in outcome.sentence
    started = [event["run"] for event in lab.events("run-started")]
    stored = [event["run"] for event in lab.events("run-stored")]
    # The agent is stopped by the answer to the last run that it pushed: it may have begun one more, no further.
    assert stored == started[: len(stored)]
    assert len(started) - len(stored) <= 1
    assert spooled() == []
    tidy(execution)


def test_over_a_budget(lab: Lab) -> None:
    budget = {"bench": "gap", "metric": "gap_ns", "quantile": "p99.99", "at_most": "1ns"}
    said = lab.cli("run", str(lab.campaign(budgets=[budget])))
    assert said.code == 1
    assert re.search(r"budget checks? failed", said.lines[-1])
    assert "gap_ns p99.99" in said.out + said.err


def test_within_a_budget(lab: Lab) -> None:
    budgets = [
        {"bench": "gap", "metric": "gap_ns", "quantile": "p50", "at_most": "1s"},
        {"bench": "gap", "metric": "stolen_ppm", "at_most": "1000000"},
    ]
    assert lab.carry_out(lab.execution(budgets=budgets)).exit_code == 0


def test_what_is_invalid_is_tried_once_more_and_then_kept_as_such(lab: Lab) -> None:
    # A load that ends at once has never its CPU time: invalid each time, whatever the machine does.
    axes = {"mode": ["pinned"], "load": [{"brief": ["/bin/true"]}]}
    execution = lab.execution(axes=axes, repeat=1, retry={"invalid": 1})
    outcome = lab.carry_out(execution)
    assert outcome.exit_code == 4
    assert "none of them is valid" in outcome.sentence
    (attempt,) = execution.path.glob("attempts/local/*-a1/attempt.json")
    document = json.loads(attempt.read_text())
    assert document["reason"].startswith("invalid: ")
    assert document["fault"] == "environment"
    assert [event["attempt"] for event in lab.events("run-started")] == [1, 2]
    (run,) = execution.path.glob("runs/local/*/run.json")
    assert json.loads(run.read_text())["validity"]["state"] == "invalid"


def test_a_load_that_does_not_exist_is_a_failed_run_and_tried_no_more(lab: Lab) -> None:
    axes = {"mode": ["pinned"], "load": ["idle", {"lost": ["/no/such/program"]}]}
    execution = lab.execution(axes=axes, repeat=1, retry={"infrastructure": 2})
    outcome = lab.carry_out(execution)
    assert (outcome.exit_code, outcome.finished, outcome.planned) == (3, 1, 2)
    (attempt,) = execution.path.glob("attempts/local/*/attempt.json")
    assert "/no/such/program" in json.loads(attempt.read_text())["reason"]
    quorate = lab.execution(name="half", axes=axes, repeat=1, quorum="50%")
    assert lab.carry_out(quorate).exit_code == 0


@needs_root
def test_nothing_that_could_run_is_no_success(
    lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]
) -> None:
    user = make_user()
    lab.add(start_sshd(home=False), user=user.name)
    said = lab.cli("run", str(lab.campaign(axes={"mode": ["fifo"], "load": ["idle"]})))
    assert said.code == 4
    assert said.lines == ["isolbench: nothing could run: every cell is unsupported"]
    assert "fifo" in said.err
    assert "RLIMIT_RTPRIO" in said.err or "CAP_SYS_NICE" in said.err


def test_a_second_controller_is_told_who_and_how_long(lab: Lab) -> None:
    first = lab.start("run", str(lab.campaign(duration="60s", repeat=1)))
    with first:
        wait_for(lambda: lab.events("run-started"), "the first controller measures")
        second = lab.cli("run", str(lab.campaign(name="second")))
        first.terminate()
        first.communicate(timeout=60)
    assert second.code == 3
    line = second.lines[0]
    assert line.startswith("isolbench: local: in use by ")
    assert f"(pid {first.pid}) (short/" in line  # whose it is, and what is being measured
    assert "its lease ends in " in second.err


def test_a_lane_is_carried_out_by_one_process(lab: Lab) -> None:
    execution = lab.execution(duration="60s", repeat=1)
    words = ("run", "--execution", f"short/{execution.id}", "--lane", "local")
    with lab.start(*words) as first:
        wait_for(lambda: lab.events("run-started"), "the first one measures")
        second = lab.cli(*words)
        first.terminate()
        first.communicate(timeout=60)
    assert second.code == 3
    line = f"isolbench: local: this lane of short/{execution.id} is being carried out by another process"
    assert line in second.lines
    # The second one left no mark on what is the first one's.
    assert json.loads((execution.path / "lanes/local.json").read_text())["failure"] is None


def test_an_execution_needs_its_inventory(lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    execution = lab.execution()
    lab.inventory.write_text("targets: {}\n")
    with pytest.raises(UserError, match="box: no such target in"):
        lab.carry_out(execution)


def test_listeners_that_break_do_not_take_the_measurement_along(lab: Lab) -> None:
    def broken(_: Event) -> None:
        raise BrokenPipeError

    execution = lab.execution()
    assert lab.carry_out(execution, broken).exit_code == 0
    complete(execution)


def test_a_lost_lease_ends_the_lane(lab: Lab) -> None:
    """Somebody who says our own name takes the target over: whoever holds the older token hands nothing over."""
    execution = lab.execution(sessions=2)
    stack = contextlib.ExitStack()

    def take_over() -> None:
        target = execution.inventory().targets["local"]
        session = stack.enter_context(open_session(target, execution.owner("local")))
        session.client.acquire(60.0, Deadline.after(10))

    with stack:
        outcome = lab.carry_out(execution, once(take_over, "batch-finished"))
    assert outcome.exit_code == 3
    assert outcome.finished < outcome.planned
    tidy(execution)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
