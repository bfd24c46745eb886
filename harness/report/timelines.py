# SPDX-License-Identifier: Apache-2.0
"""Which run stands for a cell in its timeline of causes, and what of that run's events is drawn. Pure.

A page has one timeline a cell, of the run that lost the most: patterns (a tick, a burst) are of single runs, and in a
sum they lie over each other. Runs are taken in one by one, so what is kept is as much as there are cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store.documents import at, whole
from ..store.hdr import Ints
from ..store.runs import Run
from .moments import Events, longest_by_class

#: Parts of a run's time, each a column of the picture.
PARTS = 160


@dataclass(frozen=True, eq=False)
class Timeline:
    """``marks``: part, place of the class, length (ns) of the longest. ``told``: events in the list that have a class;
    ``more`` were counted by the probe and are not in it.
    """

    path: Path
    name: str
    repeat: int
    cpu: int | None
    per_s: float
    duration_ns: int
    marks: Ints
    told: int
    more: int


class Timelines:
    """By target, cell and state, the one that lost the most time in a second."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str, str], Timeline] = {}

    def add(self, run: Run, results: Sequence[Mapping[str, Any]], name: str, events: Events) -> None:
        """Take in what the probe kept in its list ``name``."""
        for result in results:
            classes = at(result, "attribution", "classes")
            duration_ns, cpu = whole(result.get("duration_ns")), result.get("cpu")
            if not isinstance(classes, Mapping) or not duration_ns:
                continue
            per_s = sum(whole(at(own, "stolen_ns")) or 0 for own in classes.values()) / duration_ns * 1e9
            key = (run.target, run.cell, run.state)
            if key in self._worst and self._worst[key].per_s >= per_s:
                continue
            marks = longest_by_class(events, duration_ns, cpu if isinstance(cpu, int) else None, PARTS)
            if len(marks):
                repeat = run.document.get("repeat")
                self._worst[key] = Timeline(
                    path=run.path,
                    name=run.name,
                    repeat=repeat if isinstance(repeat, int) else 0,
                    cpu=cpu if isinstance(cpu, int) else None,
                    per_s=per_s,
                    duration_ns=duration_ns,
                    marks=marks,
                    told=int((events.class_ >= 0).sum()),
                    more=whole(at(result, name, "dropped")) or 0,
                )

    def of(self, target: str, cell: str, state: str | None) -> Timeline | None:
        return self._worst.get((target, cell, state or ""))
