# SPDX-License-Identifier: Apache-2.0
"""The knobs: to add one, write its file and name it in :data:`KNOBS`."""

from __future__ import annotations

from typing import Any, Callable

from ..system import Tree
from .base import Knob, Outcome
from .cpu_dma_latency import CpuDmaLatency
from .fair_server import FairServer
from .irq_affinity import IrqAffinity
from .rt_throttling import RtThrottling

KNOBS: tuple[Callable[[Tree], Knob], ...] = (IrqAffinity, CpuDmaLatency, RtThrottling, FairServer)

__all__ = ["KNOBS", "Knob", "Outcome", "all_knobs", "show_all"]


def all_knobs(tree: Tree) -> dict[str, Knob]:
    """A fresh object of each knob, by name."""
    made = [make(tree) for make in KNOBS]
    return {knob.name: knob for knob in made}


def show_all(tree: Tree) -> dict[str, dict[str, Any]]:
    """``{name: {available, value, reason}}`` of every knob."""
    return {name: knob.show() for name, knob in all_knobs(tree).items()}
