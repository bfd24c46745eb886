# SPDX-License-Identifier: Apache-2.0
"""Jobs side by side: none hinders another, a signal ends them all in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from harness.errors import Bug, Interrupted, IsolbenchError, UserError
from harness.lab.pause import Pause, Stopped, wait
from harness.lab.several import side_by_side


def carried_out(jobs: dict[str, Callable[[Pause], str]], at_once: int = 8) -> dict[str, str | IsolbenchError]:
    outcomes: dict[str, str | IsolbenchError] = {}
    side_by_side(jobs, outcomes.__setitem__, at_once=at_once)
    return outcomes


def test_they_go_on_at_the_same_time_and_one_that_fails_hinders_none() -> None:
    together = threading.Barrier(2)

    def meets(_: Pause) -> str:
        together.wait(10)
        return "met"

    def fails(_: Pause) -> str:
        raise UserError("no such kernel")

    def breaks(_: Pause) -> str:
        raise ZeroDivisionError("oh")

    outcomes = carried_out({"a": meets, "b": fails, "c": breaks, "d": meets})
    assert (outcomes["a"], outcomes["d"]) == ("met", "met")
    assert str(outcomes["b"]) == "no such kernel"
    assert isinstance(outcomes["c"], Bug)
    assert str(outcomes["c"]) == "c: ZeroDivisionError: oh"


def test_no_more_than_asked_for_at_once() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def counts(pause: Pause) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        pause(0.01)
        with lock:
            now[0] -= 1
        return "done"

    assert len(carried_out({str(each): counts for each in range(6)}, at_once=2)) == 6
    assert most[0] <= 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_those_that_run_and_those_that_wait_for_their_turn(signum: signal.Signals) -> None:
    outcomes: dict[str, str | IsolbenchError] = {}
    cleaned: list[str] = []

    def waits(pause: Pause) -> str:
        os.kill(os.getpid(), signum)
        try:
            while True:
                wait(pause, "board a", 60)
        finally:
            cleaned.append("a")

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as caught:
        side_by_side({"a": waits, "b": waits}, outcomes.__setitem__, at_once=1)
    assert caught.value.exit_code == 128 + signum
    assert set(outcomes) == {"a", "b"}
    assert all(isinstance(outcome, Stopped) for outcome in outcomes.values())
    assert cleaned == ["a"]
    assert signal.getsignal(signum) is before
