# SPDX-License-Identifier: Apache-2.0
"""Text to numbers with units, and back: durations in ns, percentages, CPU lists. Pure; errors are ``ValueError``.

A quantity without its unit is an error that names the units, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: ns in each unit, longest first. ``µ`` may be U+00B5 or U+03BC: keyboards differ.
UNITS_NS: dict[str, int] = {
    "h": 3_600_000_000_000,
    "min": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
#: Everything fits a signed 64-bit count of ns, with room for sums: nobody measures longer than a year.
MAX_DURATION_NS = 366 * 24 * UNITS_NS["h"]
#: The most that a Linux kernel can be configured for (CONFIG_NR_CPUS).
MAX_CPUS = 8192

_QUANTITY = re.compile(r"(([0-9]{1,20})(?:\.([0-9]{1,20}))?) ?([A-Za-zµμ%]*)")
_CPU_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5})(?::([0-9]{1,5})/([0-9]{1,5}))?)?")


def parse_duration(text: str) -> int:
    """``"1.5us"`` → 1500 ns, exactly."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a duration such as 10s or 250us, found {text!r}")
    number, whole, fraction, unit = match[1], match[2], match[3] or "", match[4]
    if not unit:
        raise ValueError(f"a duration needs a unit: {number}s, {number}ms … (one of {_units()})")
    factor = UNITS_NS.get(unit.replace("µ", "u").replace("μ", "u"))
    if factor is None:
        raise ValueError(f"unknown unit {unit!r} in {text!r}: one of {_units()}")
    scale: int = 10 ** len(fraction)
    value, rest = divmod(int(whole + fraction) * factor, scale)
    if rest:
        raise ValueError(f"{text!r} is finer than 1 ns")
    if value > MAX_DURATION_NS:
        raise ValueError(f"{text!r} is longer than a year")
    return value


def _units() -> str:
    return ", ".join(reversed(UNITS_NS))


def format_duration(value_ns: int) -> str:
    """The shortest text that :func:`parse_duration` reads back exactly: 1500000000 → ``"1500ms"``."""
    for unit, factor in UNITS_NS.items():
        if value_ns and value_ns % factor == 0:
            return f"{value_ns // factor}{unit}"
    return f"{value_ns}ns" if value_ns else "0s"


def parse_percent(text: str) -> float:
    """``"90%"`` → 90.0; 0 to 100."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[4] not in ("", "%"):
        raise ValueError(f"expected a percentage such as 90%, found {text!r}")
    if not match[4]:
        raise ValueError(f"a percentage needs its sign: {match[1]}%")
    value = float(match[1])
    if value > 100:
        raise ValueError(f"{text!r} is more than 100%")
    return value


def format_percent(value: float) -> str:
    return f"{value:.10g}%"


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list syntax, ``2-3,6`` and ``0-31:2/4`` (the first 2 of each 4), sorted; ``""`` is no CPU."""
    cpus: set[int] = set()
    if not text.strip():
        return ()
    for part in text.strip().split(","):
        match = _CPU_RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"expected a CPU list such as 2-3,6, found {text!r}")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        used, group = (int(match[3]), int(match[4])) if match[3] is not None else (1, 1)
        if last < first:
            raise ValueError(f"{part!r} in CPU list {text!r} runs backwards")
        if last >= MAX_CPUS:
            raise ValueError(f"CPU {last} in {text!r}: Linux has at most {MAX_CPUS}")
        if not 1 <= used <= group:
            raise ValueError(f"{part!r} in CPU list {text!r}: expected 1 <= used <= group")
        cpus.update(cpu for cpu in range(first, last + 1) if (cpu - first) % group < used)
    return tuple(sorted(cpus))


def format_cpu_list(cpus: Iterable[int]) -> str:
    """``(2, 3, 6)`` → ``"2-3,6"``."""
    parts: list[str] = []
    ordered = sorted(set(cpus))
    start = 0
    for index, cpu in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != cpu + 1:
            first = ordered[start]
            parts.append(str(first) if first == cpu else f"{first}-{cpu}")
            start = index + 1
    return ",".join(parts)
