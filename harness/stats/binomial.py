# SPDX-License-Identifier: Apache-2.0
"""How large a share is, of which so many were seen of so many: one-sided bounds of Clopper and Pearson. Pure.

The bound is the share at which as good a result still comes 5 times in a hundred. It needs no assumption but that the
trials do not hang together, and holds for every number of them: none missed of 299 is 99 %, one of 473 as well.
"""

from __future__ import annotations

import math

from .numeric import falling, lentz
from .quantiles import CONFIDENCE


def at_least(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The share, 0..1, that is not undercut: ``count`` of ``of`` were seen. Of nothing, and of none, 0."""
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is no share")
    if count == 0:
        return 0.0
    if count == of:
        return math.exp(math.log1p(-confidence) / of)
    # P(X >= count | share) = 1 - confidence; it rises with the share.
    return 1.0 - falling(lambda missing: _beta(1.0 - missing, count, of - count + 1), 1 - confidence, 0.0, 1.0)


def at_most(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The share, 0..1, that is not exceeded."""
    return 1.0 - at_least(of - count, of, confidence)


def trials_needed(share: float, missed: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest trials of which ``missed`` may be missed, and the share still is ``share`` at least: 299 for 99 %."""
    if not 0 <= share < 1:
        raise ValueError("no number of trials shows a share of 1")
    low, high = missed, missed + 1
    while at_least(high - missed, high, confidence) < share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at_least(middle - missed, middle, confidence) >= share else (middle, high)
    return high


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b): P(X >= a) of a + b - 1 trials of the share x."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below that
        return 1.0 - _beta(1.0 - x, b, a)

    def numerator(i: int) -> float:
        m = i // 2
        if i % 2:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))

    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(scale) / a * lentz(numerator, lambda _: 1.0)
