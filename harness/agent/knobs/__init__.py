# SPDX-License-Identifier: Apache-2.0
"""The knobs: to add one, write its file and name it in :data:`KNOBS`, and on the page docs/knobs.md.

They are set in this order and put back in the opposite one. So services come first: some undo what others set when
they end. The last four are set by modes on their own; what is before them is the same for all runs of a campaign, and
stays while the mode changes.
"""

from __future__ import annotations

from typing import Any, Callable

from ..services import DAEMONS, TIMERS
from ..system import Tree
from .base import Knob, Outcome
from .compaction import Compaction
from .cpu_dma_latency import CpuDmaLatency
from .fair_server import FairServer
from .governor import Governor
from .irq_affinity import IrqAffinity
from .ksm import Ksm
from .numa_balancing import NumaBalancing
from .rt_throttling import RtThrottling
from .services import Services
from .stat_interval import StatInterval
from .thp import Thp
from .timer_migration import TimerMigration
from .turbo import Turbo
from .watchdog import Watchdog
from .workqueues import Workqueues

KNOBS: tuple[Callable[[Tree], Knob], ...] = (
    Services,
    Governor,
    Turbo,
    Workqueues,
    StatInterval,
    Watchdog,
    TimerMigration,
    NumaBalancing,
    Thp,
    Compaction,
    Ksm,
    IrqAffinity,
    CpuDmaLatency,
    RtThrottling,
    FairServer,
)

__all__ = ["KNOBS", "MEDDLERS", "NAMES", "Knob", "Outcome", "all_knobs", "show_all"]


def all_knobs(tree: Tree) -> dict[str, Knob]:
    """A fresh object of each knob, by name, in the order in which they are set."""
    made = [make(tree) for make in KNOBS]
    return {knob.name: knob for knob in made}


#: Services that are no knobs: the knob ``services`` stops them.
MEDDLERS: tuple[str, ...] = (*DAEMONS, *TIMERS)
#: What ``tune`` may name.
NAMES: tuple[str, ...] = tuple(all_knobs(Tree("/absent")))


def show_all(tree: Tree) -> dict[str, dict[str, Any]]:
    """``{name: {available, value, reason, needed, advice}}`` of every knob."""
    return {name: knob.show() for name, knob in all_knobs(tree).items()}
