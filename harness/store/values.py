# SPDX-License-Identifier: Apache-2.0
"""One number of one run, stored or read from its histogram: what reports and budgets look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
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


def missed(run: Run, metric: str) -> int:
    """How many periods of ``metric`` never happened; of several CPUs the most."""
    return max((each.get("missed") or 0 for each in run.metrics if each["metric"] == metric), default=0)


def value_with_missed(run: Run, metric: str, quantile: str | None) -> float | None:
    """As :func:`value_of`, where each missed period counts as later than any value; infinite, if the quantile lies
    among them.

    A task that sleeps through a deadline leaves no value for it, and so the fewer values the worse it does.
    """
    if quantile is None or not missed(run, metric):
        return value_of(run, metric, quantile)
    found = []
    for entry in run.metrics:
        if entry["metric"] != metric or entry.get("kind") != "histogram":
            continue
        try:
            counts = run.counts(metric, entry.get("cpu"))
        except BrokenResult:
            continue
        all_of_them = counts.total + (entry.get("missed") or 0)
        level = fraction(quantile) * Fraction(all_of_them, counts.total) if counts.total else Fraction(2)
        value = counts.value_at(level, entry.get("max")) if level <= 1 else None
        found.append(math.inf if value is None else float(value))
    return max(found, default=None)


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
