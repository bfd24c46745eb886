# SPDX-License-Identifier: Apache-2.0
"""What bounds are computed by: roots and continued fractions. Pure."""

from __future__ import annotations

from collections.abc import Callable


def falling(function: Callable[[float], float], goal: float, low: float, high: float) -> float:
    """Where a falling function crosses ``goal``: bisection to the last bit."""
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if function(middle) > goal else (low, middle)
    return (low + high) / 2


def lentz(numerator: Callable[[int], float], denominator: Callable[[int], float]) -> float:
    """1 / (d0 + n1 / (d1 + n2 / (d2 + …))) by Lentz's method, as modified by Thompson and Barnett."""
    tiny = 1e-300
    d = denominator(0) or tiny
    c = 1 / tiny
    d = 1 / d
    result = d
    for i in range(1, 100_000):
        n, m = numerator(i), denominator(i)
        d = m + n * d or tiny
        c = m + n / c or tiny
        d = 1 / d
        result *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return result
