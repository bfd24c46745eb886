# SPDX-License-Identifier: Apache-2.0
"""One target's share of an execution: connect, talk to its agent until nothing is left, and again after a loss.

A lane can be started, killed and started again at any moment. The agent measures whether we listen or not; a lost
connection costs time, never a run.
"""

from __future__ import annotations

import time
import traceback
from typing import Any

from ..config.inventory import Target
from ..errors import (
    BoardDown,
    Bug,
    ConnectionLost,
    EnvironmentFault,
    HostKeyError,
    IsolbenchError,
    Unreachable,
    UserError,
)
from ..store.files import BrokenResult
from ..store.runs import load_run
from ..target.proof import NotBack
from ..target.transport import AuthenticationFailed
from .boots import Boots
from .conversation import Conversation
from .events import EventLog, now
from .execution import Execution, Stop
from .ledger import Ledger
from .machines import Machines
from .outcome import LaneOutcome

#: Waits before another try to connect; the last is repeated.
BACK_OFF_S = (2.0, 4.0, 8.0, 10.0)
#: A target that we have met and that answers no more may be booting: for this long, the tries are not counted.
AWAY_S = 180.0


class Lane:
    """Carries out the runs of ``target``. Used once."""

    def __init__(self, execution: Execution, target: Target, machines: Machines, events: EventLog, stop: Stop) -> None:
        self.target = target
        self._execution = execution
        self._events = events
        self._stop = stop
        self._ledger = Ledger(execution, target.name, self._emit)
        self._met = False  # the target answered in this carrying-out: it is there, and lets us in
        self._talk = Conversation(execution, target, machines, self._ledger, stop, self._emit)
        self._boots = Boots(execution, target, self._talk, self._ledger, stop, self._emit)
        self._allowed_losses = execution.plan.campaign.retry.infrastructure

    def carry_out(self) -> LaneOutcome:
        """Never raises: what goes wrong here is this lane's failure, and no other's."""
        failure: IsolbenchError | None = None
        try:
            with self._execution.locked(self.target.name):
                failure = self._with_lock()
        except IsolbenchError as error:
            failure = error
        outcome = lane_outcome(
            self._execution, self.target.name, failed=len(self._ledger.given_up), failure=failure,
            stopped=self._stop.reason if self._stop else None, left_measuring=self._talk.handed_over,
            left_booted=self._boots.left,
        )  # fmt: skip
        self._emit(
            "lane-finished", finished=outcome.finished, planned=outcome.planned, failed=outcome.failed,
            unsupported=outcome.unsupported, failure=outcome.failure, stopped=outcome.stopped,
        )  # fmt: skip
        return outcome

    def _with_lock(self) -> IsolbenchError | None:
        try:
            self._ledger.read()
            self._emit("lane-started", planned=len(self._ledger.wanted), finished=len(self._ledger.finished))
            if not self._ledger.complete or self._boots.may_be_away:
                self._until_done()
        except IsolbenchError as error:
            self._note_failure(error)
            if isinstance(error, Unreachable | NotBack):
                self._boots.leave(error)
            else:
                self._boots.back()
            return error
        except Exception as error:
            self._emit("bug", traceback=traceback.format_exc())
            bug = Bug(f"{type(error).__name__}: {error}", advice="please report it, with events.jsonl")
            self._note_failure(bug)
            self._boots.leave(bug)
            return bug
        finally:
            self._boots.close()
        return None

    # -- connections ------------------------------------------------------------------------------------------------

    def _until_done(self) -> None:
        """Conversations with the agent until nothing is left; a broken one is followed by another, with patience."""
        losses = 0
        away_since: float | None = None
        patience_s = max(AWAY_S, self.target.boot_timeout or 0.0)
        while self._talk.handed_over or not self._stop:
            settled, asked = self._ledger.settled, bool(self._stop)
            try:
                with self._boots.session(self._waiting) as session:
                    self._met, away_since = True, None
                    self._emit("connected", notes=list(session.contact.notes))
                    wanted = self._talk.hold(session, self._boots.lease_s)
                    if wanted is None:
                        self._boots.back(session)
                        return
                    self._boots.boot(wanted, session)
                continue
            except BoardDown as error:  # it does not come by itself: nothing to wait for
                self._talk.lost(error)
                raise
            except (ConnectionLost, Unreachable) as error:
                losses = 1 if self._ledger.settled > settled else losses + 1
                # Connecting has a patience of its own: a target that never answered is not waited for twice over.
                lasting = isinstance(error, AuthenticationFailed) or (isinstance(error, Unreachable) and not self._met)
                recall = self._talk.handed_over and bool(self._stop)  # once, however few retries there are
                away_since = away_since or time.monotonic()
                away = isinstance(error, Unreachable) and time.monotonic() - away_since < patience_s
                booting = away and self._allowed_losses > 0
                if lasting or asked or (losses > self._allowed_losses and not recall and not booting):
                    rescue_s = None if lasting or asked else self._boots.rescue_in_s(error)
                    if rescue_s is None:
                        raise
                    if rescue_s == 0:
                        self._boots.rescue(error)
                        losses, away_since = 1, None
                wait_s = BACK_OFF_S[min(losses, len(BACK_OFF_S)) - 1]
                self._emit("connection-lost", message=str(error), retry_in_s=wait_s)
                self._stop.wait(wait_s)
        self._boots.back()

    def _waiting(self, message: str, seconds: float) -> None:
        self._emit("waiting", message=message, retry_in_s=round(seconds, 1))

    # -- what is known ----------------------------------------------------------------------------------------------

    def _note_failure(self, error: IsolbenchError) -> None:
        """Into lanes/<target>.json, where the report finds it. A full disk here must not hide the first error."""
        document = {key: value for key, value in self._execution.lane(self.target.name).items() if key != "schema"}
        document["failure"] = {"fault": error.fault, "message": str(error), "advice": error.advice, "at": now()}
        document["failure"]["lasting"] = lasts(error)
        try:
            self._execution.write_lane(self.target.name, document)
        except IsolbenchError as second:
            self._emit("note-lost", message=str(second))

    def _emit(self, kind: str, /, **fields: Any) -> None:
        self._events.emit(kind, target=self.target.name, **fields)


def lane_outcome(
    execution: Execution,
    target: str,
    *,
    failed: int = 0,
    failure: IsolbenchError | None = None,
    stopped: str | None = None,
    left_measuring: bool = False,
    left_booted: str | None = None,
) -> LaneOutcome:
    """Count what lies in the folder. Unsupported cells are not planned; before a contact everything is."""
    refused = {str(entry.get("cell")) for entry in execution.lane(target).get("unsupported") or []}
    planned = {run for run in execution.run_names[target] if run.rpartition("-r")[0] not in refused}
    finished = execution.finished(target) & planned
    states: list[str] = []
    for run in finished:
        try:
            states.append(load_run(execution.path / "runs" / target / run).state)
        except BrokenResult:
            continue  # readers name it; here it only does not count
    return LaneOutcome(
        target=target,
        planned=len(planned),
        finished=len(finished),
        usable=len(states) - states.count("invalid"),
        valid=states.count("valid"),
        failed=failed,
        unsupported=len(refused),
        failure=None if failure is None else str(failure),
        advice=None if failure is None else failure.advice,
        fault=None if failure is None else failure.fault,
        stopped=stopped,
        left_measuring=left_measuring,
        left_booted=left_booted,
        lasting=failure is not None and lasts(failure),
    )


def lasts(error: IsolbenchError) -> bool:
    """Whether it would come again, however often it is tried, until somebody corrects what it names."""
    return isinstance(error, UserError | EnvironmentFault | HostKeyError | AuthenticationFailed | BoardDown)
