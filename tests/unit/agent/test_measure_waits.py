# SPDX-License-Identifier: Apache-2.0
"""How long the probes of a run are waited for: the measured ones to their deadline, a control alone not at length."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from harness.agent import measure
from harness.agent.control import GRACE_S
from harness.agent.measure import Measurement


@dataclass
class Clock:
    """Time passes by waiting alone."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, until: float, _fds: tuple[int, ...]) -> set[int]:
        self.now = min(until, self.now + 0.5)
        return set()


@dataclass(eq=False)
class Process:
    """One that ends at a time of the clock, or never."""

    clock: Clock
    ends: float
    output: int = 7
    timed_out: bool = False
    killed: list[float] = field(default_factory=list)

    def poll(self) -> int | None:
        return 0 if self.clock.now >= self.ends or self.killed else None

    def expire(self) -> None:
        self.timed_out = True
        self.killed.append(self.clock.now)


def waited(monkeypatch: pytest.MonkeyPatch, measured: float, control: float | None) -> tuple[Clock, Any, Any]:
    """The clock after a wait of at most 60 s for a probe and a control that take so long."""
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    probe = Process(clock, clock.now + measured)
    beside = None if control is None else Process(clock, clock.now + control, output=8)
    it = object.__new__(Measurement)
    state: Any = it
    state._probes, state._wait = [probe], clock.wait
    state._control = None if beside is None else SimpleNamespace(process=beside)
    it._await_probes(clock.now + 60.0)
    return clock, probe, beside


def test_whoever_ends_in_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, probe, control = waited(monkeypatch, 10.0, 10.0 + GRACE_S / 2)
    assert clock.now < 110.0 + GRACE_S
    assert (probe.timed_out, control.timed_out) == (False, False)


def test_a_control_alone_is_not_waited_for_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, probe, control = waited(monkeypatch, 10.0, 1e9)
    assert clock.now <= 110.5 + GRACE_S
    assert (probe.timed_out, control.timed_out) == (False, True)
    assert control.killed


@pytest.mark.parametrize("control", [None, 5.0, 1e9])
def test_the_measured_one_has_until_its_deadline(monkeypatch: pytest.MonkeyPatch, control: float | None) -> None:
    clock, probe, _ = waited(monkeypatch, 1e9, control)
    assert clock.now == 160.0
    assert probe.timed_out
    assert probe.killed == [160.0]
