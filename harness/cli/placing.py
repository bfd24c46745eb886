# SPDX-License-Identifier: Apache-2.0
"""Where on each target a plan would measure, as far as its facts are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config.inventory import Inventory
    from ..plan import Plan

#: What `plan` calls the seats, in order, and where :func:`harness.plan.placement_json` has them.
_SEATS = {"measured": "measured", "housekeeping": "housekeeping", "control": "control", "helpers": "helper"}


def placements(
    plan: Plan, inventory: Inventory, facts: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, dict[str, Any] | None]:
    """By target, as ``lanes/<target>.json`` would have it; None where nothing is known, or nothing can be measured."""
    from ..errors import TargetUnfit
    from ..plan import admit, place, placement_json, seats_of

    found: dict[str, dict[str, Any] | None] = {}
    for name in plan.targets:
        known = facts[name]
        found[name] = None
        if known is None:
            continue
        try:
            placement = place(known, inventory.targets[name], plan.campaign.cpus)
        except TargetUnfit:
            continue  # its cells say why
        able = [cell for cell in plan.cells_of(name) if admit(cell, known, placement) is None]
        if able:
            found[name] = placement_json(placement, (seats_of(cell, known, placement) for cell in able))
    return found


def lines(placement: Mapping[str, Any] | None) -> tuple[str, ...]:
    """``measured CPU 3, housekeeping CPU 0-2, control CPU 2``, then a line for each note."""
    from ..config.units import format_cpu_list

    if placement is None:
        return ()
    seats = []
    for key, word in _SEATS.items():
        cpus = placement[key]
        cpus = [cpus] if isinstance(cpus, int) else cpus
        if cpus:
            seats.append(f"{word} CPU {format_cpu_list(sorted(set(cpus)))}")
    return (", ".join(seats), *(f"note: {note}" for note in placement["notes"]))
