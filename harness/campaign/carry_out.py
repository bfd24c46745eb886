# SPDX-License-Identifier: Apache-2.0
"""All lanes of an execution, side by side, until they are done or a signal or the clock says stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ..config.inventory import Inventory
from ..errors import UserError
from ..plan import next_time
from ..signals import Signals
from .budgets import judged
from .events import EventLog, Listener
from .execution import Execution, Stop, target_of
from .lane import Lane, lane_outcome
from .machines import Machines
from .outcome import LaneOutcome, Outcome

#: Lanes at once: each is a thread that mostly sleeps, and a held connection.
MAX_LANES = 100
_LOOK_S = 0.2
_AT_ONCE = "targets may go on with their batch: resume fetches it, restore --cancel ends it"
_BOOTED = "; they may run what was booted for it: resume boots them back at its end"


def carry_out(
    execution: Execution,
    inventory: Inventory,
    *,
    lanes: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
    stop: Stop | None = None,
) -> Outcome:
    """Carry out what is left of ``execution`` on ``lanes`` (all by default). Call from the main thread.

    ``stop`` lets a listener end it: after the runs that are under way, or at once.

    The first SIGINT or SIGTERM puts every target back before this returns, and boots it back where that was booted
    which it does not boot by itself; the outcome then carries the signal's
    number. The second raises :class:`Interrupted` at once, whatever the lanes are doing.
    """
    names = _chosen(execution, lanes)
    targets = [target_of(inventory, name) for name in names]
    stop = Stop() if stop is None else stop
    signals = Signals(_AT_ONCE + (_BOOTED if execution.plan.boots else ""))
    events = EventLog(execution.path / "events.jsonl", *listeners)
    with signals.caught(lambda: stop.set("interrupted", at_once=True)):
        events.emit("execution-started", lanes=names, runs=execution.plan.runs)
        machines = Machines(execution)
        every = [Lane(execution, target, machines, events, stop) for target in targets]
        outcomes = _side_by_side(every, stop, _end_s(execution))
    outcome = Outcome(
        tuple(outcomes),
        execution.plan.campaign.quorum_percent / 100,
        budgets=() if signals.first else judged(execution),
        signum=signals.first,
    )
    events.emit("execution-finished", exit_code=outcome.exit_code, sentence=outcome.sentence)
    events.close()
    return outcome


def summarise(execution: Execution) -> list[LaneOutcome]:
    """What lies in the folder now, by lane; nobody is asked."""
    return [lane_outcome(execution, name) for name in execution.plan.targets]


def _chosen(execution: Execution, lanes: Sequence[str]) -> list[str]:
    for name in lanes:
        if name not in execution.plan.targets:
            known = ", ".join(execution.plan.targets)
            raise UserError(f"{name}: no lane of {execution.campaign}/{execution.id} (its lanes: {known})")
    return list(dict.fromkeys(lanes)) or list(execution.plan.targets)


def _end_s(execution: Execution) -> float | None:
    until = execution.plan.campaign.until
    return None if until is None else next_time(until, time.time())


def _side_by_side(lanes: Sequence[Lane], stop: Stop, end_s: float | None) -> list[LaneOutcome]:
    """The outcomes, in the order of ``lanes``.

    The threads are daemons: a second signal ends the process without waiting for any of them. This one, which handles
    the signals, never blocks for long.
    """
    waiting: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    outcomes: dict[str, LaneOutcome] = {}

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                lane = waiting.get_nowait()
                outcomes[lane.target.name] = lane.carry_out()

    for lane in lanes:
        waiting.put(lane)
    threads = [
        threading.Thread(target=work, name=f"lane-{number}", daemon=True)
        for number in range(min(len(lanes), MAX_LANES))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            if end_s is not None and time.time() >= end_s:
                stop.set(f"until {time.strftime('%H:%M:%S', time.localtime(end_s))}", at_once=False)
            thread.join(_LOOK_S)
    return [outcomes[lane.target.name] for lane in lanes]
