# SPDX-License-Identifier: Apache-2.0
"""What the main thread does with SIGINT and SIGTERM while others work: the first asks for an end, the second is one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .errors import Interrupted


class Signals:
    """``first`` is the number of the first signal. The second raises Interrupted, with ``advice``, at once."""

    def __init__(self, advice: str) -> None:
        self.first: int | None = None
        self._advice = advice

    @contextmanager
    def caught(self, ask: Callable[[], None]) -> Iterator[None]:
        """Call from the main thread. ``ask`` is called at the first signal, and must not block."""

        def handle(signum: int, _frame: FrameType | None) -> None:
            if self.first is not None:
                error = Interrupted(signum)
                error.advice = self._advice
                raise error
            self.first = signum
            ask()

        before: dict[signal.Signals, Any] = {}
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, handle)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
