# SPDX-License-Identifier: Apache-2.0
"""The loads: to add one, write its file and name it in :data:`LOADS`."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from ..spec import LoadSpec, SpecError
from ..system import Tree
from .argv import Argv
from .base import Load
from .hackbench import Hackbench
from .idle import Idle
from .memory import Memory
from .spin import Spin
from .stress_ng import StressNg
from .syscalls import Syscalls

LOADS: tuple[Any, ...] = (Idle, Spin, Syscalls, Memory, Hackbench, StressNg, Argv)
KINDS: tuple[str, ...] = tuple(load.kind for load in LOADS)
#: Those that have a name; ``argv`` has the one that the campaign gives it.
NAMES: tuple[str, ...] = tuple(kind for kind in KINDS if kind != Argv.kind)

__all__ = ["KINDS", "LOADS", "NAMES", "Load", "make", "needs"]


def _class_of(spec: LoadSpec) -> Any:
    for load in LOADS:
        if load.kind == spec.kind:
            return load
    raise SpecError(f"load.kind: {spec.kind!r} is none of {', '.join(KINDS)}")


def make(spec: LoadSpec, housekeeping: Sequence[int], tree: Tree | None = None) -> Load:
    """A load, not started yet. :class:`SpecError` for a kind there is not."""
    build: Callable[..., Load] = _class_of(spec)
    return build(spec, housekeeping, tree)


def needs(spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:
    """Why this load cannot be had on the machine of ``facts``, each with what to do; empty when it can."""
    reasons: list[str] = _class_of(spec).needs(spec, facts, housekeeping)
    return reasons
