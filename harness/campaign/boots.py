# SPDX-License-Identifier: Apache-2.0
"""The boots of a lane: before each session the one that it asks for, proved; and at the end back to the machine's own.

A boot that fails is tried again as often as ``retry: infrastructure`` says, for each kernel and boot profile once over
the lane; its session's runs are then failed attempts of the infrastructure, with the reason, and the lane goes on with
the next session. Wrong parameters are not tried again: nothing would be different.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ..config.inventory import Target
from ..config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL
from ..deadline import Deadline
from ..errors import EnvironmentFault, InfrastructureFault, IsolbenchError, StorageFull, UserError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target import power
from ..target.booting import Booter, Wanted
from ..target.proof import BootFailed, Expected, NotBack, Proof, WrongParameters, prove, told_by
from ..target.session import open_session
from . import boot_times
from .conversation import ANSWER_S, Conversation
from .execution import Execution, Stop
from .ledger import Emit, Ledger
from .running import Running

#: A lease outlives the boot that it is kept for by this many seconds: connecting, arming, connecting again.
_LEASE_SLACK_S = 60.0
#: What has to be installed before it is booted takes longer: sent, unpacked, its initial RAM disk made.
_INSTALL_S = 900.0
#: How often somebody who waits to the end all the same looks whether he is to stop at once.
_TICK_S = 0.2


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
        self._booter = Booter(target, emit, self._pause)
        self._failed: Counter[Booted] = Counter()
        self._installed: set[str] = set()  # kernels that were seen to be there
        self._ours = False  # what it runs may be a boot of ours
        self._returning = False

    def lease_s(self, session: PlannedSession) -> float:
        """For how long the target is kept while it boots for ``session``: who dies meanwhile frees it soon."""
        assert session.booted is not None
        kernel = self._wanted(session.booted).kernel
        there = kernel.name in self._installed or all(each.installed is not None for each in kernel.artefacts.values())
        return boot_times.patience_s(self._target) + _LEASE_SLACK_S + (0.0 if there else _INSTALL_S)

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
        """At the end of a lane: the machine boots what it boots by itself, if it does not run that already; proved.

        It is leased meanwhile: nobody else begins on it in between.
        """
        running = self._talk.running.booted
        ours = self._ours or (running is not None and not running.is_default)
        if not ours or self._stop.at_once:
            return
        self._returning = True
        try:
            proof = self._return()
            self._talk.running = Running()
            self._emit("booted-back", proof=proof.to_json())
        except IsolbenchError as error:
            booted = running or Booted()
            self._emit("left-booted", kernel=booted.kernel, boot=booted.boot, message=str(error))

    def _once(self, session: PlannedSession, booted: Booted) -> None:
        wanted = self._wanted(booted)
        try:
            expected = self._order(wanted)
            self._booter.await_back()
            with self._open() as held:
                facts = held.welcome["facts"]
                self._ledger.facts = facts
                proof = prove(expected, self._booter.boot_id, facts)
        finally:
            self._booter.clean_up()
        self._proved(wanted)
        self._talk.running = Running(booted, session.index, proof.boot_id, proof.to_json())
        self._emit(
            "booted", session=session.index, kernel=booted.kernel, boot=booted.boot, proof=proof.to_json(),
            took_s=round(self._booter.took_s, 1),
        )  # fmt: skip

    def _return(self) -> Proof:
        with self._open() as held:
            held.client.acquire(boot_times.patience_s(self._target) + _LEASE_SLACK_S, Deadline.after(ANSWER_S))
            held.client.bye(Deadline.after(ANSWER_S))
        wanted = self._wanted(Booted())
        expected = self._order(wanted)
        came = True
        try:
            self._booter.await_back()
        except NotBack:
            came = False
            if not power.can_cycle(self._target):
                raise
        with self._open() as held:
            proof = prove(expected, self._booter.boot_id, held.welcome["facts"])
            token = held.client.acquire(_LEASE_SLACK_S, Deadline.after(ANSWER_S))
            held.client.release(token, Deadline.after(ANSWER_S))
            held.client.bye(Deadline.after(ANSWER_S))
        self._ours = False
        if came:
            self._proved(wanted)
        return proof

    def _order(self, wanted: Wanted) -> Expected:
        self._booter.patience_s = boot_times.patience_s(self._target)
        self._ours = self._ours or not wanted.is_default
        expected = self._booter.order(wanted)
        self._installed.add(wanted.kernel.name)
        return expected

    def _proved(self, wanted: Wanted) -> None:
        self._ours = not wanted.is_default
        boot_times.add(self._target, self._booter.took_s, by_itself=wanted.is_default)

    def _open(self) -> Any:
        return open_session(self._target, self._execution.owner(self._target.name), self._pause)

    def _pause(self, seconds: float) -> bool:
        """On the way back to its own kernel a target is waited for, unless somebody wants the end at once."""
        if not self._returning:
            return self._stop.wait(seconds)
        waited = Deadline.after(seconds)
        while not self._stop.at_once and not waited.expired:
            time.sleep(min(_TICK_S, waited.remaining()))
        return self._stop.at_once

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
            with self._open():
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
