# SPDX-License-Identifier: Apache-2.0
"""Lists of CPUs, as boot parameters and files of the kernel have them. Whatever a machine says, nothing is raised."""

from __future__ import annotations

from collections.abc import Iterable


def cpus_of(text: str, online: Iterable[int]) -> frozenset[int]:
    """Those of ``online`` on a list: ``2-3,6``, ``4-N`` (the last) or ``all``; words among them (flags) are passed."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = _number(first), _number(last or first)
        for cpu in online:
            after = low is not None and low <= cpu
            before = cpu <= high if high is not None else last == "N"
            if part == "all" or (after and before):
                found.add(cpu)
    return frozenset(found)


def _number(text: str) -> int | None:
    """A CPU's number, as it is written; None for what is none."""
    return int(text) if text.isdecimal() and len(text) < 10 else None
