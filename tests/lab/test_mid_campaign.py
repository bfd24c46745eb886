# SPDX-License-Identifier: Apache-2.0
"""A board that goes down in the middle of a campaign: by itself, or because somebody takes it down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.events import Event
from harness.campaign.execution import Execution
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.lab import way
from harness.plan import build_plan

from .conftest import Board, Boxes

CAMPAIGN = {
    "campaign": "c", "targets": ["box"], "benches": ["gap"], "axes": {"mode": ["pinned"]}, "settle": "0s",
    "duration": "2s", "repeat": 3, "retry": {"infrastructure": 1, "invalid": 0},
}  # fmt: skip


#: Who does it has logged in before, which may take longer than a run does.
PANIC = "echo 1 >/proc/sys/kernel/panic; echo ready; read _; echo c >/proc/sysrq-trigger"


class Story:
    """The events of a carrying-out; ``at`` the start of a run (the n-th of the campaign) something is done."""

    def __init__(self, at: dict[int, Callable[[], object]]) -> None:
        self.at = at
        self.events: list[Event] = []

    def listen(self, event: Event) -> None:
        self.events.append(event)
        if event["kind"] == "run-started":
            repeat = int(str(event["run"]).rpartition("-r")[2])
            self.at.pop(repeat, lambda: None)()

    def count(self, kind: str, since: int = 1) -> int:
        """Of a kind, since the last start of the n-th run."""
        starts = [at for at, event in enumerate(self.events) if str(event.get("run")).endswith(f"-r{since}")]
        begun = [at for at in starts if self.events[at]["kind"] == "run-started"]
        return sum(event["kind"] == kind for event in self.events[max(begun, default=0) :])


@pytest.fixture
def panic(box: Board) -> Iterator[Callable[[], None]]:
    """Has the kernel panic at once, and boot a second later."""
    call = [*way.ssh_command("box", "root"), PANIC]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"ready\n"

        def now(line: IO[bytes] = waiting.stdin) -> None:
            line.write(b"\n")
            line.flush()

        yield now
        waiting.kill()


def attempt(execution: Execution, repeat: int) -> tuple[str, str, str]:
    """Reason, fault and log of the one attempt of that run."""
    (found,) = (execution.path / "attempts/box").glob(f"*-r{repeat}-a*")
    document = json.loads((found / "attempt.json").read_text())
    return str(document["reason"]), str(document["fault"]), (found / "log.txt").read_text()


@pytest.mark.timeout(900)  # three boots, which are slow where others emulate as well
def test_a_panic_costs_one_attempt_and_a_board_taken_down_ends_the_lane_until_it_is_up_again(
    panic: Callable[[], None], boxes: Boxes, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text("targets: {box: {virtual: {arch: x86_64}, boot_timeout: 10min}}")
    (tmp_path / "c.yaml").write_text(json.dumps(CAMPAIGN))
    inventory = load_inventory(tmp_path / "lab.yaml")
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), inventory)
    execution = executions.create(plan, tmp_path / "results", tmp_path / "lab.yaml")

    def down() -> None:
        subprocess.run([sys.executable, "-m", "harness", "lab", "down", "box"], check=True, capture_output=True)

    story = Story({2: panic, 3: down})
    outcome = carry_out(execution, inventory, listeners=[story.listen])
    reason, fault, log = attempt(execution, 2)
    assert reason.startswith("the target went down during the run: panic: ["), reason
    assert "Kernel panic - not syncing: sysrq triggered crash" in reason
    assert fault == "infrastructure"
    assert "Kernel panic - not syncing: sysrq triggered crash" in log
    assert attempt(execution, 3)[:2] == ("the target went down during the run: board box is not up", "infrastructure")
    # of a board that was taken down nothing is waited for: one try, which tells that it is not up
    assert story.count("connection-lost", since=3) == 1
    (lane,) = outcome.lanes
    assert (lane.finished, lane.failure, lane.lasting) == (2, "board box is not up", True)
    assert lane.advice == "bring it up: isolbench lab up box"
    assert outcome.exit_code == 3
    assert outcome.sentence.endswith("resume continues once that is corrected: box")

    boxes.up(anew=False)
    again = Story({})
    outcome = carry_out(execution, inventory, listeners=[again.listen])
    assert (outcome.finished, outcome.planned, again.count("run-stored")) == (3, 3, 1)
    assert outcome.lanes[0].failure is None
