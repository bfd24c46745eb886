# SPDX-License-Identifier: Apache-2.0
"""A campaign's budgets against the runs of an execution: :mod:`harness.stats.budgets` judges."""

from __future__ import annotations

from ..stats.budgets import Limit, Verdict, judge, values_of
from ..store.runs import iter_runs
from .execution import Execution


def judged(execution: Execution) -> tuple[Verdict, ...]:
    """The verdicts on all cells that a budget is for; runs that cannot be read do not count."""
    budgets = execution.plan.campaign.budgets
    limits = [Limit(each.bench, each.metric, each.quantile, each.limit) for each in budgets]
    if not limits:
        return ()
    values = [value for run in iter_runs(execution.path) for value in values_of(run, limits)]
    return judge(values, execution.plan.to_json())
