# SPDX-License-Identifier: Apache-2.0
"""What may be said of runs: quantiles of each, then the median and the range over runs; bounds for rare events. Pure.

Samples of one run are not independent of each other, so they are never pooled to compare: a run gives one number.
Bounds are computed here, to about 1e-9, because importing scipy.stats costs more than a whole report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_high, median_low

from ..store.hdr import QUANTILES, fraction
from .numeric import falling, lentz

__all__ = ["CONFIDENCE", "QUANTILES", "Spread", "enough", "rate_upper", "samples_needed", "spread"]

#: One-sided, for every bound that is reported.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """One number per run, over runs: median, smallest, largest, and of how many runs.

    Of an even number of runs the median is the worse of the two in the middle: a value that a run had.
    """

    median: float
    low: float
    high: float
    runs: int


def spread(values: Iterable[float | None], better: str = "lower") -> Spread | None:
    """The spread of the runs that have a value; ``None`` when none has. ``better``: ``lower`` or ``higher`` values."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    middle = median_low if better == "higher" else median_high
    return Spread(middle(known), known[0], known[-1], len(known))


def samples_needed(name: str, confidence: float = CONFIDENCE) -> int:
    """How many samples until the largest of them is an upper bound for the quantile ``name`` with that confidence.

    p99.99: 29,956. Below that, the sample quantile says nothing of the tail: print "n too small".
    """
    level = fraction(name)
    if level == 0:
        return 1
    if level == 1:
        raise ValueError("no number of samples bounds the maximum")
    needed = math.ceil(math.log(1 - confidence) / math.log1p(-float(1 - level)))
    return max(1, needed)


def enough(name: str, samples: int) -> bool:
    return samples >= samples_needed(name)


def rate_upper(count: int, duration_s: float, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper bound (1/s) for the rate of a Poisson process that showed ``count`` events in ``duration_s``.

    No event in T seconds: 3.0 / T. Infinite when nothing was observed at all.
    """
    if count < 0 or duration_s < 0:
        raise ValueError("a count and a duration are not negative")
    if duration_s == 0:
        return math.inf
    # P(X <= count | mean) = 1 - confidence. Seven standard deviations above bound any confidence that is asked for.
    top = count + 7 * math.sqrt(count + 1) + 50
    return falling(lambda mean: _poisson_cdf(count, mean), 1 - confidence, 0.0, top) / duration_s


def _poisson_cdf(count: int, mean: float) -> float:
    """P(X <= count): the regularised upper incomplete gamma function Q(count + 1, mean)."""
    if mean <= 0:
        return 1.0
    shape = count + 1.0
    scale = math.exp(shape * math.log(mean) - mean - math.lgamma(shape))
    if mean < shape + 1:  # the series of P converges here, the continued fraction of Q beyond
        term = total = 1.0 / shape
        n = shape
        while abs(term) > 1e-16 * abs(total):
            n += 1
            term *= mean / n
            total += term
        return 1.0 - scale * total
    return scale * lentz(lambda i: -i * (i - shape), lambda i: mean + 2 * i + 1 - shape)
