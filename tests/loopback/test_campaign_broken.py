# SPDX-License-Identifier: Apache-2.0
"""Connections that are refused, cut, frozen and slow at every stage of a campaign: no run is lost, none is repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.campaign.events import Listener
from harness.campaign.execution import Execution
from harness.campaign.outcome import Outcome

from .campaign_kit import Lab, complete, hurry, once, spooled, tidy, wait_for
from .conftest import Server
from .proxy import Proxy

#: Bytes that have gone by when a stage is reached, in all of a first campaign: banner and key exchange are 2.5 kB each
#: way, the contact's script 6 kB up, the agent 190 kB, the probe 850 kB.
BYTES = {
    "before the banner": ("down", 0),
    "in the key exchange": ("down", 1300),
    "in the login": ("up", 2600),
    "at the first contact": ("up", 5500),
    "in the upload of the agent": ("up", 100_000),
    "in the upload of the probe": ("up", 260_000),
}
#: (event, how many of it), at which something happens to the connection.
EVENTS = {
    "after the hello": ("connected", 1),
    "before the batch": ("contacted", 1),
    "in the first run": ("batch-submitted", 1),
    "before a run's acknowledgement": ("run-stored", 1),
    "in the second run": ("run-started", 2),
    "after the batch": ("batch-finished", 1),
}
STAGES = [*BYTES, *EVENTS]


@pytest.fixture
def execution(lab: Lab, sshd: Server, proxy: Proxy, no_waiting: None) -> Execution:
    """Two runs, through the proxy; a connection that breaks is tried again once."""
    lab.add(sshd, port=proxy.port, connect_timeout="2s")
    return lab.execution(retry={"infrastructure": 1})


def strike(proxy: Proxy, stage: str, how: str) -> list[Listener]:
    """Do that to the first connection which reaches the stage."""
    if stage in BYTES:
        proxy.at(*BYTES[stage], how, times=1)
        return []
    act: dict[str, Callable[[], None]] = {
        "cut": proxy.cut,
        "reset": lambda: proxy.cut(reset=True),
        "freeze": proxy.freeze,
    }
    return [once(act[how], *EVENTS[stage])]


def one_line(outcome: Outcome) -> str:
    (lane,) = outcome.lanes
    assert lane.failure is not None
    assert "\n" not in lane.failure
    assert lane.fault == "infrastructure"
    return lane.failure


@pytest.mark.parametrize("stage", STAGES)
def test_cut_once_it_goes_on_by_itself(stage: str, lab: Lab, proxy: Proxy, execution: Execution) -> None:
    how = "reset" if STAGES.index(stage) % 2 else "cut"
    outcome = lab.carry_out(execution, *strike(proxy, stage, how))
    assert (outcome.exit_code, outcome.sentence.partition(": ")[0]) == (0, "2 of 2 runs finished")
    complete(execution)
    assert proxy.connections == (1 if stage == "after the batch" else 2)
    assert spooled() == []


@pytest.mark.parametrize("stage", STAGES)
def test_frozen_it_is_given_up_and_resumed(stage: str, lab: Lab, proxy: Proxy, execution: Execution) -> None:
    with hurry():
        outcome = lab.carry_out(execution, *strike(proxy, stage, "freeze"))
    if outcome.finished < outcome.planned:
        assert outcome.exit_code == 3
        assert "no answer within" in one_line(outcome) or "no SSH login within" in one_line(outcome)
    tidy(execution)
    proxy.cut()  # what is frozen for us is a live connection to the target
    proxy.thaw()
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert spooled() == []


def test_cut_again_and_again_each_time_a_run_further(lab: Lab, proxy: Proxy, sshd: Server, no_waiting: None) -> None:
    """Patience is for a connection that brings nothing: one that brings a run may break as often as it likes."""
    lab.add(sshd, port=proxy.port)
    execution = lab.execution(repeat=6, retry={"infrastructure": 1})
    cuts = [once(proxy.cut, "run-stored", number) for number in (1, 2, 3, 4, 5)]
    assert lab.carry_out(execution, *cuts).exit_code == 0
    complete(execution)
    assert proxy.connections == 6
    started = [event["run"] for event in lab.events("run-started")]
    assert len(started) == len(set(started))


def test_a_slow_line_is_only_slow(lab: Lab, proxy: Proxy, execution: Execution) -> None:
    proxy.delay_s = 0.03
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert proxy.connections == 1


def test_a_target_that_boots_is_waited_for(
    lab: Lab, proxy: Proxy, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Met once, it does not answer more often than retries are allowed, and then it does."""
    monkeypatch.setattr("harness.campaign.lane.AWAY_S", 60.0)
    tries = execution.plan.campaign.retry.infrastructure + 3
    again: list[Proxy] = []
    outcome = lab.carry_out(
        execution,
        once(proxy.refuse, "run-started"),
        once(proxy.cut, "run-started"),
        once(lambda: again.append(Proxy(proxy.server_port, proxy.port)), "connection-lost", tries),
    )
    again[0].close()
    assert outcome.exit_code == 0
    complete(execution)


def test_it_measures_on_while_nobody_listens(lab: Lab, proxy: Proxy, execution: Execution) -> None:
    """The connection stays away until all is measured: what was missed is fetched, not measured again."""
    first = lab.carry_out(execution, once(proxy.refuse, "run-started"), once(proxy.cut, "run-started"))
    assert first.exit_code == 3
    assert "Connection refused" in one_line(first)
    lab.enter("box", port=proxy.server_port)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert len(lab.events("batch-submitted")) == 1
    assert spooled() == []


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_broken_while_what_was_missed_is_fetched(
    how: str, lab: Lab, sshd: Server, start_proxy: Callable[[int], Proxy], no_waiting: None
) -> None:
    """Three runs wait in the spool, some 7 kB each; hello and list end at 10 kB. It breaks in the second."""
    first, second = start_proxy(sshd.port), start_proxy(sshd.port)
    lab.add(sshd, port=first.port)
    execution = lab.execution(repeat=3)
    lab.carry_out(execution, once(first.refuse, "run-started"), once(first.cut, "run-started"))
    wait_for(lambda: len([name for name in spooled() if not name.startswith("tmp-")]) == 3, "all is measured")
    lab.enter("box", port=second.port)
    second.at("down", 20_000, how, times=1)
    with hurry():
        outcome = lab.carry_out(execution)
    assert outcome.exit_code == 3
    assert 0 < outcome.finished < 3
    second.cut()
    second.thaw()
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert len(lab.events("batch-submitted")) == 1
    assert spooled() == []


def test_a_closed_port(lab: Lab, sshd: Server, no_waiting: None) -> None:
    lab.add(sshd, port=1)
    outcome = lab.carry_out(lab.execution())
    assert outcome.exit_code == 3
    assert one_line(outcome) == "127.0.0.1:1: Connection refused"
    assert not lab.events("connection-lost")  # a target that never answered has no connection to lose


def test_a_server_that_sheds_load_is_tried_again_and_that_is_told(
    lab: Lab, sshd: Server, proxy: Proxy, no_waiting: None
) -> None:
    lab.add(sshd, port=proxy.port)
    proxy.at("down", 0, "cut", times=1)
    execution = lab.execution()
    assert lab.carry_out(execution).exit_code == 0
    (event,) = lab.events("waiting")
    assert "hung up before the login" in event["message"]


class TestHostKeys:
    def test_a_wrong_one(self, lab: Lab, start_sshd: Callable[..., Server]) -> None:
        right, wrong = start_sshd(), start_sshd()
        lab.add(right, host_key=wrong.host_key)
        said = lab.cli("run", str(lab.campaign()))
        assert said.code == 3
        assert "box" in said.lines[0]
        assert "host key" in said.lines[0]
        done = "isolbench: 0 of 2 runs finished, below the quorum of 100%"
        assert said.lines[-1] == f"{done}; resume continues once that is corrected: box"
        assert "correct that first (box), then: isolbench resume short/" in lab.cli("status", "short").out
        lab.add(right)
        assert lab.cli("resume", "short").code == 0
        complete(lab.newest())

    def test_an_unknown_one(self, lab: Lab, sshd: Server) -> None:
        lab.add(sshd, host_key=None)
        said = lab.cli("run", str(lab.campaign()))
        assert said.code == 3
        assert "host key" in said.lines[0]
        assert "isolbench init" in said.err
        assert not list(lab.newest().path.glob("runs/*/*"))
