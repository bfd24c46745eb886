# SPDX-License-Identifier: Apache-2.0
"""Did the world hold still during a run? Pure checks over what was read before, after and by the probe.

A run is never judged by its own result: a check may look at what was done to the run, not at how long its gaps are.
What a machine does not show (None) breaks no rule. To add a rule: an entry of the catalogue, a check that yields it,
a line of docs/validity.md, and a case that trips it in tests/unit/agent/test_validity.py.
"""

from __future__ import annotations

from typing import Sequence

from ..spec import Validity
from .attribution import attribution
from .catalogue import INVALID, RULES, SUSPECT, Rule
from .evidence import Check, Evidence, Finding
from .instrument import clock, counts, knobs
from .load import load
from .machine import heat, kernel_log, settings, unchanged
from .neighbours import meddlers, siblings, taken, tracers
from .task import faults, partition, placement, together

__all__ = [
    "CHECKS",
    "CONTROL_CHECKS",
    "INVALID",
    "RULES",
    "SUSPECT",
    "Check",
    "Evidence",
    "Finding",
    "Rule",
    "judge",
    "reason",
]

CHECKS: tuple[Check, ...] = (
    unchanged,
    settings,
    placement,
    partition,
    together,
    faults,
    heat,
    siblings,
    taken,
    meddlers,
    tracers,
    load,
    kernel_log,
    clock,
    counts,
    attribution,
    knobs,
)
#: What a control answers for: itself, and that the machine stayed what it was.
CONTROL_CHECKS: tuple[Check, ...] = (unchanged, placement, faults, clock, counts)


def judge(evidence: Evidence, checks: Sequence[Check] = CHECKS) -> Validity:
    """The verdict of ``checks``: the worst state, and every reason."""
    reasons = [reason(each.rule, each.text, each.advice) for check in checks for each in check(evidence)]
    states = {each["state"] for each in reasons}
    return Validity(INVALID if INVALID in states else SUSPECT if SUSPECT in states else "valid", reasons)


def reason(rule: str, text: str, advice: str | None = None) -> dict[str, str]:
    """As a record keeps it. ``advice`` stands in the place of the catalogue's."""
    about = RULES[rule]
    return {"rule": rule, "state": about.state, "text": text, "advice": advice or about.remedy}
