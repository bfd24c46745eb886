# SPDX-License-Identifier: Apache-2.0
"""Numbers and durations as plans and parameters spell them. Pure."""

from __future__ import annotations

import re

_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?) ?([a-zµμ]*)")


def number_of(text: object) -> float | None:
    """A number, or a duration in ns: ``"100"`` is 100, ``"20us"`` 20000; ``None`` for anything else."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    match = _NUMBER.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    unit = match[2].replace("µ", "u").replace("μ", "u")
    if unit and unit not in _NS:
        return None
    return float(match[1]) * (_NS[unit] if unit else 1)
