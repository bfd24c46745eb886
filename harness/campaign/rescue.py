# SPDX-License-Identifier: Apache-2.0
"""The rescue of a target that was lost in mid-session and stays away: its power is switched off and on."""

from __future__ import annotations

from ..config.inventory import Target
from ..errors import IsolbenchError, Unreachable
from ..target import power
from .conversation import Conversation, boottime_s
from .execution import Execution
from .ledger import Emit

#: A power switch is left alone for so long before our lease may end: somebody else may be there afterwards.
_LEASE_MARGIN_S = 30.0


def wait_s(now: float, batch_ends_s: float | None, leased_until_s: float) -> float | None:
    """How long the power is left alone, as the target may be measuring and we alone be cut off; None: it stays alone.

    That is where nothing of ours is measured there, or somebody else may have leased it by then. All by one clock.
    """
    if batch_ends_s is None or max(now, batch_ends_s) > leased_until_s - _LEASE_MARGIN_S:
        return None
    return max(0.0, batch_ends_s - now)


class Rescue:
    """Switches the power of ``target``: where it may be booted it may be switched off as well."""

    def __init__(self, execution: Execution, target: Target, talk: Conversation, emit: Emit) -> None:
        self._plan = execution.plan
        self._target = target
        self._talk = talk
        self._emit = emit
        self._done = 0

    def in_s(self, error: IsolbenchError) -> float | None:
        """In how many seconds a target that was lost by ``error`` may be switched off; None: not at all.

        As often as a run is tried again.
        """
        if not isinstance(error, Unreachable) or not self._plan.boots or not power.can_cycle(self._target):
            return None
        if self._done >= self._plan.campaign.retry.infrastructure:
            return None
        return wait_s(boottime_s(), self._talk.batch_ends_s, self._talk.leased_until_s)

    def switch(self, error: IsolbenchError) -> None:
        """Switch the power. Raises ``error``, for which it is done, if that fails."""
        self._done += 1
        try:
            power.cycle(self._target)
        except IsolbenchError as failed:
            self._emit("power-failed", message=str(failed))
            raise error from None
        self._emit("power-cycled", message=str(error))
