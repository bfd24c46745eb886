# SPDX-License-Identifier: Apache-2.0
"""Names that stand for several: ``rpi5-[01-48]``, and ``{name}`` in a value. Pure; errors are ``ValueError``."""

from __future__ import annotations

import itertools
import re

#: A lab larger than this writes several inventories; a typing error ends here instead of in memory.
MAX_NAMES = 10_000

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_ITEM = re.compile(r"[A-Za-z0-9._+-]+")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def is_range(pattern: str) -> bool:
    return "[" in pattern or "]" in pattern


def expand(pattern: str) -> list[str]:
    """``"n[1-2]-[a,b]"`` → n1-a, n1-b, n2-a, n2-b. The width of leading zeros is kept: ``[01-10]`` gives 01 … 10."""
    parts: list[list[str]] = []
    end = 0
    for match in _BRACKETS.finditer(pattern):
        parts.append([_outside(pattern[end : match.start()], pattern)])
        parts.append(_choices(match[1], pattern))
        end = match.end()
    parts.append([_outside(pattern[end:], pattern)])
    total = 1
    for part in parts:
        total *= len(part)
    if total > MAX_NAMES:
        raise ValueError(f"{pattern!r} stands for {total} names: at most {MAX_NAMES}")
    names = ["".join(choice) for choice in itertools.product(*parts)]
    if len(set(names)) != len(names):
        raise ValueError(f"{pattern!r} gives one name twice")
    return names


def _outside(text: str, pattern: str) -> str:
    if "[" in text or "]" in text:
        raise ValueError(f"{pattern!r}: a bracket without its other half")
    return text


def _choices(inside: str, pattern: str) -> list[str]:
    names: list[str] = []
    for item in inside.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            if not _ITEM.fullmatch(item):
                raise ValueError(f"{pattern!r}: expected [01-48] or [a,b], found [{inside}]")
            names.append(item)
            continue
        first, last = match.groups()
        if int(last) < int(first):
            raise ValueError(f"{pattern!r}: the range {item} runs backwards")
        padded = (first != "0" and first.startswith("0")) or (last != "0" and last.startswith("0"))
        if padded and len(first) != len(last):
            raise ValueError(f"{pattern!r}: write both ends of {item} with the same number of digits")
        if int(last) - int(first) >= MAX_NAMES:
            raise ValueError(f"{pattern!r} stands for {int(last) - int(first) + 1} names: at most {MAX_NAMES}")
        names += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return names


def substitute(text: str, name: str) -> str:
    """``text`` with ``{name}`` replaced; any other placeholder is an error."""
    for placeholder in _PLACEHOLDER.findall(text):
        if placeholder != "name":
            raise ValueError(f"unknown placeholder {{{placeholder}}} (known: {{name}})")
    return text.replace("{name}", name)
