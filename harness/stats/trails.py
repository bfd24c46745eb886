# SPDX-License-Identifier: Apache-2.0
"""What gaps tell of a cause beyond its name: who sent the interrupts, and why the tick did not stop. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..store.gaps import Gap

#: In a chain: the tick could not stop, and why. The other one says that it did.
_WHY, _STOPPED = "tick:", "tick:stopped"
#: As each architecture and version calls the tick, where no more is known of a gap.
TICKS = ("hrtimer:tick_nohz_handler", "hrtimer:tick_sched_timer", "vector:local_timer", "irq:arch_timer")


@dataclass(frozen=True)
class Trail:
    """``senders``: names of tasks (``CPU 0`` where the kernel does not say whose); ``ticks``: ``tick:POSIX_TIMER`` and
    the like. Each with how often, the most frequent first."""

    senders: tuple[tuple[str, int], ...] = ()
    ticks: tuple[tuple[str, int], ...] = ()


NO_TRAIL = Trail()


def trails(gaps: Iterable[Gap]) -> Mapping[str, Trail]:
    """By cause, of those that have any. A gap without a cause has no trail.

    Whatever gap it was in that the kernel found the tick needed: it is of the tick that this is told.
    """
    senders: dict[str, Counter[str]] = {}
    whys: Counter[str] = Counter()
    for gap in gaps:
        whys.update({label for _, label in gap.chain if label.startswith(_WHY) and label != _STOPPED})
        if gap.cause and gap.sender and (who := gap.sender.get("task") or _cpu(gap.sender.get("cpu"))):
            senders.setdefault(gap.cause, Counter())[str(who)] += 1
    causes = dict.fromkeys([*senders, *(TICKS if whys else ())])
    return {cause: Trail(_sorted(senders.get(cause)), _sorted(whys) if cause in TICKS else ()) for cause in causes}


def _cpu(cpu: int | str | None) -> str:
    return "" if cpu is None else f"CPU {cpu}"


def _sorted(counted: Counter[str] | None) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((counted or Counter()).items(), key=lambda item: (-item[1], item[0])))
