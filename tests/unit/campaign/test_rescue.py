# SPDX-License-Identifier: Apache-2.0
"""What is done to a target that is lost in mid-session: when its power may be switched, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.campaign import lane as lanes
from harness.campaign import rescue
from harness.campaign.events import EventLog
from harness.campaign.execution import Stop
from harness.campaign.machines import Machines
from harness.campaign.running import Running
from harness.errors import ConnectionLost, EnvironmentFault, Unreachable

from .test_boots import Board, Lane, carried_out, facts, quiet


def test_one_that_is_lost_in_mid_session_is_switched_off_and_on_as_often_as_a_run_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(tmp_path, Board([facts("b1")]), monkeypatch)
    lane.boot(quiet(lane))
    found = rescue.Rescue(lane.execution, lane.target, lane.talk, lane.emit)
    monkeypatch.setattr(rescue, "boottime_s", lambda: 1000.0)
    lane.talk.batch_ends_s, lane.talk.leased_until_s = 900.0, 1200.0
    gone = Unreachable("no answer")
    assert found.in_s(gone) is None  # nothing switches it
    cycled: list[str] = []
    monkeypatch.setattr(rescue.power, "can_cycle", lambda _: True)
    monkeypatch.setattr(rescue.power, "cycle", lambda target: cycled.append(target.name))
    for _ in range(2):
        assert found.in_s(gone) == 0
        found.switch(gone)
    assert found.in_s(gone) is None
    assert cycled == ["nuc", "nuc"]
    assert lane.events[-1] == ("power-cycled", {"message": "no answer"})


@pytest.mark.parametrize(
    ("error", "batch_ends_s", "leased_until_s", "in_s"),
    [
        (Unreachable("no route"), 900.0, 1200.0, 0.0),
        (Unreachable("no route"), 1100.0, 1200.0, 100.0),  # it may be measuring, and only our own network be gone
        (Unreachable("no route"), 900.0, 1010.0, None),  # somebody else may be there soon
        (Unreachable("no route"), 1190.0, 1200.0, None),
        (Unreachable("no route"), None, 1200.0, None),  # nothing of ours is measured there
        (ConnectionLost("broken pipe"), 900.0, 1200.0, None),  # it was there just now
    ],
)
def test_the_power_is_left_alone_while_it_may_be_measuring_or_be_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, batch_ends_s: float, leased_until_s: float, in_s: float
) -> None:
    lane = Lane(tmp_path, Board([]), monkeypatch)
    monkeypatch.setattr(rescue, "boottime_s", lambda: 1000.0)
    monkeypatch.setattr(rescue.power, "can_cycle", lambda _: True)
    lane.talk.batch_ends_s, lane.talk.leased_until_s = batch_ends_s, leased_until_s
    assert rescue.Rescue(lane.execution, lane.target, lane.talk, lane.emit).in_s(error) == in_s


def test_a_power_command_that_fails_is_not_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise EnvironmentFault("power: cycle: no outlet")

    lane = Lane(tmp_path, Board([]), monkeypatch)
    monkeypatch.setattr(rescue.power, "cycle", fails)
    with pytest.raises(Unreachable, match="no answer"):
        rescue.Rescue(lane.execution, lane.target, lane.talk, lane.emit).switch(Unreachable("no answer"))
    assert lane.events == [("power-failed", {"message": "power: cycle: no outlet"})]


def test_what_ran_on_a_machine_whose_power_was_switched_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(tmp_path, Board([facts("b1")]), monkeypatch)
    lane.boot(quiet(lane))
    assert lane.way_back.left == "next quiet"
    lane.sender.switched_off()
    assert lane.talk.running == Running()
    assert lane.way_back.left is None


def test_a_target_that_may_be_measuring_is_waited_for_until_its_power_may_be_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = carried_out(tmp_path, retry={"infrastructure": 1})
    events = EventLog(execution.path / "events.jsonl")
    lane = lanes.Lane(execution, execution.inventory().targets["nuc"], Machines(execution), events, Stop())
    rest = [30.0, 20.0, 0.0, None]
    done: list[object] = []

    class Sender:
        def session(self, _: object) -> Any:
            raise Unreachable("no route")

        def switched_off(self) -> None:
            done.append("forgotten")

    class Rescue:
        def in_s(self, _: object) -> float | None:
            done.append(rest[0])
            return rest.pop(0)

        def switch(self, _: object) -> None:
            done.append("switched")

    monkeypatch.setattr(lane, "_sender", Sender())
    monkeypatch.setattr(lane, "_rescue", Rescue())
    monkeypatch.setattr(lane, "_met", True)
    monkeypatch.setattr(lanes, "AWAY_S", 0.0)
    monkeypatch.setattr(lanes, "BACK_OFF_S", (0.0,))
    with pytest.raises(Unreachable):
        lane._until_done()
    events.close()
    assert done == [30.0, 20.0, 0.0, "switched", "forgotten", None]
