# SPDX-License-Identifier: Apache-2.0
"""The boots of a lane: before each session the one that it asks for, proved.

A boot that fails is tried again as often as ``retry: infrastructure`` says, for each kernel and boot profile once over
the lane; its session's runs are then failed attempts of the infrastructure, with the reason, and the lane goes on with
the next session. Wrong parameters are not tried again: nothing would be different.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from ..errors import ConnectionLost, EnvironmentFault, IsolbenchError, StorageFull, UserError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target.client import Corrupt
from ..target.hands import Hands
from ..target.proof import BootFailed, NotBack, WrongParameters, prove, told_by
from ..target.session import Session
from .conversation import Conversation
from .execution import Stop
from .ledger import Emit, Ledger
from .running import Running
from .sender import Sender


class Boots:
    """Boots a target for the sessions of its lane; a boot that fails is tried again ``retries`` times."""

    def __init__(
        self, sender: Sender, talk: Conversation, ledger: Ledger, stop: Stop, emit: Emit, retries: int
    ) -> None:
        self._sender = sender
        self._talk = talk
        self._ledger = ledger
        self._stop = stop
        self._emit = emit
        self._retries = retries
        self._failed: Counter[Booted] = Counter()

    def boot(self, planned: PlannedSession, session: Session) -> None:
        """Have what ``planned`` asks for booted and proved; where that cannot be, its runs are failed attempts.

        ``session`` is open, and of no use afterwards: :meth:`Sender.session` has the next one. Raises NotBack of a
        machine that is gone for good.
        """
        assert planned.booted is not None
        hands = self._sender.hands(session)
        with ExitStack() as stack:
            while not self._stop:
                try:
                    self._once(planned, planned.booted, hands)
                    return
                except (BootFailed, ConnectionLost, Corrupt, EnvironmentFault, StorageFull, UserError) as error:
                    if self._stop or not self._again(planned, planned.booted, error):
                        return
                hands = self._sender.hands(stack.enter_context(self._sender.session()))

    def _again(self, planned: PlannedSession, booted: Booted, error: IsolbenchError) -> bool:
        """Whether a boot that failed is tried again; if not, what it was for has failed. Raises what is for good."""
        self._failed[booted] += 1
        again = self._may_try_again(error, booted)
        gone = isinstance(error, NotBack) and not self._sender.met
        message = told_by(error, self._sender.booter.console_end()) if isinstance(error, BootFailed) else str(error)
        self._emit(
            "boot-failed", kernel=booted.kernel, boot=booted.boot, session=planned.index, message=message,
            retried=again and not gone,
        )  # fmt: skip
        if gone or not again:
            self._give_up(planned, message)
        if gone:
            raise error
        return again

    def _once(self, planned: PlannedSession, booted: Booted, hands: Hands) -> None:
        wanted = self._sender.wanted(booted)
        try:
            try:
                expected = self._sender.order(wanted, hands)
            except EnvironmentFault as error:
                if not self._sender.booter.from_ours:
                    raise
                # A kernel of ours may lack what it takes to boot another one: kexec, a file system.
                self._emit("booting-home-first", kernel=booted.kernel, boot=booted.boot, message=str(error))
                with self._sender.home(hands) as (there, _):
                    expected = self._sender.order(wanted, self._sender.hands(there))
            session = self._sender.arrive()
            facts = session.welcome["facts"]
            if self._sender.booter.hung is not None:
                raise self._sender.booter.hung
            self._ledger.facts = facts
            proof = prove(expected, self._sender.booter.boot_id, facts)
        finally:
            if not self._sender.ordered:  # else it is waited for on the way back, and may yet be reading it
                self._sender.clean_up()
        self._sender.proved(wanted)
        self._talk.running = Running(booted, planned.index, proof.boot_id, proof.to_json())
        self._emit(
            "booted", session=planned.index, kernel=booted.kernel, boot=booted.boot, proof=proof.to_json(),
            took_s=round(self._sender.booter.took_s, 1),
        )  # fmt: skip

    def _may_try_again(self, error: IsolbenchError, booted: Booted) -> bool:
        if not isinstance(error, BootFailed | ConnectionLost | Corrupt) or isinstance(error, WrongParameters):
            return False
        return self._failed[booted] <= self._retries

    def _give_up(self, session: PlannedSession, why: str) -> None:
        assert session.booted is not None
        reason = f"boot of {session.booted}: {why}"
        for cell, repeat in session.runs:
            run = f"{cell.id}-r{repeat}"
            self._ledger.begin(run)
            self._ledger.fail(
                run, reason, "infrastructure", final=True, log=(self._sender.booter.console_end() or "").encode()
            )
