# SPDX-License-Identifier: Apache-2.0
"""A campaign's budgets against what was measured. The unit is a run: the median over a cell's runs is judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from ..config.campaign import Budget
from ..store.files import BrokenResult
from ..store.hdr import fraction
from ..store.runs import Run, iter_runs
from .execution import Execution


def over_budget(execution: Execution) -> tuple[str, ...]:
    """One line for each cell that is over a budget; runs that are invalid do not count."""
    budgets = execution.plan.campaign.budgets
    if not budgets:
        return ()
    seen: dict[tuple[Budget, str, str], list[float]] = defaultdict(list)
    for run in iter_runs(execution.path):
        if run.state == "invalid":
            continue
        for budget in budgets:
            seen[budget, run.target, run.cell] += _values(run, budget)
    return tuple(
        f"{target} {cell}: {budget.metric}{f' {budget.quantile}' if budget.quantile else ''} is "
        f"{median(values):g}, at most {budget.limit:g} is allowed (median of {len(values)} runs)"
        for (budget, target, cell), values in sorted(seen.items(), key=lambda item: item[0][1:])
        if values and median(values) > budget.limit
    )


def _values(run: Run, budget: Budget) -> Iterator[float]:
    if run.document["spec"].get("bench") != budget.bench:
        return
    for metric in run.metrics:
        if metric["metric"] == budget.metric and (value := _value(run, metric, budget)) is not None:
            yield value


def _value(run: Run, metric: Mapping[str, Any], budget: Budget) -> float | None:
    """A histogram's quantile (an overflow lies above every quantile that it reaches), or a scalar."""
    if budget.quantile is None:
        value = metric.get("value")
        return float(value) if isinstance(value, int | float) else None
    stored = (metric.get("quantiles") or {}).get(budget.quantile)
    if stored is None:
        try:
            counts = run.counts(budget.metric, metric.get("cpu"))
        except BrokenResult:
            return None  # the report names it
        stored = counts.value_at(fraction(budget.quantile), metric.get("max"))
    return None if stored is None else float(stored)
