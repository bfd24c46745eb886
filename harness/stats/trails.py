# SPDX-License-Identifier: Apache-2.0
"""What gaps tell of a cause beyond its name: who sent the interrupts, and why the tick did not stop. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..store.gaps import Gap

#: In a chain: the tick could not stop, and why. The other one says that it did.
_TICK, _STOPPED = "tick:", "tick:stopped"


@dataclass(frozen=True)
class Trail:
    """``senders``: names of tasks (``CPU 0`` where the kernel does not say whose); ``ticks``: ``tick:POSIX_TIMER`` and
    the like. Each with how often, the most frequent first."""

    senders: tuple[tuple[str, int], ...] = ()
    ticks: tuple[tuple[str, int], ...] = ()


NO_TRAIL = Trail()


def trails(gaps: Iterable[Gap]) -> Mapping[str, Trail]:
    """By cause, of those that have any. A gap without a cause has no trail."""
    senders: dict[str, Counter[str]] = {}
    ticks: dict[str, Counter[str]] = {}
    for gap in gaps:
        if gap.cause is None:
            continue
        if gap.sender and (who := gap.sender.get("task") or _cpu(gap.sender.get("cpu"))):
            senders.setdefault(gap.cause, Counter())[str(who)] += 1
        for label in {label for _, label in gap.chain if label.startswith(_TICK) and label != _STOPPED}:
            ticks.setdefault(gap.cause, Counter())[label] += 1
    return {cause: Trail(_sorted(senders.get(cause)), _sorted(ticks.get(cause))) for cause in {**senders, **ticks}}


def _cpu(cpu: int | str | None) -> str:
    return "" if cpu is None else f"CPU {cpu}"


def _sorted(counted: Counter[str] | None) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((counted or Counter()).items(), key=lambda item: (-item[1], item[0])))
