# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to an invented machine, and wherever the agent is killed over it: it ends as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from harness.agent.undo import Undo

from .invented import Invented
from .mortal import Killed, Life, MortalUndo
from .partitions import Kernel

thoroughly = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Sequence:
    """The machine, the journal in ``folder``, and what is to be read of every file in the end."""

    def __init__(self, folder: str, tree: Invented | Kernel) -> None:
        Path(folder, "undo.jsonl").unlink(missing_ok=True)
        self.folder = folder
        self.tree = tree
        self.expected: dict[str, Any] = tree.everything()

    def take(self, *step: Any) -> None:
        """One step: of the agent's, or of somebody else's."""
        raise NotImplementedError

    def found(self) -> dict[str, Any]:
        return self.tree.everything()

    @contextlib.contextmanager
    def life(self, steps: int, cut: int) -> Iterator[Undo]:
        """The undo of a process that is killed after so many steps, if it is not done before."""
        one = Life(steps, cut)
        self.tree.before_change = one.step
        with contextlib.suppress(Killed):
            yield MortalUndo(self.folder, self.tree, one)
        self.tree.before_change = lambda _: None

    def run(self, taken: Iterable[Iterable[Any]]) -> None:
        """All of these steps, and a restore by a process that lives."""
        for step in taken:
            self.take(*step)
        undo = Undo(self.folder, self.tree)
        report = undo.play()
        assert [each for each in report if not each["ok"]] == []
        assert undo.empty
        assert undo.play() == []
        assert self.found() == self.expected
