# SPDX-License-Identifier: Apache-2.0
"""From a campaign and an inventory to what will run, where, in which order, and how long it takes. Pure."""

from __future__ import annotations

from .admit import UNKNOWN, admit, seats_of
from .bootable import lacks, matching
from .cells import Booted, Cell
from .estimate import Estimate, LaneEstimate, estimate, format_seconds
from .order import Session, order, sessions_of
from .place import Placement, place
from .plan import Plan, build_plan
from .seats import Seats, placement_json
from .until import next_time

__all__ = [
    "UNKNOWN",
    "Booted",
    "Cell",
    "Estimate",
    "LaneEstimate",
    "Placement",
    "Plan",
    "Seats",
    "Session",
    "admit",
    "build_plan",
    "estimate",
    "format_seconds",
    "lacks",
    "matching",
    "next_time",
    "order",
    "place",
    "placement_json",
    "seats_of",
    "sessions_of",
]
