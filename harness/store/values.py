# SPDX-License-Identifier: Apache-2.0
"""One number of one run, stored or read from its histogram: what reports, the catalogue and budgets look at.

A run.json holds the quantiles of what was recorded, and beside them how many periods were missed. A task that sleeps
through a deadline leaves no value for it, and so the fewer values the worse it does: whoever shows or judges a quantile
takes it from here, where each missed period counts as later than any value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from .files import BrokenResult
from .hdr import QUANTILES, Counts, fraction
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


def samples(entry: Mapping[str, Any]) -> int:
    """How many values the quantiles of a metric's entry are of, missed periods among them."""
    return int(entry.get("recorded") or 0) + int(entry.get("missed") or 0)


def recorded(run: Run, metric: str) -> int:
    """How many values the quantiles of ``metric`` are of; of several CPUs the fewest. 0 without a histogram."""
    return min((samples(each) for each in run.metrics if each["metric"] == metric and "quantiles" in each), default=0)


def missed(run: Run, metric: str) -> int:
    """How many periods of ``metric`` never happened; of several CPUs the most."""
    return max((each.get("missed") or 0 for each in run.metrics if each["metric"] == metric), default=0)


def value_with_missed(run: Run, metric: str, quantile: str | None) -> float | None:
    """As :func:`value_of`, where each missed period counts as later than any value; infinite, if the quantile lies
    among them.
    """
    if quantile is None or not missed(run, metric):
        return value_of(run, metric, quantile)
    entries = [each for each in run.metrics if each["metric"] == metric and each.get("kind") == "histogram"]
    found = [levels[quantile] for each in entries if (levels := _levels(run, each, [quantile]))]
    return max((value for value in found if value is not None), default=None)


def quantiles_of(run: Run, entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The quantiles that are kept of every histogram, by name, of a metric's entry in ``run``, missed periods counted.

    Infinite where one lies among them; ``None`` where nothing was recorded, or the histogram cannot be read.
    """
    if not entry.get("missed"):
        stored = entry.get("quantiles")
        stored = stored if isinstance(stored, Mapping) else {}
        return {name: value if isinstance(value := stored.get(name), int) else None for name in QUANTILES}
    return _levels(run, entry, QUANTILES) or dict.fromkeys(QUANTILES)


def quantile_with_missed(counts: Counts, quantile: str, missed: int, exact_max: int | None) -> float | None:
    """The quantile of what was recorded and of ``missed`` values that are larger than any. Pure."""
    if not counts.total:
        return math.inf if missed else None
    level = fraction(quantile) * Fraction(counts.total + missed, counts.total)
    return math.inf if level > 1 else counts.value_at(level, exact_max)


def _levels(run: Run, entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | None]:
    try:
        counts = run.counts(str(entry["metric"]), entry.get("cpu"))
    except BrokenResult:
        return {}
    return {name: quantile_with_missed(counts, name, entry.get("missed") or 0, entry.get("max")) for name in names}


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
