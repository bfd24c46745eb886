# SPDX-License-Identifier: Apache-2.0
"""All lanes of an execution, side by side, until they are done or a signal or the clock says stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..config.inventory import Inventory
from ..errors import UserError
from ..plan import next_time
from .budgets import over_budget
from .events import EventLog, Listener
from .execution import Execution, Stop, target_of
from .lane import Lane, lane_outcome
from .outcome import LaneOutcome, Outcome

#: Lanes at once: each is a thread that mostly sleeps, and a held connection.
MAX_LANES = 100
_LOOK_S = 0.2


def carry_out(
    execution: Execution,
    inventory: Inventory,
    *,
    lanes: Sequence[str] = (),
    listen: Callable[[Execution], Sequence[Listener]] = lambda _: (),
) -> Outcome:
    """Carry out what is left of ``execution`` on ``lanes`` (all by default). Call from the main thread.

    SIGINT and SIGTERM put every target back before this returns; the outcome then carries the signal's number. A
    second signal ends the waiting: agents restore their machines by themselves when they find nobody there.
    """
    names = _chosen(execution, lanes)
    targets = [target_of(inventory, name) for name in names]
    stop, signals = Stop(), _Signals()
    events = EventLog(execution.path / "events.jsonl", *listen(execution))
    try:
        with signals.caught(stop), ThreadPoolExecutor(min(len(targets), MAX_LANES), "lane") as pool:
            events.emit("execution-started", lanes=names, runs=execution.plan.runs)
            futures = [pool.submit(Lane(execution, target, events, stop).carry_out) for target in targets]
            _wait(futures, stop, execution.plan.campaign.until)
            outcomes = [future.result() for future in futures]
        rest = [lane_outcome(execution, name) for name in execution.plan.targets if name not in names]
        outcome = Outcome(
            tuple(outcomes) if lanes else (*outcomes, *rest),
            execution.plan.campaign.quorum_percent / 100,
            over_budget=() if signals.first else over_budget(execution),
            signum=signals.first,
        )
        events.emit("execution-finished", exit_code=outcome.exit_code, sentence=outcome.sentence)
        return outcome
    finally:
        events.close()


def summarise(execution: Execution) -> list[LaneOutcome]:
    """What lies in the folder now, by lane; nobody is asked."""
    return [lane_outcome(execution, name) for name in execution.plan.targets]


def _chosen(execution: Execution, lanes: Sequence[str]) -> list[str]:
    for name in lanes:
        if name not in execution.plan.targets:
            known = ", ".join(execution.plan.targets)
            raise UserError(f"{name}: no lane of {execution.campaign}/{execution.id} (its lanes: {known})")
    return list(dict.fromkeys(lanes)) or list(execution.plan.targets)


def _wait(futures: Sequence[Future[LaneOutcome]], stop: Stop, until: str | None) -> None:
    """Until all are done. Signals are handled in this thread, so it never blocks for long."""
    end_s = None if until is None else next_time(until, time.time())
    while not all(future.done() for future in futures):
        if end_s is not None and time.time() >= end_s:
            stop.set(f"until {until}", at_once=False)
        time.sleep(_LOOK_S)


class _Signals:
    """The first SIGINT or SIGTERM asks to stop; the second one does what it would have done without us."""

    def __init__(self) -> None:
        self.first: int | None = None

    @contextmanager
    def caught(self, stop: Stop) -> Iterator[None]:
        before: dict[int, Any] = {}

        def handle(signum: int, _frame: FrameType | None) -> None:
            self.first = signum
            stop.set("interrupted", at_once=True)
            for each, handler in before.items():
                signal.signal(each, handler)

        assert threading.current_thread() is threading.main_thread()
        for each in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[each] = signal.signal(each, handle)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
