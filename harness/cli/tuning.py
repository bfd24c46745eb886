# SPDX-License-Identifier: Apache-2.0
"""Which of the knobs that a plan asks for a target lacks, as far as its facts are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..plan import Plan


def lacks(plan: Plan, facts: Mapping[str, Any] | None) -> dict[str, str]:
    """Knob → why it is not available; without those that have nothing to set there, whose wish is met."""
    knobs = (facts or {}).get("knobs")
    if not isinstance(knobs, Mapping):
        return {}
    shown = {name: knobs[name] for name in plan.campaign.tune if isinstance(knobs.get(name), Mapping)}
    return {
        name: str(knob.get("reason"))
        for name, knob in shown.items()
        if not knob.get("available") and knob.get("needed", True)
    }


def lines(plan: Plan, facts: Mapping[str, Any] | None) -> tuple[str, ...]:
    """``tune: governor, thp``, then a line for each that is lacking."""
    if not plan.campaign.tune:
        return ()
    missing = (f"note: tune {name}: {reason}; its runs will be suspect" for name, reason in lacks(plan, facts).items())
    return (f"tune: {', '.join(plan.campaign.tune)}", *missing)
