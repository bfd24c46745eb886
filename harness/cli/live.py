# SPDX-License-Identifier: Apache-2.0
"""What is drawn, again and again, on stderr where that is a terminal; in a pipe lines are said instead."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.live import Live

from .consoles import Console
from .render import unheard

#: A terminal is redrawn this often: a machine that measures itself should not be busy with drawing.
_REFRESH_HZ = 2


def stderr_console() -> Console:
    """For what is said beside the results; a pipe's lines are as long as they are."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


@contextlib.contextmanager
def drawn(console: Console, drawing: Callable[[], RenderableType], *, transient: bool = False) -> Iterator[None]:
    """Meanwhile ``drawing`` is on ``console``, asked for anew each time; if ``transient``, it is not left there."""
    live = Live(console=console, get_renderable=drawing, refresh_per_second=_REFRESH_HZ, transient=transient)
    live.start()
    try:
        yield
    finally:
        with unheard():
            live.stop()
