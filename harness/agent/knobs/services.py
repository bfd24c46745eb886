# SPDX-License-Identifier: Apache-2.0
"""Services that meddle, stopped: daemons that undo settings, timers that start work. systemd's only, those active.

They are stopped before any other knob is set, and started after all is put back: tuned, when it is stopped, puts back
the settings that it found, and when it is started makes its own again.

A timer's service that is at work is not interrupted: it may be replacing programs.
"""

from __future__ import annotations

from typing import Any, Sequence

from ..services import DAEMONS, TIMERS, Systemd, SystemdError, Unit, running, unit_entry
from ..system import Tree, errno_name
from ..undo import Undo
from .base import Outcome, shown


def _without_systemd(left: Sequence[str]) -> str:
    return "systemd does not run here" + (f"; running: {', '.join(left)}" if left else ", and none of them")


def _by_hand(left: Sequence[str]) -> str:
    return f"service NAME stop (OpenRC: rc-service NAME stop), and start afterwards: {' '.join(left)}"


class Services:
    name = "services"
    roams = False
    helpers = False

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self._systemd = Systemd(self.tree)

    def show(self) -> dict[str, Any]:
        """``value``: the active ones. One call of systemctl."""
        try:
            if self._systemd.here:
                return shown(self._active(self._units()))
            left = running(self.tree)
            return shown(reason=_without_systemd(left), needed=bool(left), advice=_by_hand(left))
        except SystemdError as error:
            return shown(reason=str(error), advice="does systemctl work there?")

    def set(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
        undo: Undo,
    ) -> Outcome:
        """``requested`` and ``effective`` are the units still active: none, and those left."""
        if not self._systemd.here:
            left = running(self.tree)
            return Outcome(self.name, [], left, left, None, _without_systemd(left), needed=bool(left))
        try:
            units = self._units()
        except SystemdError as error:
            return Outcome(self.name, [], None, None, None, str(error))
        before = self._active(units)
        stop = [name for name in before if name in DAEMONS or name in TIMERS]
        try:
            found = {unit.name: unit for unit in units}
            undo.record([unit_entry(self.name, found[name]) for name in stop])
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, [], before, before, code, "undo cannot be written")
        reason = None
        try:
            if stop:
                self._systemd.stop(stop)
            after = self._active(self._units())
        except SystemdError as error:
            reason, after = str(error), self._left(before)
        if after and reason is None:
            reason = f"still active: {', '.join(after)}"
        return Outcome(self.name, [], before, after, None, reason)

    def _units(self) -> list[Unit]:
        work = [name.replace(".timer", ".service") for name in TIMERS]
        return self._systemd.units([*DAEMONS, *TIMERS, *work])

    def _active(self, units: Sequence[Unit]) -> list[str]:
        """By name; a timer's service is ``activating`` for as long as it works."""
        return sorted(unit.name for unit in units if unit.active in ("active", "reloading", "activating"))

    def _left(self, before: list[str]) -> list[str]:
        try:
            return self._active(self._units())
        except SystemdError:
            return before

    def verify(self, outcome: Outcome) -> str | None:
        if not self._systemd.here:
            return None
        try:
            back = sorted(set(self._active(self._units())) - set(outcome.effective or ()))
        except SystemdError as error:
            return str(error)
        return f"active again: {', '.join(back)}" if back else None

    def restore(self) -> None:
        return

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        if not self._systemd.here:
            return _by_hand(outcome.effective or ())
        return "run the agent as root (become: sudo); let what is at work finish"
