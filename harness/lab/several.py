# SPDX-License-Identifier: Apache-2.0
"""Several boards, or images, side by side: a thread each, until all are done or a signal says stop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..errors import Bug, Interrupted, IsolbenchError
from ..signals import Signals
from .pause import POLL_S, Pause, wait

#: Emulated machines that boot at once: more would only make each of them slower, past its deadline.
AT_ONCE = max(2, os.cpu_count() or 1)
_AT_ONCE_ADVICE = "what was left is removed by: isolbench lab down"

_T = TypeVar("_T")
#: Does the work; given a pause (see pause.py) that ends when somebody asks for an end.
Job = Callable[[Pause], _T]


def side_by_side(
    jobs: Mapping[str, Job[_T]], done: Callable[[str, _T | IsolbenchError], None], *, at_once: int = AT_ONCE
) -> None:
    """Carry out ``jobs`` by name, at most ``at_once`` at a time. Call from the main thread.

    ``done`` is called for each as it ends, one call at a time, with what it returned or raised; no job hinders another.
    The first SIGINT or SIGTERM ends them all in order, and is raised as Interrupted when that has happened.
    """
    stop, turns, telling = threading.Event(), threading.BoundedSemaphore(at_once), threading.Lock()
    signals = Signals(_AT_ONCE_ADVICE)

    def work(name: str, job: Job[_T]) -> None:
        outcome: _T | IsolbenchError
        try:
            while not turns.acquire(timeout=POLL_S):
                wait(stop.wait, name, 0)
            try:
                wait(stop.wait, name, 0)
                outcome = job(stop.wait)
            finally:
                turns.release()
        except IsolbenchError as error:
            outcome = error
        except Exception as error:
            outcome = Bug(f"{name}: {type(error).__name__}: {error}", advice="please report it")
        with telling:
            done(name, outcome)

    threads = [threading.Thread(target=work, args=each, name=each[0], daemon=True) for each in jobs.items()]
    with signals.caught(stop.set):
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(POLL_S)
    if signals.first is not None:
        raise Interrupted(signals.first)
