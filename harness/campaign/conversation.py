# SPDX-License-Identifier: Apache-2.0
"""What a lane says to its target's agent: lease, probes, batches, what finished and what was left there.

What has to be done is always worked out anew as *plan - runs + what the spool still holds*, so that a conversation can
break off at any moment, and the next one goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..agent.frames import Frame
from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import Bug, Busy, ConnectionLost, InfrastructureFault
from ..plan import Session as PlannedSession
from ..store.record import mapping
from ..target.client import AgentClient, Corrupt, Missing, error_of, split_files
from ..target.session import Session
from . import facts_cache
from .execution import Execution, Stop
from .ledger import Emit, Ledger
from .machines import Machines, OneMachine
from .running import Running
from .under_way import UnderWay
from .work import Work, batch_of, document_of, longest_s, next_session, work_out

#: Seconds for an answer that waits for no measurement.
ANSWER_S = 30.0
#: A cancel kills the probe and puts the target back before it is answered.
CANCEL_S = 60.0
#: The agent kills what takes too long; the wire gets this on top.
WIRE_SLACK_S = 30.0
#: The lease outlives the work that is planned by this many seconds.
LEASE_SLACK_S = 300.0
#: What an agent tells unasked.
AGENT_EVENTS = ("batch-started", "run-started", "batch-finished")
#: A batch may take so many seconds longer than it is planned for.
BATCH_SLACK_S = 60.0
#: Before the length of the work is known.
_LEASE_AT_FIRST_S = 600.0
#: How often a waiting lane looks up to see whether it was asked to stop.
_TICK_S = 0.2


class Conversation:
    """Holds one session after the other with the agent of ``target``, until the ledger is complete.

    ``handed_over``: a batch of ours may be under way there. ``token`` is our lease's, which lasts till
    ``leased_until_s``; ``batch_ends_s`` is when the last batch that was handed over should be done, and some (both by
    this machine's CLOCK_BOOTTIME; None: there was none).
    """

    def __init__(
        self, execution: Execution, target: Target, machines: Machines, ledger: Ledger, stop: Stop, emit: Emit
    ) -> None:
        self.handed_over = False
        self.token = 0
        self.leased_until_s = 0.0
        self.batch_ends_s: float | None = None
        self._execution = execution
        self._target = target
        self._machines = machines
        self._ledger = ledger
        self._stop = stop
        self._emit = emit
        self._refused: dict[str, str] = {}
        self._under_way = UnderWay(target, ledger)
        self.running = Running()
        lane = execution.lane(target.name) if execution.plan.boots else {}
        if lane:  # another process was here before us, and what it found of other boots still holds
            self._refused = {str(each.get("cell")): str(each.get("reason")) for each in lane.get("unsupported") or []}
            self.running = Running.from_json(lane.get("boot"))

    def hold(
        self, session: Session, boot_lease_s: Callable[[PlannedSession | None], float | None]
    ) -> PlannedSession | None:
        """From the lease to the goodbye: returns when nothing is left to do here, or we are asked to stop.

        If the next runs want another boot than the one that runs, what to boot for them. The lease is kept for a boot,
        that one or (None) the way back, for the time that ``boot_lease_s`` says.

        Raises ConnectionLost where the connection broke: then a batch may go on over there, and another one is held;
        OneMachine where another lane of this execution is carried out on this very machine.
        """
        client = session.client
        if restored := session.welcome.get("restored"):
            self._emit("restored", what=restored)
        token = self.token = self._lease(session)
        booting: PlannedSession | None = None
        try:
            if not self._stop:
                work = self._meet(session)
                self._adopt(client, work)
                self._under_way.met(_boot_id(session))
                while not self._stop:
                    planned = next_session(self._execution, self._target.name, self._ledger, self._refused)
                    if planned is None:
                        break
                    if planned.booted is not None and not self.running.serves(planned):
                        booting = planned
                        break
                    batch = batch_of(self._execution, self._target.name, planned, work, self._ledger, token)
                    self._send_probes(client, work)
                    self._keep_for(client, sum(map(longest_s, batch.runs)))
                    self.handed_over = True
                    self._under_way.submitted(_boot_id(session))
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
        booting = None if self._stop else booting
        self._leave(client, token, cancel=bool(self._stop), keep_s=boot_lease_s(booting))
        return booting

    def lost(self, error: InfrastructureFault) -> None:
        """The target is gone, and does not come back while we are here: so is the run that it was measuring."""
        self._under_way.lost(str(error), final=True)
        self.handed_over = False

    def _lease(self, session: Session) -> int:
        """The lease's token; before that, this lane's claim to the machine."""
        facts = session.welcome.get("facts")
        if isinstance(facts, Mapping):
            self._machines.claim(self._target.name, facts)
        try:
            return session.client.acquire(_LEASE_AT_FIRST_S, Deadline.after(ANSWER_S))
        except Busy as error:  # a lane that another process carries out
            lane = self._execution.lane_of(error.owner)
            if lane is None or lane == self._target.name:
                raise
            raise OneMachine(self._target.name, lane, "it is leased by that lane") from error

    def _leave(self, client: AgentClient, token: int, *, cancel: bool, keep_s: float | None = None) -> None:
        """Let the target go; ``cancel``: once it is put back, whatever was under way. ``keep_s``: it stays leased."""
        if cancel:
            if client.cancel(Deadline.after(CANCEL_S)):
                self._emit("cancelled")
            self.handed_over = False
        try:
            if cancel:
                self._collect(client)
        except InfrastructureFault as error:
            self._emit("left", message=str(error))  # what was not fetched waits in the spool
        try:
            if keep_s is None:
                client.release(token, Deadline.after(ANSWER_S))
            else:
                client.renew(token, keep_s, Deadline.after(ANSWER_S))
            client.bye(Deadline.after(ANSWER_S))
        except InfrastructureFault as error:
            if keep_s is not None and not cancel:
                raise
            self._emit("left", message=str(error))

    def _keep_for(self, client: AgentClient, batch_s: float) -> None:
        """Have the lease outlive a batch that takes ``batch_s`` at most."""
        now = boottime_s()
        client.renew(self.token, batch_s + LEASE_SLACK_S, Deadline.after(ANSWER_S))
        self.leased_until_s = now + batch_s + LEASE_SLACK_S
        self.batch_ends_s = now + batch_s + BATCH_SLACK_S

    # -- what there is to do ----------------------------------------------------------------------------------------

    def _meet(self, session: Session) -> Work:
        facts = session.welcome["facts"]
        if isinstance(facts, Mapping) and facts.get("boot_id") != self.running.boot_id:
            self.running = Running()  # it booted meanwhile, by itself or by somebody else
        work = work_out(self._execution, session, self.running.booted)
        self._ledger.facts, self._ledger.proof = facts, self.running.proof
        if self.running.booted is None or self.running.booted.is_default:
            facts_cache.remember(self._target, facts)
        before = dict(self._refused)
        self._refused.update(work.refused)
        for cell in work.cells:
            self._refused.pop(cell.id, None)
        for cell_id, reason in work.refused.items():
            if before.get(cell_id) != reason:
                self._emit("unsupported", cell=cell_id, reason=reason)
        document = document_of(self._execution, session, work, self._refused, self.running.to_json())
        self._execution.write_lane(self._target.name, document)
        planned = sum(run.rpartition("-r")[0] not in self._refused for run in self._ledger.wanted)
        self._emit("contacted", cells=len(work.cells), unsupported=len(self._refused), planned=planned)
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
            self.handed_over = batch is not None and batch.get("execution") == self._execution.spool
            if batch is None or not self.handed_over or self._stop:
                return
            pending = len(batch.get("pending") or [])
            self._emit("adopted", runs=pending)
            self._keep_for(client, (pending + 1) * self._longest_s)
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
        patience_s = self._longest_s + WIRE_SLACK_S
        patience = Deadline.after(patience_s)
        with _controller_off(work.placement.measured, self._target):
            while not self._stop.at_once:
                frame = client.next(Deadline.after(_TICK_S))
                if frame is None:
                    self._under_way.check()
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
                    if kind == "run-started":
                        self._under_way.started(str(frame.head.get("run")))
                    self._emit(kind if self._believable(kind, frame.head) else "agent-event", **_plain(frame.head))
                    if kind == "batch-finished":
                        self.handed_over = False
                        self._batch_finished(frame.head)
                        return

    @property
    def _longest_s(self) -> float:
        return max(map(longest_s, self._execution.plan.cells_of(self._target.name)))

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
        self._under_way.received(run)
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


def boottime_s() -> float:
    """This machine's CLOCK_BOOTTIME: leases end by the target's, and a suspend counts in both."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id(session: Session) -> object:
    facts = session.welcome.get("facts")
    return facts.get("boot_id") if isinstance(facts, Mapping) else None


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
