# SPDX-License-Identifier: Apache-2.0
"""The boots of a lane: before each session the one that it asks for, proved; and at the end back to the machine's own.

A boot that fails is tried again as often as ``retry: infrastructure`` says, for each kernel and boot profile once over
the lane; its session's runs are then failed attempts of the infrastructure, with the reason, and the lane goes on with
the next session. Wrong parameters are not tried again: nothing would be different.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ..config.inventory import Target
from ..config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL
from ..deadline import Deadline
from ..errors import ConnectionLost, EnvironmentFault, IsolbenchError, StorageFull, Unreachable, UserError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target import power
from ..target.booting import MARK, Booter, Wanted
from ..target.client import Corrupt
from ..target.cmdline import still_there
from ..target.hands import Hands
from ..target.proof import BootFailed, Expected, NotBack, Proof, WrongParameters, prove, told_by
from ..target.session import Session, open_session
from ..target.transport import Transport, Waiting
from . import boot_times
from .conversation import ANSWER_S, Conversation, boottime_s
from .execution import Execution, Stop
from .ledger import Emit, Ledger
from .running import Running

#: A lease outlives the boot that it is kept for by this many seconds: connecting, arming, connecting again.
_LEASE_SLACK_S = 60.0
#: What has to be installed before it is booted takes longer: sent, unpacked, its initial RAM disk made.
_INSTALL_S = 900.0
#: A power switch is left alone for so long before our lease may end: somebody else may be there afterwards.
_LEASE_MARGIN_S = 30.0


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
        self._facts: Mapping[str, Any] = {}  # of the last session that was opened
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
        ours = self._ours or (running is not None and not running.is_default)
        return self._execution.plan.boots and ours  # who asks for no boots measures what runs

    @contextmanager
    def session(self, waiting: Waiting | None = None) -> Iterator[Session]:
        """The session that the last boot was proved over, if it is open yet; else a new one."""
        held, self._held = self._held, None
        if held is None:
            with self._open(waiting=waiting) as new:
                self._see(new)
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
        hands = self._hands(session)
        with ExitStack() as stack:
            while not self._stop:
                try:
                    self._once(planned, planned.booted, hands)
                    return
                except (BootFailed, ConnectionLost, Corrupt, EnvironmentFault, StorageFull, UserError) as error:
                    if self._stop or not self._again(planned, planned.booted, error):
                        return
                hands = self._hands(stack.enter_context(self.session()))

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

    @property
    def may_be_away(self) -> bool:
        """Whether a boot of ours may have been left running by whoever carried this lane out before."""
        lane = self._execution.lane(self._target.name) if self._execution.plan.boots else {}
        found = Running.from_json(lane.get("boot")).booted
        return bool(lane) and (found is None or not found.is_default)

    @property
    def left(self) -> str | None:
        """The boot of ours that may run on, where the target could not be sent back."""
        return str(self._talk.running.booted or "a boot of ours") if self._away else None

    def back(self, leased: Session | None = None) -> None:
        """At the end of a lane: the machine boots what it boots by itself, if it does not run that already; proved.

        It is leased meanwhile: nobody else begins on it in between. ``leased``: a session over which it is already.
        Who asks for an end waits for this too; the second signal ends the process.
        """
        if not self._away:
            self._note_home()
            return
        if self._stop:
            self._emit("going-back", message=self._stop.reason)
        self._returning = True
        try:
            if leased is not None:
                try:
                    self._return(leased)
                    return
                except ConnectionLost as error:
                    self._emit("connection-lost", message=str(error), retry_in_s=0)
            # Asked to stop while it was booting: who is not there yet cannot be sent back.
            with self._open(self._await_back()) if self._ordered else self.session() as session:
                if not self._see(session):
                    self._note_home()
                    return
                lease_s = boot_times.patience_s(self._target) + _LEASE_SLACK_S
                self._talk.token = session.client.acquire(lease_s, Deadline.after(ANSWER_S))
                session.client.bye(Deadline.after(ANSWER_S))
                self._return(session)
        except IsolbenchError as error:
            self.leave(error)
        finally:
            self._clean_up()

    def leave(self, error: IsolbenchError) -> None:
        """Tell that a boot of ours may run on, and why."""
        if self._away:
            booted = self._talk.running.booted or Booted()
            self._emit("left-booted", kernel=booted.kernel, boot=booted.boot, message=str(error))

    def rescue_in_s(self, error: IsolbenchError) -> float | None:
        """In how many seconds the power of a target that was lost in mid-session may be switched; None: not at all.

        Where it may be booted it may be switched off as well; as often as a run is tried again. But not while it may be
        measuring, and we alone be cut off; nor once somebody else may have leased it.
        """
        plan = self._execution.plan
        if not isinstance(error, Unreachable) or not plan.boots or not power.can_cycle(self._target):
            return None
        if self._rescued >= plan.campaign.retry.infrastructure or self._talk.batch_ends_s is None:
            return None
        now = boottime_s()
        if max(now, self._talk.batch_ends_s) > self._talk.leased_until_s - _LEASE_MARGIN_S:
            return None
        return max(0.0, self._talk.batch_ends_s - now)

    def rescue(self, error: IsolbenchError) -> None:
        """Switch the power of a target that was lost in mid-session and stays away. Raises ``error`` if that fails."""
        self._rescued += 1
        try:
            power.cycle(self._target)
        except IsolbenchError as failed:
            self._emit("power-failed", message=str(failed))
            raise error from None
        self._emit("power-cycled", message=str(error))
        self._talk.running = Running()
        self._ours = False

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
                    expected = self._order(wanted, self._hands(there))
            session = self._arrive()
            facts = session.welcome["facts"]
            if self._booter.hung is not None:
                raise self._booter.hung
            self._ledger.facts = facts
            proof = prove(expected, self._booter.boot_id, facts)
        finally:
            if not self._ordered:  # else it is waited for on the way back, and may yet be reading it
                self._clean_up()
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
            self._see(session)
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

    def _return(self, session: Session) -> None:
        with self._home(self._hands(session)) as (there, proof):
            self._talk.running = Running(Booted(), 0, proof.boot_id, proof.to_json())
            self._emit("booted-back", proof=proof.to_json())
            self._see(there)
            self._note_home()
            token = there.client.acquire(_LEASE_SLACK_S, Deadline.after(ANSWER_S))
            there.client.release(token, Deadline.after(ANSWER_S))
            there.client.bye(Deadline.after(ANSWER_S))

    def _note_home(self) -> None:
        """Into lanes/<target>.json that nothing of ours runs, as it was seen: who resumes need not look."""
        name = self._target.name
        if not self._facts or not self.may_be_away:
            return
        home = Running(Booted(), 0, str(self._facts.get("boot_id")), self._talk.running.proof)
        document = {key: value for key, value in self._execution.lane(name).items() if key != "schema"}
        try:
            self._execution.write_lane(name, {**document, "boot": home.to_json()})
        except IsolbenchError as error:
            self._emit("note-lost", message=str(error))

    def _hands(self, session: Session) -> Hands:
        """Of ``session``, acting under the lease that this lane holds."""
        return session.hands.under(self._talk.token, str(session.welcome.get("state_dir")))

    def _see(self, session: Session) -> bool:
        """Whether a boot of ours runs: its command line says so, or else its boot id."""
        self._facts = facts = session.welcome.get("facts") or {}
        running = self._talk.running
        if facts.get("boot_id") != running.boot_id:
            self._talk.running = Running()  # it booted meanwhile
        self._ours = bool(still_there(str((facts.get("kernel") or {}).get("cmdline")), (MARK,)))
        return self._away

    def _order(self, wanted: Wanted, hands: Hands) -> Expected:
        self._booter.patience_s = boot_times.patience_s(self._target)
        self._booter.keep_s = self._booter.patience_s + _LEASE_SLACK_S
        self._booter.left = False
        try:
            expected = self._booter.order(wanted, hands)
        finally:
            self._ordered = self._booter.left
            self._ours = self._ours or (self._ordered and not wanted.is_default)
        self._installed.add(wanted.kernel.name)
        return expected

    def _await_back(self) -> Transport:
        try:
            transport = self._booter.await_back()
        except NotBack:
            self._ordered = bool(self._stop) and not self._returning  # not waited for to its end
            raise
        self._ordered = False
        return transport

    def _clean_up(self) -> None:
        """What the controller put somewhere for a boot is of no use any more; that it stays is no reason to fail."""
        try:
            self._booter.clean_up()
        except IsolbenchError as error:
            self._emit("note-lost", message=str(error))

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
        """On the way back to its own kernel a target is waited for, whoever wants an end: see :meth:`back`."""
        if not self._returning:
            return self._stop.wait(seconds)
        time.sleep(seconds)
        return False

    def _wanted(self, booted: Booted) -> Wanted:
        plan = self._execution.plan
        kernels, profiles = dict(plan.kernels), dict(plan.profiles)
        kernel = kernels.get(booted.kernel) or BUILT_IN_KERNEL
        return Wanted(
            kernel, booted.boot, profiles.get(booted.boot) or BUILT_IN_BOOT, plan.hashes.get(booted.kernel, {})
        )

    def _may_try_again(self, error: IsolbenchError, booted: Booted) -> bool:
        if not isinstance(error, BootFailed | ConnectionLost | Corrupt) or isinstance(error, WrongParameters):
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
