# SPDX-License-Identifier: Apache-2.0
"""One target's share of an execution: connect, deploy, hand over a batch, fetch what finished; again after a loss.

What has to be done is always worked out anew as *plan - runs + what the spool still holds*, so that a lane can be
started, killed and started again at any moment. The agent measures whether we listen or not; a lost connection costs
time, never a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..agent.frames import Frame
from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import Bug, ConnectionLost, InfrastructureFault, IsolbenchError, Unreachable
from ..store.files import BrokenResult
from ..store.record import mapping
from ..store.runs import load_run
from ..target.client import AgentClient, Corrupt, Missing, error_of, split_files
from ..target.session import Session, open_session
from ..target.transport import AuthenticationFailed
from . import facts_cache
from .events import EventLog, now
from .execution import Execution, Stop
from .ledger import Ledger
from .outcome import LaneOutcome
from .work import Work, document_of, longest_s, next_batch, work_out

#: Seconds for an answer that waits for no measurement.
ANSWER_S = 30.0
#: A cancel kills the probe and puts the target back before it is answered.
CANCEL_S = 60.0
#: The agent kills what takes too long; the wire gets this on top.
WIRE_SLACK_S = 30.0
#: The lease outlives the work that is planned by this many seconds.
LEASE_SLACK_S = 300.0
#: Waits before another try to connect; the last is repeated.
BACK_OFF_S = (2.0, 4.0, 8.0, 10.0)
#: A target that we have met and that answers no more may be booting: for this long, the tries are not counted.
AWAY_S = 180.0
#: What an agent tells unasked.
AGENT_EVENTS = ("batch-started", "run-started", "batch-finished")
#: Before the length of the work is known.
_LEASE_AT_FIRST_S = 600.0
#: How often a waiting lane looks up to see whether it was asked to stop.
_TICK_S = 0.2


class Lane:
    """Carries out the runs of ``target``. Used once."""

    def __init__(self, execution: Execution, target: Target, events: EventLog, stop: Stop) -> None:
        self.target = target
        self._execution = execution
        self._events = events
        self._stop = stop
        self._ledger = Ledger(execution, target.name, self._emit)
        self._met = False  # the target answered in this carrying-out: it is there, and lets us in
        self._handed_over = False  # a batch of ours may be under way there
        self._refused: Mapping[str, str] = {}
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
            stopped=self._stop.reason if self._stop else None, left_measuring=self._handed_over,
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
            if not self._ledger.complete:
                self._until_done()
        except IsolbenchError as error:
            self._note_failure(error)
            return error
        except Exception as error:
            self._emit("bug", traceback=traceback.format_exc())
            bug = Bug(f"{type(error).__name__}: {error}", advice="please report it, with events.jsonl")
            self._note_failure(bug)
            return bug
        return None

    # -- connections ------------------------------------------------------------------------------------------------

    def _until_done(self) -> None:
        """Conversations with the agent until nothing is left; a broken one is followed by another, with patience."""
        losses = 0
        away_since: float | None = None
        while self._handed_over or not self._stop:
            settled, asked = self._ledger.settled, bool(self._stop)
            try:
                owner = self._execution.owner(self.target.name)
                with open_session(self.target, owner, self._stop.wait, self._waiting) as session:
                    self._met, away_since = True, None
                    self._emit("connected", notes=list(session.contact.notes))
                    self._converse(session)
                return
            except (ConnectionLost, Unreachable) as error:
                losses = 1 if self._ledger.settled > settled else losses + 1
                # Connecting has a patience of its own: a target that never answered is not waited for twice over.
                lasting = isinstance(error, AuthenticationFailed) or (isinstance(error, Unreachable) and not self._met)
                recall = self._handed_over and bool(self._stop)  # once, however few retries there are
                away_since = away_since or time.monotonic()
                away = isinstance(error, Unreachable) and time.monotonic() - away_since < AWAY_S
                booting = away and self._allowed_losses > 0
                if lasting or asked or (losses > self._allowed_losses and not recall and not booting):
                    raise
                wait_s = BACK_OFF_S[min(losses, len(BACK_OFF_S)) - 1]
                self._emit("connection-lost", message=str(error), retry_in_s=wait_s)
                self._stop.wait(wait_s)

    def _waiting(self, message: str, seconds: float) -> None:
        self._emit("waiting", message=message, retry_in_s=round(seconds, 1))

    def _converse(self, session: Session) -> None:
        client = session.client
        if restored := session.welcome.get("restored"):
            self._emit("restored", what=restored)
        token = client.acquire(_LEASE_AT_FIRST_S, Deadline.after(ANSWER_S))
        try:
            if not self._stop:
                work = self._meet(session)
                self._adopt(client, work)
                while not self._stop:
                    batch = next_batch(self._execution, self.target.name, work, self._ledger, token)
                    if batch is None:
                        break
                    self._send_probes(client, work)
                    lease_s = sum(map(longest_s, batch.runs)) + LEASE_SLACK_S
                    client.renew(token, lease_s, Deadline.after(ANSWER_S))
                    self._handed_over = True
                    client.submit(batch, Deadline.after(ANSWER_S))
                    self._emit("batch-submitted", runs=len(batch.runs), session=batch.session)
                    self._listen(client, work)
        except ConnectionLost:
            raise
        except BaseException:
            # Our own trouble (a full disk here, a bug) must not leave the target measuring for nobody.
            with suppress(InfrastructureFault):
                self._leave(client, token, cancel=True)
            raise
        self._leave(client, token, cancel=bool(self._stop))

    def _leave(self, client: AgentClient, token: int, *, cancel: bool) -> None:
        """Let the target go; ``cancel``: once it is put back, whatever was under way."""
        if cancel:
            if client.cancel(Deadline.after(CANCEL_S)):
                self._emit("cancelled")
            self._handed_over = False
        try:
            if cancel:
                self._collect(client)
        except InfrastructureFault as error:
            self._emit("left", message=str(error))  # what was not fetched waits in the spool
        try:
            client.release(token, Deadline.after(ANSWER_S))
            client.bye(Deadline.after(ANSWER_S))
        except InfrastructureFault as error:
            self._emit("left", message=str(error))

    # -- what there is to do ----------------------------------------------------------------------------------------

    def _meet(self, session: Session) -> Work:
        work = work_out(self._execution, session)
        facts = session.welcome["facts"]
        self._ledger.facts = facts
        facts_cache.remember(self.target, facts)
        self._execution.write_lane(self.target.name, document_of(self._execution, session, work))
        if work.refused != self._refused:
            self._refused = work.refused
            for cell, reason in work.refused.items():
                self._emit("unsupported", cell=cell, reason=reason)
        planned = sum(run.rpartition("-r")[0] not in work.refused for run in self._ledger.wanted)
        self._emit("contacted", cells=len(work.cells), unsupported=len(work.refused), planned=planned)
        return work

    def _send_probes(self, client: AgentClient, work: Work) -> None:
        by_hash = {built.sha256: (name, built) for name, built in work.probes.items()}
        for missing in client.have(sorted(by_hash), Deadline.after(ANSWER_S)):
            name, built = by_hash[missing]
            data = built.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != missing:
                raise Bug(f"{built.path}: changed after it was built")
            client.put(name, data, Deadline.after(ANSWER_S + len(data) / 100_000))

    # -- runs -------------------------------------------------------------------------------------------------------

    def _adopt(self, client: AgentClient, work: Work) -> None:
        """Fetch what finished while nobody listened; if a batch of ours still runs, listen to its end first."""
        while True:
            batch = self._collect(client)
            self._handed_over = batch is not None and batch.get("execution") == self._execution.spool
            if batch is None or not self._handed_over or self._stop:
                return
            self._emit("adopted", runs=len(batch.get("pending") or []))
            self._listen(client, work)

    def _collect(self, client: AgentClient) -> Mapping[str, Any] | None:
        """Fetch all that lies in the spool for us; the batch that is under way on the target, whoever's it is."""
        listing = client.list_runs(self._execution.spool, Deadline.after(ANSWER_S))
        for entry in listing.get("runs") or []:
            run = str(entry.get("run"))
            if run not in self._ledger.wanted:
                self._stray(run)
            elif run in self._ledger.finished:
                self._acknowledge(client, run)
            else:
                self._fetch(client, run)
        batch = listing.get("batch")
        return batch if isinstance(batch, Mapping) else None

    def _listen(self, client: AgentClient, work: Work) -> None:
        """Take what the agent pushes until its batch is finished, the connection breaks or we are asked to stop."""
        patience_s = max(map(longest_s, self._execution.plan.cells_of(self.target.name))) + WIRE_SLACK_S
        patience = Deadline.after(patience_s)
        with _controller_off(work.placement.measured, self.target):
            while not self._stop.at_once:
                frame = client.next(Deadline.after(_TICK_S))
                if frame is None:
                    patience.check("the agent's next run, finished or failed")
                    continue
                patience = Deadline.after(patience_s)
                if frame.type == "run":
                    run = str(frame.head.get("run"))
                    self._receive(run, frame)
                    if self._stop:
                        return  # without a word: the agent, still waiting for it, is told to end before it goes on
                    self._acknowledge(client, run)
                elif frame.type == "event":
                    kind = str(frame.head.get("kind"))
                    self._emit(kind if self._believable(kind, frame.head) else "agent-event", **_plain(frame.head))
                    if kind == "batch-finished":
                        self._handed_over = False
                        self._batch_finished(frame.head)
                        return

    def _believable(self, kind: str, head: Mapping[str, Any]) -> bool:
        """News of a kind that agents tell, about nothing but our own runs: the rest is kept, and not shown as ours."""
        return kind in AGENT_EVENTS and ("run" not in head or str(head["run"]) in self._ledger.wanted)

    def _batch_finished(self, head: Mapping[str, Any]) -> None:
        """What the agent could not put back; and what made it give a batch up would do so again: it is our failure."""
        for left in head.get("restored") or []:
            self._emit("not-restored", what=left)
        stopped = head.get("stopped")
        if isinstance(stopped, Mapping):
            raise error_of(stopped)

    def _fetch(self, client: AgentClient, run: str) -> None:
        try:
            frame = client.fetch(self._execution.spool, run, Deadline.after(ANSWER_S))
        except Missing:
            return  # acknowledged meanwhile
        except Corrupt as error:
            self._ledger.fail(run, f"what the target kept is damaged: {error}", "infrastructure")
        else:
            self._receive(run, frame)
        self._acknowledge(client, run)

    def _receive(self, run: str, frame: Frame) -> None:
        """Store what a run left. What the target's disk or the way here has damaged is a failed attempt."""
        if run not in self._ledger.wanted:
            self._stray(run)
            return
        if run in self._ledger.finished:
            return
        try:
            files = split_files(frame)
            record = mapping(json.loads(files.pop("record.json")), "record.json")
        except (Corrupt, KeyError, ValueError, RecursionError) as error:  # SpecError is a ValueError
            self._ledger.fail(run, f"what the target sent is damaged: {error}", "infrastructure")
        else:
            self._ledger.keep(run, record, files)

    def _acknowledge(self, client: AgentClient, run: str) -> None:
        """It is kept here: the target may forget it. In this order a crash between the two loses nothing."""
        if run in self._ledger.wanted:
            client.ack(self._execution.spool, run, Deadline.after(ANSWER_S))

    def _stray(self, run: str) -> None:
        self._emit("stray-run", run=run, message="spooled for this execution, which does not ask for it: left there")

    # -- what is known ----------------------------------------------------------------------------------------------

    def _note_failure(self, error: IsolbenchError) -> None:
        """Into lanes/<target>.json, where the report finds it. A full disk here must not hide the first error."""
        document = {key: value for key, value in self._execution.lane(self.target.name).items() if key != "schema"}
        document["failure"] = {"fault": error.fault, "message": str(error), "advice": error.advice, "at": now()}
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
) -> LaneOutcome:
    """Count what lies in the folder. Unsupported cells are not planned; before a contact everything is."""
    refused = {str(entry.get("cell")) for entry in execution.lane(target).get("unsupported") or []}
    planned = {run for run in execution.run_names[target] if run.rpartition("-r")[0] not in refused}
    finished = execution.finished(target) & planned
    usable = 0
    for run in finished:
        try:
            usable += load_run(execution.path / "runs" / target / run).state != "invalid"
        except BrokenResult:
            continue  # readers name it; here it only does not count
    return LaneOutcome(
        target=target,
        planned=len(planned),
        finished=len(finished),
        usable=usable,
        failed=failed,
        unsupported=len(refused),
        failure=None if failure is None else str(failure),
        advice=None if failure is None else failure.advice,
        fault=None if failure is None else failure.fault,
        stopped=stopped,
        left_measuring=left_measuring,
    )


def _plain(head: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's event without what the event log says itself. Its values are the target's, and stay data."""
    return {str(key): value for key, value in head.items() if key not in ("t", "kind", "target", "at", "id", "size")}


@contextmanager
def _controller_off(measured: Sequence[int], target: Target) -> Iterator[None]:
    """While this machine measures itself, keep the controller's own threads off the measured CPU."""
    if not target.local:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        _move_all(before - set(measured) or before)
        yield
    finally:
        _move_all(before)


def _move_all(cpus: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # a thread that ended meanwhile
            os.sched_setaffinity(int(thread), cpus)
