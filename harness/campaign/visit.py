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

    What ``ask`` raises is raised here, in its turn. The threads are daemons: who stops waiting (Ctrl-C) is not held up.
    """
    waiting = deque(zip(targets, answers := [queue.SimpleQueue[T | BaseException]() for _ in targets], strict=True))

    def work() -> None:
        while True:
            try:
                target, answer = waiting.popleft()
            except IndexError:
                return
            try:
                answer.put(ask(target))
            except BaseException as error:
                answer.put(error)

    for number in range(min(len(targets), AT_ONCE)):
        threading.Thread(target=work, name=f"visit-{number}", daemon=True).start()
    for target, answer in zip(targets, answers, strict=True):
        found = answer.get()
        if isinstance(found, BaseException):
            raise found
        yield target, found
