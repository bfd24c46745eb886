# SPDX-License-Identifier: Apache-2.0
"""All causes that are known, by where they come from. Of two that cover one name the first counts; the last of a kind
covers all names. Pure."""

from __future__ import annotations

from ..table import Known
from . import calls, interrupts, own, tasks, timers, works

__all__ = ["KNOWN"]

KNOWN: tuple[Known, ...] = (
    *interrupts.KNOWN,
    *timers.KNOWN,
    *calls.KNOWN,
    *works.KNOWN,
    *tasks.KNOWN,
    *own.KNOWN,
)
