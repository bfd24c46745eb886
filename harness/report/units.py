# SPDX-License-Identifier: Apache-2.0
"""Numbers and foreign text as people read them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

_NS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def three_digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 12.3, 123, 12,300; zero is 0."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "?" if math.isnan(value) else "inf"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    if rounded and math.floor(math.log10(abs(rounded))) > 2 - digits:  # 9.996 became 10.0
        digits -= 1
    return f"{rounded:,.{max(0, digits)}f}"


def duration(value_ns: float | None) -> str:
    """``1.23 µs``, ``38 ns``: nanoseconds are whole, the rest has three digits. ``None`` is a dash,
    infinity what lies among missed periods.
    """
    if value_ns is None:
        return "-"
    if value_ns == math.inf:
        return "missed"
    if abs(value_ns) < 999.5:
        return f"{value_ns:.0f} ns"
    for size, unit in _NS:
        if abs(value_ns) >= 0.9995 * size:
            return f"{three_digits(value_ns / size)} {unit}"
    return f"{value_ns:.0f} ns"


def setting(value_ns: float) -> str:
    """A time that somebody chose, without digits it does not have: ``1 µs``, ``2.5 ms``."""
    for size, unit in _NS:
        if value_ns >= size:
            return f"{value_ns / size:g} {unit}"
    return f"{value_ns:g} ns"


def quantity(value: float | None, unit: str) -> str:
    """A value with its unit and three digits; nanoseconds become what fits, of a ``count`` all digits are said."""
    if value is None:
        return "-"
    if unit == "count":
        return f"{value:,.0f}"
    return duration(value) if unit == "ns" else f"{three_digits(value)} {unit}".rstrip()


def count(value: int) -> str:
    """``12,345``; from a million on ``1.23 M``, from a thousand million on ``1.23 G``."""
    for size, prefix in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= 0.9995 * size:
            return f"{three_digits(value / size)} {prefix}"
    return f"{value:,}"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "es" if word.endswith("s") else "s")


def series(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def printable(text: object) -> str:
    """``text`` on one line with everything shown that a terminal or a browser might obey.

    Control characters (escape sequences), line breaks, and Unicode's invisible or direction-changing ones become
    escapes such as ``\\x1b``: a machine under test may send what it likes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
