# SPDX-License-Identifier: Apache-2.0
"""What the checks of validity look at, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from ..modes import Mode
from ..spec import RunSpec


@dataclass(frozen=True)
class Evidence:
    """All that may be looked at. ``knobs`` are the outcomes, ``kmsg`` what the kernel said meanwhile, or None."""

    spec: RunSpec
    mode: Mode
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]
    load: Mapping[str, Any]
    knobs: Sequence[Mapping[str, Any]]
    kmsg: Mapping[str, Any] | None

    def changed(self, key: str) -> bool:
        """True if a fact is known on both sides and differs."""
        before, after = self.before.get(key), self.after.get(key)
        return before is not None and after is not None and before != after

    def entries(self, key: str) -> list[tuple[str, Any, Any]]:
        """``(name, before, after)`` of what a fact of many holds on both sides; one that came or went is none."""
        before, after = self.before.get(key) or {}, self.after.get(key) or {}
        return [(name, before[name], after[name]) for name in before if name in after]

    @property
    def elapsed_s(self) -> float:
        elapsed_ns: int = self.after.get("monotonic_ns", 0) - self.before.get("monotonic_ns", 0)
        return max(1, elapsed_ns) / 1e9


@dataclass(frozen=True)
class Finding:
    """A rule that was broken, by its name in the catalogue, and how; ``advice`` where a better one is known here."""

    rule: str
    text: str
    advice: Optional[str] = None


Check = Callable[[Evidence], Iterator[Finding]]


def shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
