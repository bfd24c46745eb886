# SPDX-License-Identifier: Apache-2.0
"""The measuring half of ``doctor``: a short attributed run on each target, side by side, as any execution; again with
knobs that may help (``--fix``), which the agent puts back as it does for every campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.bench import load_bench
from ..config.inventory import Inventory
from ..plan import Plan, build_plan
from ..plan.diagnosis import BENCH, diagnosis
from ..stats.diagnosis import Diagnosis, diagnose
from ..store.gaps import MEASURED, Gap, gaps_of, lists_of
from ..store.runs import Run, iter_attempts, iter_runs
from .carry_out import carry_out
from .events import Listener
from .execution import Execution
from .outcome import Outcome


@dataclass(frozen=True)
class Measured:
    """One round. ``found`` has what was measured, by target; ``lacking`` why nothing was, with what to do about it;
    ``facts`` are those of the contact that measured."""

    execution: Execution
    outcome: Outcome
    found: Mapping[str, Diagnosis] = field(default_factory=dict)
    lacking: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def plan_of(chosen: Mapping[str, str], known: Inventory, duration_ns: int, tune: Sequence[str] = ()) -> Plan:
    """``chosen``: the mode of each target."""
    bench = load_bench(BENCH)
    return build_plan(diagnosis(chosen, bench, duration_ns, tune), known, {BENCH: bench})


def carried_out(execution: Execution, known: Inventory, *listeners: Listener) -> Measured:
    """Carry ``execution`` out, and diagnose each run. Signals are handled as by ``run``."""
    outcome = carry_out(execution, known, listeners=listeners)
    facts = {target: dict(execution.lane(target).get("facts") or {}) for target in execution.plan.targets}
    found: dict[str, Diagnosis] = {}
    for run in iter_runs(execution.path):
        seen = diagnose(run.document, facts.get(run.target, {}), _gaps(run))
        if seen is not None:
            found[run.target] = seen
    lacking = {name: _why(execution, outcome, name) for name in execution.plan.targets if name not in found}
    return Measured(execution, outcome, found, lacking, facts)


def _gaps(run: Run) -> Iterator[Gap]:
    """Those that can be read: what is lost with the others is a detail."""
    for each in lists_of(run):
        if each.role == MEASURED:
            yield from gaps_of(run, each, [])


def _why(execution: Execution, outcome: Outcome, target: str) -> tuple[str, str]:
    """Why nothing was measured there, and what would help."""
    if target in {run.target for run in iter_runs(execution.path)}:
        return "its run tells nothing of gaps", ""
    lane = next((each for each in outcome.lanes if each.target == target), None)
    if lane is not None and lane.failure:
        return lane.failure, lane.advice or ""
    for each in iter_attempts(execution.path):
        if each.get("target") == target:
            return str(each.get("reason")), str(each.get("advice") or "")
    for each in execution.lane(target).get("unsupported") or []:
        return str(each.get("reason")), ""
    return (lane.stopped if lane is not None and lane.stopped else replace(outcome, once=True).sentence), ""
