# SPDX-License-Identifier: Apache-2.0
"""What a target cannot do is unsupported, with the reason: asked here before a run, never found out by a fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..agent import modes
from ..errors import TargetUnfit
from .cells import Cell
from .place import Placement, place

#: The answer for a target that nobody has talked to yet.
UNKNOWN = "unknown until contact"


def admit(cell: Cell, facts: Mapping[str, Any] | None, placement: Placement | None = None) -> str | None:
    """None if ``cell`` can run on the machine of ``facts``, else why not.

    Without ``placement`` the one that :func:`harness.plan.place.place` gives without an inventory is taken.
    """
    if facts is None:
        return UNKNOWN
    if placement is None:
        try:
            placement = place(facts)
        except TargetUnfit as error:
            return str(error)
    mode = modes.from_spec(cell.mode)
    reasons = list(mode.needs(facts, placement.measured, placement.housekeeping))
    if cell.load.kind != "idle" and not placement.housekeeping:
        reasons.append(f"load {cell.load.name} has no CPU to run on but the measured one: use idle, or add a CPU")
    return "; ".join(reasons) or None
