# SPDX-License-Identifier: Apache-2.0
"""Documents from a machine under test, read with care: what is missing or of another type counts as not said. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

#: Larger numbers are no times, and no counts of anything.
LARGEST = 1 << 62


def at(value: Any, *path: str | int) -> Any:
    """``value[a][b]…``, or ``None`` as soon as there is nothing of that kind."""
    for key in path:
        if isinstance(key, str) and isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, (list, tuple)) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def whole(value: object) -> int | None:
    """A whole number as it is, from 0 up to :data:`LARGEST`."""
    return value if type(value) is int and 0 <= value < LARGEST else None


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def is_number(value: object) -> bool:
    """One that a float can hold: JSON has whole numbers of any length."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)


def real(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def text_of(entry: Mapping[str, Any], key: str) -> str:
    """In words whatever stands there; empty where nothing does."""
    return str(entry.get(key) or "")
