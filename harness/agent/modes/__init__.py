# SPDX-License-Identifier: Apache-2.0
"""The modes: to add a named one, write its file and name it in :data:`MODES`; others compose."""

from __future__ import annotations

import re

from ..spec import ModeSpec, SpecError
from . import fifo, pinned, shared
from .base import Mode, check

MODES: tuple[Mode, ...] = (shared.MODE, pinned.MODE, fifo.MODE)

__all__ = ["MODES", "Mode", "from_name", "from_spec", "resolve"]


def resolve(where: str = "shared", sched: str = "other", hold: str = "none", name: str | None = None) -> Mode:
    """The mode of three parts, under its shipped name where it has one. :class:`SpecError` for a part there is not."""
    if sched == "fifo":
        sched = "fifo:1"
    check(where, sched, hold)
    for mode in MODES:
        if mode.key == (where, sched, hold):
            return mode
    composed = "-".join([where, sched.replace(":", "")] + ([hold] if hold != "none" else []))
    return Mode(name or composed, where, sched, hold)


def from_name(name: str) -> Mode:
    """A mode by what a campaign says: a shipped name, or ``fifo:50``."""
    for mode in MODES:
        if mode.name == name:
            return mode
    if re.fullmatch(r"fifo:[0-9]+", name):
        return resolve("pinned", name, name=name.replace(":", ""))
    raise SpecError(f"mode: {name!r} is none of {', '.join(mode.name for mode in MODES)}, fifo:N")


def from_spec(spec: ModeSpec) -> Mode:
    """What came over the wire; its name is kept."""
    check(spec.where, spec.sched, spec.hold)
    return Mode(spec.name, spec.where, spec.sched, spec.hold)
