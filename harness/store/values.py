# SPDX-License-Identifier: Apache-2.0
"""One number of one run, stored or read from its histogram: what reports and budgets look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .files import BrokenResult
from .hdr import fraction
from .runs import Run


def value_of(run: Run, metric: str, quantile: str | None) -> float | None:
    """The quantile of a histogram, or, without one, a scalar's value. Of several CPUs the worst counts.

    ``None`` when the run does not have it, or its histogram cannot be read (a report names that file). A quantile is
    the top of its bucket and never above the exact maximum.
    """
    entries = [each for each in run.metrics if each["metric"] == metric]
    values = [value for each in entries if (value := _value(run, each, quantile)) is not None]
    if not values:
        return None
    return min(values) if entries[0].get("better") == "higher" else max(values)


def recorded(run: Run, metric: str) -> int:
    """How many values the histogram ``metric`` has; of several CPUs the fewest. 0 without one."""
    counts = [each.get("recorded") or 0 for each in run.metrics if each["metric"] == metric and "quantiles" in each]
    return min(counts, default=0)


def _value(run: Run, entry: Mapping[str, Any], quantile: str | None) -> float | None:
    if quantile is None:
        value = entry.get("value")
        return float(value) if isinstance(value, int | float) else None
    stored = (entry.get("quantiles") or {}).get(quantile)
    if stored is None and entry.get("kind") == "histogram":
        try:
            counts = run.counts(str(entry["metric"]), entry.get("cpu"))
        except BrokenResult:
            return None
        stored = counts.value_at(fraction(quantile), entry.get("max"))
    return None if stored is None else float(stored)
