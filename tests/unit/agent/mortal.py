# SPDX-License-Identifier: Apache-2.0
"""An undo in a process that may be killed at any step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.agent.system import Tree
from harness.agent.undo import Undo


class Killed(BaseException):
    """By SIGKILL: nothing of ours gets to run any more."""


class Life:
    """What is left of a process, in steps: a step is a change of the machine, or of the journal."""

    def __init__(self, steps: int, cut: int) -> None:
        self.steps = steps
        self.cut = cut

    def step(self, what: str = "") -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed


class MortalUndo(Undo):
    """Of a process that may be killed while it writes: then the journal ends at any byte of what it was writing."""

    def __init__(self, folder: str, tree: Tree, life: Life) -> None:
        super().__init__(folder, tree)
        self._life = life

    def record(self, entries: list[dict[str, Any]]) -> None:
        path = Path(self.path)
        before = path.stat().st_size if path.exists() else 0
        super().record(entries)
        try:
            self._life.step()
        except Killed:
            if path.exists():
                with path.open("r+b") as file:
                    file.truncate(before + self._life.cut % (path.stat().st_size - before + 1))
            raise

    def _rewrite(self, entries: list[dict[str, Any]]) -> None:
        self._life.step()
        super()._rewrite(entries)
