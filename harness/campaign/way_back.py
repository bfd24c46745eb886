# SPDX-License-Identifier: Apache-2.0
"""The way back: at the end of a lane its target boots what it boots by itself, if it does not run that already; proved.

It is leased meanwhile: nobody else begins on it in between.
"""

from __future__ import annotations

from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import ConnectionLost, IsolbenchError
from ..plan import Booted
from ..target.session import Session
from .conversation import ANSWER_S, Conversation
from .execution import Execution, Stop
from .ledger import Emit
from .running import Running
from .sender import LEASE_SLACK_S, Sender


class WayBack:
    """Has ``target``, that boots of ours were sent into, run what it boots by itself."""

    def __init__(
        self, sender: Sender, execution: Execution, target: Target, talk: Conversation, stop: Stop, emit: Emit
    ) -> None:
        self._sender = sender
        self._execution = execution
        self._target = target
        self._talk = talk
        self._stop = stop
        self._emit = emit

    @property
    def may_be_away(self) -> bool:
        """Whether a boot of ours may have been left running by whoever carried this lane out before."""
        lane = self._execution.lane(self._target.name) if self._execution.plan.boots else {}
        found = Running.from_json(lane.get("boot")).booted
        return bool(lane) and (found is None or not found.is_default)

    @property
    def left(self) -> str | None:
        """The boot of ours that may run on, where the target could not be sent back."""
        return str(self._talk.running.booted or "a boot of ours") if self._sender.away else None

    def go(self, leased: Session | None = None) -> None:
        """Send it back, if need be. ``leased``: a session over which it is leased already.

        Who asks for an end waits for this too; the second signal ends the process.
        """
        if not self._sender.away:
            self._note_home()
            return
        if self._stop:
            self._emit("going-back", message=self._stop.reason)
        self._sender.returning = True
        try:
            if leased is not None:
                try:
                    self._return(leased)
                    return
                except ConnectionLost as error:
                    self._emit("connection-lost", message=str(error), retry_in_s=0)
            with self._sender.wherever_it_is() as session:
                if not self._sender.see(session):
                    self._note_home()
                    return
                self._talk.token = session.client.acquire(self._sender.keep_s, Deadline.after(ANSWER_S))
                session.client.bye(Deadline.after(ANSWER_S))
                self._return(session)
        except IsolbenchError as error:
            self.leave(error)
        finally:
            self._sender.clean_up()

    def leave(self, error: IsolbenchError) -> None:
        """Tell that a boot of ours may run on, and why."""
        if self._sender.away:
            booted = self._talk.running.booted or Booted()
            self._emit("left-booted", kernel=booted.kernel, boot=booted.boot, message=str(error))

    def _return(self, session: Session) -> None:
        with self._sender.home(self._sender.hands(session)) as (there, proof):
            self._talk.running = Running(Booted(), 0, proof.boot_id, proof.to_json())
            self._emit("booted-back", proof=proof.to_json())
            self._sender.see(there)
            self._note_home()
            token = there.client.acquire(LEASE_SLACK_S, Deadline.after(ANSWER_S))
            there.client.release(token, Deadline.after(ANSWER_S))
            there.client.bye(Deadline.after(ANSWER_S))

    def _note_home(self) -> None:
        """Into lanes/<target>.json that nothing of ours runs, as it was seen: who resumes need not look."""
        name = self._target.name
        if not self._sender.facts or not self.may_be_away:
            return
        home = Running(Booted(), 0, str(self._sender.facts.get("boot_id")), self._talk.running.proof)
        document = {key: value for key, value in self._execution.lane(name).items() if key != "schema"}
        try:
            self._execution.write_lane(name, {**document, "boot": home.to_json()})
        except IsolbenchError as error:
            self._emit("note-lost", message=str(error))
