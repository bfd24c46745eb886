# SPDX-License-Identifier: Apache-2.0
"""Sending a lane's target into a boot and meeting it again: one boot at a time, and what is known of what it runs.

Here nothing is decided: :mod:`.boots` says what is booted for which session, :mod:`.way_back` when it is sent home.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ..config.inventory import Target
from ..config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL
from ..errors import IsolbenchError
from ..plan import Booted
from ..plan import Session as PlannedSession
from ..target.booting import Booter, Wanted
from ..target.cmdline import of_ours
from ..target.hands import Hands
from ..target.proof import Expected, NotBack, Proof, prove
from ..target.session import Session, open_session
from ..target.transport import Transport, Waiting
from . import boot_times
from .conversation import Conversation
from .execution import Execution, Stop
from .ledger import Emit
from .running import Running

#: A lease outlives the boot that it is kept for by this many seconds: connecting, arming, connecting again.
LEASE_SLACK_S = 60.0
#: What has to be installed before it is booted takes longer: sent, unpacked, its initial RAM disk made.
_INSTALL_S = 900.0


class Sender:
    """Sends ``target`` away and meets it again.

    ``facts`` are those of the last session that was opened. ``returning`` is set on the way back: a target is then
    waited for, whoever wants an end. ``ordered``: a boot was, and was not waited for to its end.
    """

    def __init__(self, execution: Execution, target: Target, talk: Conversation, stop: Stop, emit: Emit) -> None:
        self._execution = execution
        self._target = target
        self._talk = talk
        self._stop = stop
        self._emit = emit
        self.booter = Booter(target, emit, self._pause)
        self.facts: Mapping[str, Any] = {}
        self.returning = False
        self.ordered = False
        self._installed: set[str] = set()  # kernels that were seen to be there
        self._ours = False  # what it runs may be a boot of ours
        self._held: tuple[ExitStack, Session] | None = None

    # -- what runs

    @property
    def away(self) -> bool:
        """Whether a boot of ours may run."""
        running = self._talk.running.booted
        ours = self._ours or (running is not None and not running.is_default)
        return self._execution.plan.boots and ours  # who asks for no boots measures what runs

    def see(self, session: Session) -> bool:
        """Whether a boot of ours runs: its command line says so, or else its boot id."""
        self.facts = facts = session.welcome.get("facts") or {}
        if facts.get("boot_id") != self._talk.running.boot_id:
            self._talk.running = Running()  # it booted meanwhile
        self._ours = of_ours(str((facts.get("kernel") or {}).get("cmdline")))
        return self.away

    def switched_off(self) -> None:
        """What ran there ended with its power; what runs now is not known."""
        self._talk.running = Running()
        self._ours = False

    # -- sessions

    def lease_s(self, planned: PlannedSession | None) -> float | None:
        """For how long the target is kept while it boots for ``planned``, or (None) back: None where it need not.

        Who dies meanwhile frees it soon.
        """
        if planned is None:
            return self.keep_s if self.away else None
        assert planned.booted is not None
        kernel = self.wanted(planned.booted).kernel
        there = kernel.name in self._installed or all(each.installed is not None for each in kernel.artefacts.values())
        return self.keep_s if there else self.keep_s + _INSTALL_S

    @property
    def keep_s(self) -> float:
        """For how long the lease is kept for one boot."""
        return boot_times.patience_s(self._target) + LEASE_SLACK_S

    @contextmanager
    def session(self, waiting: Waiting | None = None) -> Iterator[Session]:
        """The session that the last boot was proved over, if it is open yet; else a new one."""
        held, self._held = self._held, None
        if held is None:
            with self._open(waiting=waiting) as new:
                self.see(new)
                yield new
        else:
            with held[0]:
                yield held[1]

    @property
    def met(self) -> bool:
        """Whether the session with what came of the last boot is open yet."""
        return self._held is not None

    def wherever_it_is(self) -> AbstractContextManager[Session]:
        """The session with it; waited for where it is still booting: who is not there yet cannot be sent back."""
        return self._open(self._await_back()) if self.ordered else self.session()

    def hands(self, session: Session) -> Hands:
        """Of ``session``, acting under the lease that this lane holds."""
        return session.hands.under(self._talk.token, str(session.welcome.get("state_dir")))

    def close(self) -> None:
        """Close what is open: nothing more is done here."""
        held, self._held = self._held, None
        if held is not None:
            held[0].close()

    # -- one boot

    def wanted(self, booted: Booted) -> Wanted:
        """What the plan means by the names of ``booted``."""
        plan = self._execution.plan
        kernels, profiles = dict(plan.kernels), dict(plan.profiles)
        kernel = kernels.get(booted.kernel) or BUILT_IN_KERNEL
        return Wanted(
            kernel, booted.boot, profiles.get(booted.boot) or BUILT_IN_BOOT, plan.hashes.get(booted.kernel, {})
        )

    def order(self, wanted: Wanted, hands: Hands) -> Expected:
        """Send it into ``wanted``; what has to run then. Raises what :meth:`Booter.order` does."""
        self.booter.patience_s = boot_times.patience_s(self._target)
        self.booter.keep_s = self.booter.patience_s + LEASE_SLACK_S
        self.booter.left = False
        try:
            expected = self.booter.order(wanted, hands)
        finally:
            self.ordered = self.booter.left
            self._ours = self._ours or (self.ordered and not wanted.is_default)
        self._installed.add(wanted.kernel.name)
        return expected

    def arrive(self) -> Session:
        """The session with what comes of a boot: open, and held until somebody asks for one."""
        with ExitStack() as stack:
            session = stack.enter_context(self._open(self._await_back()))
            self.see(session)
            self._held = stack.pop_all(), session
        return session

    def proved(self, wanted: Wanted) -> None:
        """Note that the last boot was that of ``wanted``, and how long it took."""
        self._ours = not wanted.is_default
        if self.booter.hung is None:
            boot_times.add(self._target, self.booter.took_s, by_itself=wanted.is_default)

    @contextmanager
    def home(self, hands: Hands) -> Iterator[tuple[Session, Proof]]:
        """The session with the target as it boots by itself: sent there, and proved."""
        wanted = self.wanted(Booted())
        expected = self.order(wanted, hands)
        with self._open(self._await_back()) as session:
            proof = prove(expected, self.booter.boot_id, session.welcome["facts"])
            self.proved(wanted)
            yield session, proof

    def clean_up(self) -> None:
        """What the controller put somewhere for a boot is of no use any more; that it stays is no reason to fail."""
        try:
            self.booter.clean_up()
        except IsolbenchError as error:
            self._emit("note-lost", message=str(error))

    # -- parts

    def _await_back(self) -> Transport:
        try:
            transport = self.booter.await_back()
        except NotBack:
            self.ordered = bool(self._stop) and not self.returning  # not waited for to its end
            raise
        self.ordered = False
        return transport

    def _open(
        self, transport: Transport | None = None, waiting: Waiting | None = None
    ) -> AbstractContextManager[Session]:
        owner = self._execution.owner(self._target.name)
        return open_session(self._target, owner, self._pause, waiting, transport)

    def _pause(self, seconds: float) -> bool:
        """Wait; whether somebody wants an end, who is not asked on the way back."""
        if not self.returning:
            return self._stop.wait(seconds)
        time.sleep(seconds)
        return False
