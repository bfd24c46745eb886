# SPDX-License-Identifier: Apache-2.0
"""The boots of a lane: before each session the one that it asks for, proved; and at the end back to the machine's own.

A boot that fails is tried again as often as ``retry: infrastructure`` says, for each kernel and boot profile once over
the lane; its session's runs are then failed attempts of the infrastructure, with the reason, and the lane goes on with
the next session. Wrong parameters are not tried again: nothing would be different.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from ..config.inventory import Target
from ..config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL
from ..deadline import Deadline
from ..errors import EnvironmentFault, InfrastructureFault, IsolbenchError, StorageFull, UserError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target import power
from ..target.booting import MARK, Booter, Wanted
from ..target.cmdline import still_there
from ..target.hands import Hands
from ..target.proof import BootFailed, Expected, NotBack, Proof, WrongParameters, prove, told_by
from ..target.session import Session, open_session
from ..target.transport import Transport, Waiting
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
        self._rescued = 0
        self._ordered = False  # a boot was, and was not waited for to its end
        self._held: tuple[ExitStack, Session] | None = None

    def lease_s(self, planned: PlannedSession | None) -> float | None:
        """For how long the target is kept while it boots for ``planned``, or (None) back: None where it need not.

        Who dies meanwhile frees it soon.
        """
        seconds = boot_times.patience_s(self._target) + _LEASE_SLACK_S
        if planned is None:
            return seconds if self._away else None
        assert planned.booted is not None
        kernel = self._wanted(planned.booted).kernel
        there = kernel.name in self._installed or all(each.installed is not None for each in kernel.artefacts.values())
        return seconds if there else seconds + _INSTALL_S

    @property
    def _away(self) -> bool:
        """Whether a boot of ours may run."""
        running = self._talk.running.booted
        return self._ours or (running is not None and not running.is_default)

    @contextmanager
    def session(self, waiting: Waiting | None = None) -> Iterator[Session]:
        """The session that the last boot was proved over, if it is open yet; else a new one."""
        held, self._held = self._held, None
        if held is None:
            with self._open(waiting=waiting) as new:
                yield new
        else:
            with held[0]:
                yield held[1]

    def boot(self, planned: PlannedSession, session: Session) -> None:
        """Have what ``planned`` asks for booted and proved; where that cannot be, its runs are failed attempts.

        ``session`` is open, and of no use afterwards: :meth:`session` has the next one. Raises NotBack of a machine
        that is gone for good.
        """
        assert planned.booted is not None
        hands = session.hands
        with ExitStack() as stack:
            while not self._stop:
                try:
                    self._once(planned, planned.booted, hands)
                    return
                except (BootFailed, EnvironmentFault, StorageFull, UserError) as error:
                    if self._stop or not self._again(planned, planned.booted, error):
                        return
                hands = stack.enter_context(self.session()).hands

    def _again(self, planned: PlannedSession, booted: Booted, error: IsolbenchError) -> bool:
        """Whether a boot that failed is tried again; if not, what it was for has failed. Raises what is for good."""
        self._failed[booted] += 1
        again = self._may_try_again(error, booted)
        gone = isinstance(error, NotBack) and self._held is None
        message = told_by(error, self._booter.console_end()) if isinstance(error, BootFailed) else str(error)
        self._emit(
            "boot-failed", kernel=booted.kernel, boot=booted.boot, session=planned.index, message=message,
            retried=again and not gone,
        )  # fmt: skip
        if gone or not again:
            self._give_up(planned, message)
        if gone:
            raise error
        return again

    def back(self, leased: Session | None = None) -> None:
        """At the end of a lane: the machine boots what it boots by itself, if it does not run that already; proved.

        It is leased meanwhile: nobody else begins on it in between. ``leased``: a session over which it is already.
        """
        if not self._away or self._stop.at_once:
            return
        self._returning = True
        try:
            if leased is not None:
                proof = self._return(leased)
            else:
                # Asked to stop while it was booting: who is not there yet cannot be sent back.
                with self._open(self._await_back()) if self._ordered else self.session() as session:
                    lease_s = boot_times.patience_s(self._target) + _LEASE_SLACK_S
                    session.client.acquire(lease_s, Deadline.after(ANSWER_S))
                    session.client.bye(Deadline.after(ANSWER_S))
                    proof = self._return(session)
            self._talk.running = Running()
            self._emit("booted-back", proof=proof.to_json())
        except IsolbenchError as error:
            booted = self._talk.running.booted or Booted()
            self._emit("left-booted", kernel=booted.kernel, boot=booted.boot, message=str(error))

    def rescue(self, error: InfrastructureFault) -> bool:
        """Switch the power of a target that was lost in mid-session and stays away; whether that was done.

        Where it may be booted it may be switched off as well; as often as a run is tried again.
        """
        plan = self._execution.plan
        if not plan.boots or not power.can_cycle(self._target) or self._rescued >= plan.campaign.retry.infrastructure:
            return False
        self._rescued += 1
        self._emit("power-cycled", message=str(error))
        power.cycle(self._target)
        self._talk.running = Running()
        self._ours = False
        return True

    def close(self) -> None:
        """Close what is open: nothing more is done here."""
        held, self._held = self._held, None
        if held is not None:
            held[0].close()

    def _once(self, planned: PlannedSession, booted: Booted, hands: Hands) -> None:
        wanted = self._wanted(booted)
        try:
            try:
                expected = self._order(wanted, hands)
            except EnvironmentFault as error:
                if not self._booter.from_ours:
                    raise
                # A kernel of ours may lack what it takes to boot another one: kexec, a file system.
                self._emit("booting-home-first", kernel=booted.kernel, boot=booted.boot, message=str(error))
                with self._home(hands) as (there, _):
                    expected = self._order(wanted, there.hands)
            session = self._arrive()
            facts = session.welcome["facts"]
            self._ours = bool(still_there(str((facts.get("kernel") or {}).get("cmdline")), (MARK,)))
            if self._booter.hung is not None:
                raise self._booter.hung
            self._ledger.facts = facts
            proof = prove(expected, self._booter.boot_id, facts)
        finally:
            self._booter.clean_up()
        self._proved(wanted)
        self._talk.running = Running(booted, planned.index, proof.boot_id, proof.to_json())
        self._emit(
            "booted", session=planned.index, kernel=booted.kernel, boot=booted.boot, proof=proof.to_json(),
            took_s=round(self._booter.took_s, 1),
        )  # fmt: skip

    def _arrive(self) -> Session:
        """The session with what comes of a boot: open, and held until somebody asks for one."""
        with ExitStack() as stack:
            session = stack.enter_context(self._open(self._await_back()))
            self._held = stack.pop_all(), session
        return session

    @contextmanager
    def _home(self, hands: Hands) -> Iterator[tuple[Session, Proof]]:
        """The session with the target as it boots by itself: sent there, and proved."""
        wanted = self._wanted(Booted())
        expected = self._order(wanted, hands)
        with self._open(self._await_back()) as session:
            proof = prove(expected, self._booter.boot_id, session.welcome["facts"])
            self._proved(wanted)
            yield session, proof

    def _return(self, session: Session) -> Proof:
        with self._home(session.hands) as (there, proof):
            token = there.client.acquire(_LEASE_SLACK_S, Deadline.after(ANSWER_S))
            there.client.release(token, Deadline.after(ANSWER_S))
            there.client.bye(Deadline.after(ANSWER_S))
        return proof

    def _order(self, wanted: Wanted, hands: Hands) -> Expected:
        self._booter.patience_s = boot_times.patience_s(self._target)
        self._ours = self._ours or not wanted.is_default
        expected = self._booter.order(wanted, hands)
        self._ordered = True
        self._installed.add(wanted.kernel.name)
        return expected

    def _await_back(self) -> Transport:
        transport = self._booter.await_back()
        self._ordered = False
        return transport

    def _proved(self, wanted: Wanted) -> None:
        self._ours = not wanted.is_default
        if self._booter.hung is None:
            boot_times.add(self._target, self._booter.took_s, by_itself=wanted.is_default)

    def _open(
        self, transport: Transport | None = None, waiting: Waiting | None = None
    ) -> AbstractContextManager[Session]:
        owner = self._execution.owner(self._target.name)
        return open_session(self._target, owner, self._pause, waiting, transport)

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

    def _give_up(self, session: PlannedSession, why: str) -> None:
        assert session.booted is not None
        reason = f"boot of {session.booted}: {why}"
        for cell, repeat in session.runs:
            run = f"{cell.id}-r{repeat}"
            self._ledger.begin(run)
            self._ledger.fail(
                run, reason, "infrastructure", final=True, log=(self._booter.console_end() or "").encode()
            )
