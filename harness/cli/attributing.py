# SPDX-License-Identifier: Apache-2.0
"""What attribution the targets of a plan can have, as far as their facts are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..plan import Plan


def level(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """``level``, ``reason``, ``advice``, ``sure``; None of a target that nobody has talked to."""
    from ..advice.attribution import forecast

    return None if facts is None else forecast(facts).to_json()


def lines(plan: Plan, facts: Mapping[str, Any] | None) -> tuple[str, ...]:
    """``attribution: each gap by the kernel's tracepoints``; a note where it is less, with what would raise it."""
    from ..advice.attribution import TRACEPOINTS, forecast

    if facts is None or all(cell.attribution == "off" for cell in plan.cells):
        return ()
    found = forecast(facts)
    of = ", of what runs there now" if plan.boots else ""
    if found.level == TRACEPOINTS and found.sure:
        return (f"attribution: {found}{of}",)
    advice = (f"advice: {found.advice}",) if found.advice else ()
    return (f"note: attribution: {found}{of}; its runs go on, and say so", *advice)
