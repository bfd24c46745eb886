# SPDX-License-Identifier: Apache-2.0
"""What a target cannot do is unsupported, with the reason: asked here before a run, never found out by a fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..agent import loads, modes
from ..errors import TargetUnfit
from .cells import Cell
from .place import Placement, place
from .seats import Seats, seat

#: The answer for a target that nobody has talked to yet.
UNKNOWN = "unknown until contact"


def admit(cell: Cell, facts: Mapping[str, Any] | None, placement: Placement | None = None) -> str | None:
    """None if ``cell`` can run on the machine of ``facts``, else why not.

    Without ``placement`` the one that :func:`harness.plan.place.place` gives without an inventory is taken.
    """
    mode = modes.from_spec(cell.mode)
    if cell.cpus == "all" and not mode.pinned:
        return (
            f"cpus: all measures each CPU by a task of its own, and mode {cell.mode.name} is not pinned: "
            "exclude the mode, or measure one (cpus: one)"
        )
    if cell.attribution != "off" and not cell.attributes:
        return (
            "attribution is asked for, and this bench's probe finds no causes: exclude the bench, or measure without "
            "(attribution: off)"
        )
    unfit = mode.suits(helper=cell.helper is not None, polls=cell.polls)
    if unfit:
        return "; ".join(unfit)
    if facts is None:
        return UNKNOWN
    if placement is None:
        try:
            placement = place(facts, cpus=cell.cpus)
        except TargetUnfit as error:
            return str(error)
    if placement.lacks is not None:
        return placement.lacks
    reasons = list(mode.needs(facts, placement.measured, placement.housekeeping))
    seats = seats_of(cell, facts, placement)
    reasons += loads.needs(cell.load, facts, seats.load)
    if seats.lacks is not None:
        reasons.append(seats.lacks)
    return "; ".join(reasons) or None


def seats_of(cell: Cell, facts: Mapping[str, Any], placement: Placement) -> Seats:
    """Who sits where in the runs of ``cell``."""
    return seat(placement, facts, control=cell.control, helper=cell.helper is not None, load=cell.load.kind != "idle")
