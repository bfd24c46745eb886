# SPDX-License-Identifier: Apache-2.0
"""The run that a target is measuring, and what becomes of it if the target goes down: a failed attempt, with why.

What finished before lies in the target's spool, on its disk; what was to follow is asked for again.
"""

from __future__ import annotations

from ..config.inventory import Target
from ..errors import ConnectionLost
from ..lab.watch import Watch
from .ledger import Ledger


class UnderWay:
    """Of a batch that ``target`` has. A virtual board's console is watched: it tells at once what a wire may hide."""

    def __init__(self, target: Target, ledger: Ledger) -> None:
        self._target = target
        self._ledger = ledger
        self._run: str | None = None
        self._boot_id: object = None
        self._watch: Watch | None = None

    def submitted(self, boot_id: object) -> None:
        self._boot_id, self._run = boot_id, None
        self._watch = Watch(self._target.name) if self._target.virtual is not None else None

    def started(self, run: str) -> None:
        self._run = run

    def received(self, run: str) -> None:
        if run == self._run:
            self._run = None

    def check(self) -> None:
        """Raise ConnectionLost if the console says that the board went down, whatever the connection seems to be."""
        if self._watch is not None and (fate := self._watch.fate()) is not None:
            raise ConnectionLost(f"the board went down: {fate}")

    def met(self, boot_id: object) -> None:
        """The target was met again, and all that it had finished was fetched. After a boot, the run is lost."""
        if boot_id != self._boot_id:
            fate = None if self._watch is None else self._watch.fate()
            self.lost("its boot id changed" if fate is None else fate)

    def lost(self, why: str, *, final: bool = False) -> None:
        """The run that was under way, if any, is a failed attempt, with the console as its log; ``final``: for now."""
        run, self._run = self._run, None
        if run is not None and self._ledger.open(run):
            log = "" if self._watch is None else self._watch.text()
            reason = f"the target went down during the run: {why}"
            self._ledger.fail(run, reason, "infrastructure", log=log.encode(), final=final)
