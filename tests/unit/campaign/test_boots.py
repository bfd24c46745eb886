# SPDX-License-Identifier: Apache-2.0
"""What a lane does with boots that fail: tried again or not, whose runs they cost, and what a resumed lane knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.campaign import boot_times, boots, execution
from harness.campaign import lane as lanes
from harness.campaign.events import EventLog
from harness.campaign.execution import Execution, Stop
from harness.campaign.ledger import Ledger
from harness.campaign.machines import Machines
from harness.campaign.running import Running
from harness.campaign.work import next_session
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.config.kernels import BootProfile
from harness.errors import ConnectionLost, EnvironmentFault, StorageFull, TargetUnfit, Unreachable
from harness.plan import Booted, build_plan
from harness.target.booting import Wanted
from harness.target.client import Corrupt
from harness.target.proof import Expected, NotBack

LAB = """\
targets: {nuc: {address: n, boot: kexec, isolated: 1}}
kernels: {next: {installed: 6.18}}
boots: {quiet: {add: "nohz_full={isolated}"}}
"""
CAMPAIGN: dict[str, Any] = {
    "campaign": "c", "targets": ["nuc"], "benches": ["gap"], "duration": "1s", "sessions": 2,
    "axes": {"kernel": ["default", "next"], "boot": ["plain", "quiet"], "mode": ["shared", "pinned"]},
}  # fmt: skip
PANIC = "[ 3.1] Kernel panic - not syncing: VFS: Unable to mount root fs"
CONSOLE = f"its console said: {PANIC}"


def carried_out(folder: Path, **campaign: Any) -> Execution:
    (folder / "i.yaml").write_text(LAB)
    (folder / "c.yaml").write_text(json.dumps({**CAMPAIGN, **campaign}))
    plan = build_plan(load_campaign(folder / "c.yaml"), load_inventory(folder / "i.yaml"))
    return execution.create(plan, folder / "results", folder / "i.yaml")


def facts(boot_id: str, cmdline: str = "nohz_full=1", release: str = "6.18") -> dict[str, Any]:
    kernel = {"release": release, "version": "#1", "build_id": None, "cmdline": cmdline}
    return {"boot_id": boot_id, "kernel": kernel, "cpus": {"isolated": [], "nohz_full": [1]}}


class Board:
    """In the place of the Booter: ``outcomes`` says of each boot what the target shows then, or what is raised."""

    def __init__(self, outcomes: list[dict[str, Any] | Exception]) -> None:
        self.outcomes = outcomes
        self.booted: list[str] = []
        self.leases: list[str] = []
        self.now: dict[str, Any] = {}
        self.boot_id = "b0"
        self.patience_s = self.took_s = 0.0
        self.hung: NotBack | None = None
        self.from_ours = self.left = False
        self.keep_s: float | None = None
        self.cleaned: list[str] = []

    def order(self, wanted: Wanted, hands: object) -> Expected:
        self.booted.append(str(wanted))
        self.boot_id = str(self.now.get("boot_id", "b0"))
        self.took_s = 20.0
        self.from_ours = "isolbench.boot" in str(self.now.get("kernel"))
        if isinstance(self.outcomes[0], TargetUnfit | StorageFull | ConnectionLost | Corrupt):
            raise self.outcomes.pop(0)  # type: ignore[misc]
        self.left = True
        profile = BootProfile() if wanted.is_default else wanted.profile.for_cpus("1")
        if wanted.is_default:
            profile = BootProfile(remove=("isolbench.boot",))
        release = None if wanted.kernel.name == "default" else "6.18"
        return Expected(wanted.kernel.name, release, None, None, profile, wanted.boot)

    def await_back(self) -> None:
        found = self.outcomes.pop(0)
        if isinstance(found, Exception):
            raise found
        self.hung = found.pop("hung", None)
        self.now = found

    def clean_up(self) -> None:
        self.cleaned.append(self.booted[-1])

    def console_end(self) -> str:
        return PANIC

    @contextmanager
    def session(self, *_: Any) -> Iterator[Any]:
        client = SimpleNamespace(
            acquire=lambda *_: self.leases.append("acquired") or 7,
            release=lambda *_: self.leases.append("released"),
            bye=lambda *_: None,
        )
        hands = SimpleNamespace(under=lambda token, state: (token, state))
        yield SimpleNamespace(welcome={"facts": self.now, "state_dir": "/s"}, client=client, hands=hands)


class Lane:
    """An execution's lane with its ledger, and a board that does what it was told to."""

    def __init__(self, folder: Path, board: Board, monkeypatch: pytest.MonkeyPatch, **campaign: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr(boots, "Booter", lambda *_: board)
        monkeypatch.setattr(boots, "open_session", board.session)
        self.execution = carried_out(folder, **campaign)
        self.board = board
        self.events: list[tuple[str, dict[str, Any]]] = []
        emit: Callable[..., None] = lambda kind, **fields: self.events.append((kind, fields))  # noqa: E731
        self.ledger = Ledger(self.execution, "nuc", emit)
        self.ledger.read()
        self.talk: Any = SimpleNamespace(running=Running(), token=1, batch_ends_s=None, leased_until_s=0.0)
        target = self.execution.inventory().targets["nuc"]
        self.stop = Stop()
        self.boots = boots.Boots(self.execution, target, self.talk, self.ledger, self.stop, emit)

    def boot(self, planned: Any) -> None:
        with self.boots.session() as session:
            self.boots.boot(planned, session)

    def session(self, *refused: str) -> Any:
        found = next_session(self.execution, "nuc", self.ledger, refused)
        assert found is not None
        return found

    def attempts(self) -> list[dict[str, Any]]:
        folder = self.execution.path / "attempts" / "nuc"
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*/attempt.json"))]


def quiet(lane: Lane) -> Any:
    """The first session that wants the kernel next with the profile quiet."""
    others = [cell.id for cell in lane.execution.plan.cells if cell.booted != Booted("next", "quiet")]
    return lane.session(*others)


def test_a_boot_that_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(tmp_path, Board([facts("b1")]), monkeypatch)
    session = quiet(lane)
    assert not lane.talk.running.serves(session)
    lane.boot(session)
    assert lane.talk.running.serves(session)
    assert [kind for kind, _ in lane.events] == ["booted"]
    again = Running.from_json(json.loads(json.dumps(lane.talk.running.to_json())))
    assert again == lane.talk.running  # a resumed lane knows it
    assert again.boot_id == "b1"
    assert again.proof["cmdline"] == "nohz_full=1"


def test_the_old_kernel_is_tried_again_and_then_costs_the_session_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [facts(f"b{number}", release="6.1") for number in range(4)]
    lane = Lane(tmp_path, Board([*old[:3], old[3]]), monkeypatch)
    session = quiet(lane)
    lane.boot(session)
    assert lane.board.booted == ["next quiet"] * 3  # retry: infrastructure: 2
    assert [fields["retried"] for kind, fields in lane.events if kind == "boot-failed"] == [True, True, False]
    assert [each["fault"] for each in lane.attempts()] == ["infrastructure"] * 2
    reason = lane.attempts()[0]["reason"]
    assert reason == (f"boot of next quiet: came back with the kernel 6.1 instead of 6.18 (next); {CONSOLE}")
    log = next((lane.execution.path / "attempts" / "nuc").glob("*/log.txt"))
    assert log.read_text() == PANIC
    assert len(lane.ledger.given_up) == 2
    second = quiet(lane)
    assert second.index == 2  # the campaign goes on
    lane.boot(second)
    assert len(lane.board.booted) == 4  # the tries were used up
    assert len(lane.ledger.given_up) == 4
    assert lane.session().booted != Booted("next", "quiet")


def test_wrong_parameters_would_be_wrong_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(tmp_path, Board([facts("b1", cmdline="ro")]), monkeypatch)
    lane.boot(quiet(lane))
    assert lane.board.booted == ["next quiet"]
    reason = lane.attempts()[0]["reason"]
    assert reason.startswith("boot of next quiet: came back with wrong parameters (quiet): nohz_full=1 is not")
    assert "console" not in reason  # the kernel runs: what its console said was not why


@pytest.mark.parametrize("error", [TargetUnfit("kexec is not installed"), StorageFull("/boot has 3 MiB free")])
def test_what_cannot_be_booted_at_all_costs_its_runs_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lane = Lane(tmp_path, Board([error]), monkeypatch)
    lane.boot(quiet(lane))
    assert len(lane.ledger.given_up) == 2


def test_who_came_back_with_its_own_kernel_is_not_sent_back_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, ours = facts("b1", "ro", release="6.1"), facts("b2", "ro isolbench.boot=installed/quiet", release="6.1")
    for found, booted in ((own, ["next quiet"]), (ours, ["next quiet", "default plain"])):
        back = facts("b3", cmdline="ro")
        lane = Lane(tmp_path, Board([found, back]), monkeypatch, retry={"infrastructure": 0})
        lane.boot(quiet(lane))
        lane.boots.back()
        assert lane.board.booted == booted


def test_a_board_that_is_gone_ends_its_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(tmp_path, Board([NotBack("did not come back within 300 s")]), monkeypatch)
    with pytest.raises(NotBack):
        lane.boot(quiet(lane))
    assert len(lane.ledger.given_up) == 2


def test_a_board_whose_power_was_switched_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = NotBack("did not come back; its power was switched")
    lane = Lane(tmp_path, Board([{**facts("b1"), "hung": hung}, facts("b2")]), monkeypatch)
    lane.boot(quiet(lane))
    assert [fields["message"] for kind, fields in lane.events if kind == "boot-failed"] == [f"{hung}; {CONSOLE}"]
    assert lane.talk.running.boot_id == "b2"
    assert not lane.ledger.given_up


def test_at_the_end_the_machine_boots_its_own_and_proves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(tmp_path, Board([facts("b1"), facts("b2", cmdline="ro")]), monkeypatch)
    lane.boots.back()
    assert lane.board.booted == []  # nothing of ours runs
    assert lane.boots.lease_s(None) is None
    lane.boot(quiet(lane))
    assert lane.boots.lease_s(None) is not None  # nobody else's in between
    with lane.boots.session() as session:
        lane.boots.back(session)
    assert lane.board.booted == ["next quiet", "default plain"]
    assert lane.board.leases == ["acquired", "released"]
    kind, fields = lane.events[-1]
    assert (kind, fields["proof"]["boot_id"]) == ("booted-back", "b2")
    lane.boots.back()
    assert len(lane.board.booted) == 2


def test_a_kernel_of_ours_that_cannot_boot_another_is_left_by_way_of_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = facts("b1", cmdline="nohz_full=1 isolbench.boot=installed/quiet")
    lane = Lane(tmp_path, Board([ours, TargetUnfit("kexec: not here"), facts("b2"), facts("b3")]), monkeypatch)
    session = quiet(lane)
    lane.boot(session)
    lane.boot(session)
    assert lane.board.booted == ["next quiet", "next quiet", "default plain", "next quiet"]
    assert [kind for kind, _ in lane.events] == ["booted", "booting-home-first", "booted"]
    assert lane.talk.running.boot_id == "b3"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts("b1", cmdline="ro"), "did not boot: the boot id is the same"),
        (facts("b2", cmdline="ro isolbench.boot=1/quiet"), "isolbench.boot=1/quiet is still there"),
        (NotBack("did not come back within 60 s"), "did not come back within 60 s"),
    ],
)
def test_a_machine_that_did_not_go_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Any, message: str
) -> None:
    lane = Lane(tmp_path, Board([facts("b1"), found]), monkeypatch)
    lane.boot(quiet(lane))
    lane.boots.back()
    assert lane.board.leases[0] == "acquired"
    kind, fields = lane.events[-1]
    assert kind == "left-booted"
    assert (fields["kernel"], fields["boot"]) == ("next", "quiet")
    assert message in fields["message"]


def test_patience_and_the_lease_follow_the_boots_that_were_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(tmp_path, Board([facts("b1"), facts("b2", cmdline="ro")]), monkeypatch)
    session = quiet(lane)
    assert lane.boots.lease_s(session) == 300 + 60  # next lies on the target
    lane.boot(session)
    assert lane.board.patience_s == 300
    target = lane.execution.inventory().targets["nuc"]
    assert boot_times.patience_s(target) == 300  # kexec says nothing of what its firmware takes
    lane.boots.back()
    assert boot_times.patience_s(target) == 4 * 20
    assert boot_times.expected_s(target) == 20
    boot_times.add(target, 5, by_itself=True)
    assert boot_times.patience_s(target) == 80  # the longest
    patient = target.model_copy(update={"boot_timeout_ns": 7 * 10**9})
    assert boot_times.patience_s(patient) == 7
    (kept,) = (tmp_path / "cache/isolbench/facts").glob("nuc-*.boots.json")
    for text in ("", "[]", '{"seconds": 3}', '{"seconds": {"firmware": "x"}}', '{"seconds": {"firmware": []}}'):
        kept.write_text(text)
        assert boot_times.patience_s(target) == 300  # nothing is known of what does not look so


@pytest.mark.parametrize("at_once", [False, True])  # by the clock, and by a signal
def test_asked_to_stop_while_it_boots_it_is_waited_for_and_sent_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    ours, own = facts("b1", "ro isolbench.boot=installed/quiet"), facts("b2", "ro")
    lane = Lane(tmp_path, Board([NotBack("asked to stop while it was booting"), ours, own]), monkeypatch)
    session = quiet(lane)
    monkeypatch.setattr(lane.board, "order", stopping(lane, lane.board.order, at_once=at_once))
    lane.boot(session)
    assert not lane.ledger.given_up
    assert not lane.board.cleaned  # it may be reading it
    lane.boots.back()
    assert lane.board.booted == ["next quiet", "default plain"]
    assert [kind for kind, _ in lane.events] == ["going-back", "booted-back"]
    assert lane.board.cleaned == ["default plain"]
    assert lane.boots.left is None
    assert not lane.board.outcomes


def test_asked_to_stop_after_a_booted_session_it_is_sent_back_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for back, kinds in ((facts("b2", "ro"), ["booted-back"]), (NotBack("no"), ["left-booted"])):
        lane = Lane(tmp_path, Board([facts("b1"), back]), monkeypatch)
        lane.boot(quiet(lane))
        lane.stop.set("interrupted", at_once=True)
        with lane.boots.session() as session:
            assert lane.boots.lease_s(None) is not None  # nobody else's in between
            lane.boots.back(session)
        assert [kind for kind, _ in lane.events] == ["booted", "going-back", *kinds]
        assert lane.boots._pause(0) is False
        assert lane.boots.left == (None if kinds == ["booted-back"] else "next quiet")


def test_asked_to_stop_and_found_at_home_it_is_left_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was booted panicked, and the machine's own kernel came after it."""
    lane = Lane(tmp_path, Board([NotBack("asked to stop while it was booting"), facts("b2", "ro")]), monkeypatch)
    session = quiet(lane)
    monkeypatch.setattr(lane.board, "order", stopping(lane, lane.board.order, at_once=True))
    lane.boot(session)
    lane.boots.back()
    assert lane.board.booted == ["next quiet"]
    assert lane.boots.left is None


def stopping(
    lane: Lane, order: Callable[[Wanted, object], Expected], *, at_once: bool
) -> Callable[[Wanted, object], Expected]:
    """``order``, and somebody who asks to stop right after."""

    def ordered(wanted: Wanted, hands: object) -> Expected:
        expected = order(wanted, hands)
        lane.stop.set("enough", at_once=at_once)
        return expected

    return ordered


def test_one_that_is_lost_in_mid_session_is_switched_off_and_on_as_often_as_a_run_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(tmp_path, Board([facts("b1")]), monkeypatch)
    lane.boot(quiet(lane))
    monkeypatch.setattr(boots, "boottime_s", lambda: 1000.0)
    lane.talk.batch_ends_s, lane.talk.leased_until_s = 900.0, 1200.0
    gone = Unreachable("no answer")
    assert lane.boots.rescue_in_s(gone) is None  # nothing switches it
    cycled: list[str] = []
    monkeypatch.setattr(boots.power, "can_cycle", lambda _: True)
    monkeypatch.setattr(boots.power, "cycle", lambda target: cycled.append(target.name))
    for _ in range(2):
        assert lane.boots.rescue_in_s(gone) == 0
        lane.boots.rescue(gone)
    assert lane.boots.rescue_in_s(gone) is None
    assert cycled == ["nuc", "nuc"]
    assert lane.talk.running == Running()  # what runs now is not known
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
    monkeypatch.setattr(boots, "boottime_s", lambda: 1000.0)
    monkeypatch.setattr(boots.power, "can_cycle", lambda _: True)
    lane.talk.batch_ends_s, lane.talk.leased_until_s = batch_ends_s, leased_until_s
    assert lane.boots.rescue_in_s(error) == in_s


def test_a_power_command_that_fails_is_not_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise EnvironmentFault("power: cycle: no outlet")

    lane = Lane(tmp_path, Board([]), monkeypatch)
    monkeypatch.setattr(boots.power, "cycle", fails)
    with pytest.raises(Unreachable, match="no answer"):
        lane.boots.rescue(Unreachable("no answer"))
    assert lane.events == [("power-failed", {"message": "power: cycle: no outlet"})]


@pytest.mark.parametrize("error", [ConnectionLost("no answer about kernels: Traceback"), Corrupt("image was damaged")])
def test_an_upload_that_broke_is_made_again_and_costs_a_session_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lane = Lane(tmp_path, Board([error, facts("b1")]), monkeypatch)
    lane.boot(quiet(lane))
    assert [kind for kind, _ in lane.events] == ["boot-failed", "booted"]
    lane = Lane(tmp_path, Board([error, error, error]), monkeypatch)
    lane.boot(quiet(lane))
    assert len(lane.ledger.given_up) == 2
    assert lane.boots.left is None  # it was never sent away
    lane.boots.back()
    assert lane.board.booted == ["next quiet"] * 3


def test_who_resumes_knows_whether_it_was_sent_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before may have been killed after the last run: nothing is left to measure, but something to do."""
    lane = Lane(tmp_path, Board([facts("b1"), facts("b2", "ro")]), monkeypatch)
    assert not lane.boots.may_be_away  # it was never met
    lane.execution.write_lane("nuc", {"boot": None})
    assert lane.boots.may_be_away
    lane.boot(quiet(lane))
    lane.execution.write_lane("nuc", {"boot": lane.talk.running.to_json(), "cells": 3})
    assert lane.boots.may_be_away
    with lane.boots.session() as session:
        lane.boots.back(session)
    assert not lane.boots.may_be_away
    assert lane.execution.lane("nuc")["cells"] == 3


def test_each_session_is_a_boot_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(tmp_path, Board([]), monkeypatch)
    seen = []
    while (session := next_session(lane.execution, "nuc", lane.ledger, ())) is not None:
        seen.append((session.index, session.booted))
        assert len(session.runs) == 2
        lane.ledger.finished |= {f"{cell.id}-r{repeat}" for cell, repeat in session.runs}
    assert len(set(seen)) == len(seen) == 8
    first, second = [booted for index, booted in seen if index == 1], [booted for index, booted in seen if index == 2]
    assert second == first[::-1]


@pytest.mark.parametrize(
    "found", [None, {}, {"kernel": 1}, {"kernel": "a", "boot": "b", "session": "1", "boot_id": "x"}]
)
def test_what_is_not_known_is_not_believed(found: object) -> None:
    assert Running.from_json(found) == Running()


@pytest.mark.parametrize(("left", "visits"), [(Booted("next", "quiet"), 1), (Booted(), 0), (None, 1)])
def test_a_target_that_was_left_away_is_visited_though_nothing_is_left_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Booted | None, visits: int
) -> None:
    """Its controller was killed between the last run and the way back."""
    execution = carried_out(tmp_path)
    execution.write_lane("nuc", {"boot": Running(left, 1, "b1").to_json()})
    names = execution.run_names["nuc"]
    monkeypatch.setattr(Execution, "finished", lambda *_: set(names))
    events = EventLog(execution.path / "events.jsonl")
    lane = lanes.Lane(execution, execution.inventory().targets["nuc"], Machines(execution), events, Stop())
    visited: list[int] = []
    monkeypatch.setattr(lane, "_until_done", lambda: visited.append(1))
    lane._with_lock()
    events.close()
    assert len(visited) == visits


def test_a_campaign_without_boots_leaves_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board([])
    board.now = facts("b1", "ro isolbench.boot=installed/quiet")  # somebody's
    lane = Lane(tmp_path, board, monkeypatch, axes={"mode": ["shared"]})
    with lane.boots.session() as session:
        assert lane.boots.lease_s(None) is None
        lane.boots.back(session)
    assert (board.booted, lane.boots.left) == ([], None)


def test_a_target_that_may_be_measuring_is_waited_for_until_its_power_may_be_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = carried_out(tmp_path, retry={"infrastructure": 1})
    events = EventLog(execution.path / "events.jsonl")
    lane = lanes.Lane(execution, execution.inventory().targets["nuc"], Machines(execution), events, Stop())
    rest = [30.0, 20.0, 0.0, None]
    done: list[object] = []

    class Boots:
        def session(self, _: object) -> Any:
            raise Unreachable("no route")

        def rescue_in_s(self, _: object) -> float | None:
            done.append(rest[0])
            return rest.pop(0)

        def rescue(self, _: object) -> None:
            done.append("switched")

    monkeypatch.setattr(lane, "_boots", Boots())
    monkeypatch.setattr(lane, "_met", True)
    monkeypatch.setattr(lanes, "AWAY_S", 0.0)
    monkeypatch.setattr(lanes, "BACK_OFF_S", (0.0,))
    with pytest.raises(Unreachable):
        lane._until_done()
    events.close()
    assert done == [30.0, 20.0, 0.0, "switched", None]
