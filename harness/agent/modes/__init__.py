# SPDX-License-Identifier: Apache-2.0
"""The modes: to add a named one, write its file and name it in :data:`MODES`; others compose."""

from __future__ import annotations

import re

from ..spec import ModeSpec, SpecError
from . import deadline, fifo, nohz_full, partition, pinned, shared
from . import sched as policies
from .base import Mode, check

MODES: tuple[Mode, ...] = (shared.MODE, pinned.MODE, fifo.MODE, nohz_full.MODE, partition.MODE, deadline.MODE)

#: What a campaign may say beside their names, for a mode that has a parameter.
SHORT = ("fifo:N", "deadline:RUNTIME/PERIOD")

__all__ = ["MODES", "SHORT", "Mode", "from_name", "from_spec", "resolve"]


def resolve(where: str = "shared", sched: str = "other", hold: str = "none", name: str | None = None) -> Mode:
    """The mode of three parts, under its shipped name where it has one. :class:`SpecError` for a part there is not."""
    check(where, sched, hold)
    sched = policies.canonical(sched)
    for mode in MODES:
        if mode.key == (where, sched, hold):
            return mode
    composed = "-".join([where, policies.word(sched)] + ([hold] if hold != "none" else []))
    return Mode(name or composed, where, sched, hold)


def from_name(name: str) -> Mode:
    """A mode by what a campaign says: a shipped name, ``fifo:50``, or ``deadline:200us/1ms``."""
    for mode in MODES:
        if mode.name == name:
            return mode
    if re.fullmatch(r"fifo:[0-9]+", name):
        return resolve("pinned", name, name=policies.word(name))
    if name.startswith("deadline:"):
        return resolve("partition", name, name=policies.word(policies.canonical(name)))
    raise SpecError(f"mode: {name!r} is none of {', '.join(mode.name for mode in MODES)}, {', '.join(SHORT)}")


def from_spec(spec: ModeSpec) -> Mode:
    """What came over the wire; its name is kept."""
    check(spec.where, spec.sched, spec.hold)
    return Mode(spec.name, spec.where, spec.sched, spec.hold)
