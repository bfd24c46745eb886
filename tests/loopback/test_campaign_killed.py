# SPDX-License-Identifier: Apache-2.0
"""Everything that can be killed is, with SIGKILL and at random moments; then the execution is resumed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.events import Event, Listener
from harness.campaign.execution import Execution

from .campaign_kit import (
    ROOT,
    Lab,
    agent_pid,
    command_of,
    complete,
    measuring,
    once,
    spooled,
    tidy,
    wait_for,
)
from .conftest import Server
from .proxy import Proxy

SEEDS = range(3)
#: As root with a mode that changes what has to be put back.
AXES = {"mode": ["fifo" if ROOT else "pinned", "shared"], "load": ["idle"]}
RUNS = 6


def worker_of(supervisor: int) -> int:
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])


def supervisor() -> list[int]:
    found = agent_pid()
    return [] if found is None else [found]


def worker() -> list[int]:
    return [worker_of(pid) for pid in supervisor()]


def both() -> list[int]:
    return [*supervisor(), *worker()]


def probe() -> list[int]:
    return [pid for pid in measuring() if "/gap " in command_of(pid)]


def kill_at_random(seed: int, victims: Callable[[], list[int]]) -> Listener:
    """SIGKILL, up to 150 ms after the start of a run: somewhere in the run, or between it and the next."""
    chance = random.Random(seed)
    number, after_s = chance.randint(1, RUNS - 1), chance.uniform(0.0, 0.15)

    def kill() -> None:
        with contextlib.suppress(OSError, IndexError):
            for pid in victims():
                os.kill(pid, signal.SIGKILL)

    return once(lambda: threading.Timer(after_s, kill).start(), "run-started", number)


@pytest.fixture
def execution(lab: Lab, no_waiting: None) -> Execution:
    return lab.execution(axes=AXES, repeat=RUNS // 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("victims", [supervisor, worker, both, probe], ids=lambda each: each.__name__)
def test_on_the_target(seed: int, victims: Callable[[], list[int]], lab: Lab, execution: Execution) -> None:
    outcome = lab.carry_out(execution, kill_at_random(seed, victims))
    assert outcome.exit_code in (0, 3)  # 0: nothing was there at that moment, or it came too late
    tidy(execution)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert spooled() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_agent_with_a_retry_needs_no_resume(seed: int, lab: Lab, no_waiting: None) -> None:
    execution = lab.execution(axes=AXES, repeat=RUNS // 2, retry={"infrastructure": 2})
    assert lab.carry_out(execution, kill_at_random(seed, worker)).exit_code == 0
    complete(execution)
    for attempt in execution.path.glob("attempts/*/*/attempt.json"):
        assert '"fault": "infrastructure"' in attempt.read_text()


def test_a_killed_probe_is_a_failed_run_that_says_so(lab: Lab, no_waiting: None) -> None:
    execution = lab.execution(duration="5s", repeat=1)

    def kill(_: Event) -> None:
        for pid in wait_for(probe, "the probe measures"):
            os.kill(pid, signal.SIGKILL)

    outcome = lab.carry_out(execution, once(lambda: threading.Thread(target=kill, args=({},)).start(), "run-started"))
    assert outcome.exit_code == 3
    (attempt,) = execution.path.glob("attempts/local/*-a1/attempt.json")
    assert "SIGKILL" in attempt.read_text()
    assert outcome.sentence == "0 of 1 runs finished, below the quorum of 100%; resume continues"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_controller(seed: int, lab: Lab) -> None:
    """The agent measures on; who resumes takes what there is, and asks for no more than the rest."""
    chance = random.Random(seed)
    with lab.start("run", str(lab.campaign(axes=AXES, repeat=RUNS // 2))) as controller:
        number = chance.randint(0, RUNS)
        wait_for(lambda: len(lab.events("run-started" if number else "connected")) >= number, "it is under way")
        threading.Event().wait(chance.uniform(0.0, 0.15))
        controller.kill()
    execution = lab.newest()
    tidy(execution)
    said = lab.cli("resume", "short")
    assert said.code == 0, said.err
    complete(execution)
    started = [event["run"] for event in lab.events("run-started")]
    assert len(started) == len(set(started))  # of what it begins alone the agent tells nobody
    assert spooled() == []
    assert not list(execution.path.glob("attempts/*/*"))


def test_the_controller_between_keeping_and_acknowledging(
    lab: Lab, sshd: Server, proxy: Proxy, no_waiting: None
) -> None:
    """What was kept, and is still in the spool, is not kept twice, nor measured again; a failure neither."""
    lab.add(sshd, port=proxy.port)
    axes = {"mode": ["pinned"], "load": ["idle", {"lost": ["/no/such/program"]}]}
    execution = lab.execution(axes=axes, repeat=1, retry={"infrastructure": 0, "invalid": 0})
    # Gone before it could hear of a single run: all that is measured stays in the spool.
    lab.carry_out(execution, once(proxy.refuse, "batch-submitted"), once(proxy.cut, "batch-submitted"))
    wait_for(lambda: len([name for name in spooled() if not name.startswith("tmp-")]) == 2, "all is measured")
    spool = next(Path("/var/lib/isolbench" if ROOT else Path.home() / ".local/state/isolbench").glob("spool/*"))
    copy = spool.parent.parent / "copy"
    shutil.copytree(spool, copy)
    lab.enter("box", port=proxy.server_port)
    assert lab.carry_out(execution).exit_code == 3
    shutil.copytree(copy, spool)
    attempts = sorted(each.name for each in lab.newest().path.glob("attempts/*/*"))
    first = [name[-3:] for name in attempts]
    assert lab.carry_out(execution).exit_code == 3  # the program is still not there
    again = sorted(each.name for each in lab.newest().path.glob("attempts/*/*"))
    assert [name[-3:] for name in again] == [*first, f"-a{len(first) + 1}"]
    assert spooled() == []
