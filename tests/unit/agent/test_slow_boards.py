# SPDX-License-Identifier: Apache-2.0
"""A board takes a hundred times as long as this machine to read and compile a module, and to ask systemd anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.agent import detach
from harness.agent.paths import Paths

ROOT = Path(__file__).parents[3]


def test_connecting_loads_no_more_of_the_agent_than_it_takes() -> None:
    script = "import sys, agent.__main__; print(*sorted(each for each in sys.modules if each.startswith('agent.')))"
    loaded = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=ROOT / "harness", capture_output=True, text=True, check=True
    )
    modules = {name.removeprefix("agent.") for name in loaded.stdout.split()}
    assert modules == {"__main__", "attach", "detach", "frames", "paths", "processes", "server", "system"}


class Clock:
    """Time that passes as it is slept, and as systemd is asked. ``told`` is what became of a unit, answer by answer."""

    def __init__(self, told: list[str], asking_s: float) -> None:
        self.now_s = 0.0
        self.asked_s: list[float] = []
        self._told = told
        self._asking_s = asking_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def systemctl(self, *words: str) -> str:
        assert words[0] == "show"
        self.asked_s.append(self.now_s)
        self.now_s += self._asking_s
        return self._told.pop(0) if len(self._told) > 1 else self._told[0]


QUEUED = "ActiveState=inactive\nJob=7\n"
BEGUN = "ActiveState=active\nJob=0\n"
GONE = "ActiveState=inactive\nJob=\n"


@pytest.mark.parametrize(
    ("told", "asking_s", "ends_s"),
    [
        ([GONE], 0.01, detach._ASK_S),
        ([QUEUED], 0.01, detach.QUEUED_S),  # something before it hangs
        ([QUEUED] * 20 + [BEGUN], 0.01, detach.START_S),
        ([BEGUN], 1.0, detach.START_S),
    ],
)
def test_how_long_a_daemon_is_waited_for_that_never_answers(
    told: list[str], asking_s: float, ends_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(told, asking_s)
    monkeypatch.setattr(detach, "time", clock)
    monkeypatch.setattr(detach, "_systemctl", clock.systemctl)
    paths = Paths("/absent", "/absent", "/absent", f"isolbench.nobody-{os.getpid()}")
    assert not detach._answers(paths, lambda: detach._state_of("unit"))
    assert ends_s <= clock.now_s <= ends_s + 1.5
    # Asking leaves the machine to the daemon that is starting.
    assert len(clock.asked_s) * asking_s <= clock.now_s / 5 + asking_s
