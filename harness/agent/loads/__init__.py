# SPDX-License-Identifier: Apache-2.0
"""The loads: to add one, write its file and name it in :data:`LOADS`."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from ..spec import LoadSpec, SpecError
from ..system import Tree
from .argv import Argv
from .base import Load
from .idle import Idle
from .spin import Spin

LOADS: tuple[Any, ...] = (Idle, Spin, Argv)
KINDS: tuple[str, ...] = tuple(load.kind for load in LOADS)

__all__ = ["KINDS", "LOADS", "Load", "make"]


def make(spec: LoadSpec, housekeeping: Sequence[int], tree: Tree | None = None) -> Load:
    """A load, not started yet. :class:`SpecError` for a kind there is not."""
    for load in LOADS:
        if load.kind == spec.kind:
            build: Callable[..., Load] = load
            return build(spec, housekeeping, tree)
    raise SpecError(f"load.kind: {spec.kind!r} is none of {', '.join(KINDS)}")
