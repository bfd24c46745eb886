# SPDX-License-Identifier: Apache-2.0
"""The boots of a lane: before each session the one that it asks for, proved; and at the end back to the machine's own.

A boot that fails is tried again as often as ``retry: infrastructure`` says, for each kernel and boot profile once over
the lane; its session's runs are then failed attempts of the infrastructure, with the reason, and the lane goes on with
the next session. Wrong parameters are not tried again: nothing would be different.
"""

from __future__ import annotations

from collections import Counter

from ..config.inventory import Target
from ..config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL
from ..errors import EnvironmentFault, InfrastructureFault, IsolbenchError, StorageFull, UserError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target.booting import Booter, Wanted
from ..target.proof import BootFailed, NotBack, WrongParameters, prove, told_by
from ..target.session import open_session
from .conversation import Conversation
from .execution import Execution, Stop
from .ledger import Emit, Ledger
from .running import Running


class Boots:
    """Boots ``target`` for the sessions of a lane."""

    def __init__(
        self, execution: Execution, target: Target, talk: Conversation, ledger: Ledger, stop: Stop, emit: Emit
    ) -> None:
        self._execution = execution
        self._target = target
        self._talk = talk
        self._ledger = ledger
        self._stop = stop
        self._emit = emit
        self._booter = Booter(target, emit, stop.wait)
        self._failed: Counter[Booted] = Counter()

    def boot(self, session: PlannedSession) -> None:
        """Have what ``session`` asks for booted and proved; where that cannot be, its runs are failed attempts.

        Raises NotBack of a machine that is gone for good.
        """
        assert session.booted is not None
        while not self._stop:
            try:
                self._once(session, session.booted)
                return
            except (BootFailed, EnvironmentFault, StorageFull, UserError) as error:
                if self._stop:
                    return
                self._failed[session.booted] += 1
                again = self._may_try_again(error, session.booted)
                message = told_by(error, self._booter.console_end()) if isinstance(error, BootFailed) else str(error)
                self._emit(
                    "boot-failed", kernel=session.booted.kernel, boot=session.booted.boot, session=session.index,
                    message=message, retried=again,
                )  # fmt: skip
                gone = isinstance(error, NotBack) and not self._reachable()
                if not again or gone:
                    self._give_up(session, message)
                if gone:
                    raise
                if not again:
                    return

    def back(self) -> None:
        """At the end of a lane: the machine boots what it boots by itself, if it does not run that already."""
        running = self._talk.running.booted
        if running is None or running.is_default or self._stop.at_once:
            return
        try:
            self._booter.boot(self._wanted(Booted()))
            self._talk.running = Running()
        except IsolbenchError as error:
            self._emit("left-booted", kernel=running.kernel, boot=running.boot, message=str(error))

    def _once(self, session: PlannedSession, booted: Booted) -> None:
        before = self._talk.running.boot_id
        try:
            expected = self._booter.boot(self._wanted(booted))
            owner = self._execution.owner(self._target.name)
            with open_session(self._target, owner, self._stop.wait) as held:
                facts = held.welcome["facts"]
                self._ledger.facts = facts
                proof = prove(expected, before, facts)
        finally:
            self._booter.clean_up()
        self._talk.running = Running(booted, session.index, proof.boot_id, proof.to_json())
        self._emit("booted", session=session.index, kernel=booted.kernel, boot=booted.boot, proof=proof.to_json())

    def _wanted(self, booted: Booted) -> Wanted:
        plan = self._execution.plan
        kernels, profiles = dict(plan.kernels), dict(plan.profiles)
        kernel = kernels.get(booted.kernel) or BUILT_IN_KERNEL
        return Wanted(kernel, booted.boot, profiles.get(booted.boot) or BUILT_IN_BOOT)

    def _may_try_again(self, error: IsolbenchError, booted: Booted) -> bool:
        if not isinstance(error, BootFailed) or isinstance(error, WrongParameters):
            return False
        return self._failed[booted] <= self._execution.plan.campaign.retry.infrastructure

    def _reachable(self) -> bool:
        """Whether it answers after all: a board whose power was switched runs its own kernel again."""
        try:
            with open_session(self._target, self._execution.owner(self._target.name), self._stop.wait):
                return True
        except InfrastructureFault:
            return False

    def _give_up(self, session: PlannedSession, why: str) -> None:
        assert session.booted is not None
        reason = f"boot of {session.booted}: {why}"
        for cell, repeat in session.runs:
            run = f"{cell.id}-r{repeat}"
            self._ledger.begin(run)
            self._ledger.fail(
                run, reason, "infrastructure", final=True, log=(self._booter.console_end() or "").encode()
            )
