# SPDX-License-Identifier: Apache-2.0
"""Asking many targets the same thing, several at a time: a lab's boards answer in seconds each, a dead one in many."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ..config.inventory import Target

#: At once: each is a login and a thread that mostly sleeps; behind one jump host, more would meet its MaxStartups (10).
AT_ONCE = 8

T = TypeVar("T")


def visit(targets: Sequence[Target], ask: Callable[[Target], T]) -> Iterator[tuple[Target, T]]:
    """Each target with what ``ask`` found there, in the order of ``targets``, as soon as all before it have answered.

    What ``ask`` raises is raised here, in its turn; an exception that it returns is an answer. The threads are daemons:
    who stops waiting (Ctrl-C) is not held up.
    """
    waiting = deque(zip(targets, answers := [queue.SimpleQueue[Callable[[], T]]() for _ in targets], strict=True))

    def work() -> None:
        while True:
            try:
                target, answer = waiting.popleft()
            except IndexError:
                return
            answer.put(_asked(ask, target))

    for number in range(min(len(targets), AT_ONCE)):
        threading.Thread(target=work, name=f"visit-{number}", daemon=True).start()
    for target, answer in zip(targets, answers, strict=True):
        yield target, answer.get()()


def _asked(ask: Callable[[Target], T], target: Target) -> Callable[[], T]:
    """``ask(target)``, carried out: what is returned gives the answer, or raises."""
    try:
        found = ask(target)
    except BaseException as error:
        raised = error

        def fail() -> T:
            raise raised

        return fail
    return lambda: found
