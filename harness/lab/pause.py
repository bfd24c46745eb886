# SPDX-License-Identifier: Apache-2.0
"""Waiting that somebody may put an end to: Ctrl-C in the middle of ``lab up``, ``lab down`` beside it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InfrastructureFault

#: Waits for so many seconds, or until somebody asks for an end: then what it returns is true.
Pause = Callable[[float], object]
#: How often one who waits looks up, in seconds.
POLL_S = 0.2


class Stopped(InfrastructureFault):
    """Somebody asked for an end before a board was up, or an image built."""


def wait(pause: Pause, what: str, seconds: float = POLL_S) -> None:
    """Wait; raises :class:`Stopped` of ``what`` if an end is asked for."""
    if pause(seconds):
        raise Stopped(f"{what}: given up, as was asked")
