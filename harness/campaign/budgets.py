# SPDX-License-Identifier: Apache-2.0
"""A campaign's budgets against the runs of an execution: :mod:`harness.stats.budgets` judges."""

from __future__ import annotations

from ..stats.budgets import FAILED, Limit, Verdict, judge, values_of
from ..store.runs import iter_runs
from .execution import Execution


def over_budget(execution: Execution) -> tuple[Verdict, ...]:
    """The verdicts of the cells that are over a budget; runs that cannot be read do not count."""
    budgets = execution.plan.campaign.budgets
    limits = [Limit(each.bench, each.metric, each.quantile, each.limit) for each in budgets]
    if not limits:
        return ()
    values = [value for run in iter_runs(execution.path) for value in values_of(run, limits)]
    return tuple(verdict for verdict in judge(values, execution.plan.to_json()) if verdict.result == FAILED)
