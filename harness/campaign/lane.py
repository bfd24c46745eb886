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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..agent.frames import Frame
from ..agent.spec import FAULTS, Batch, ProbeSpec, RunSpec, SpecError
from ..build import Built, build_probe
from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import Bug, ConnectionLost, InfrastructureFault, IsolbenchError, Unreachable
from ..plan import Cell, Placement, admit, order, place
from ..store.files import BrokenResult
from ..store.record import CorruptTransfer, RunContext
from ..store.runs import load_run, write_attempt, write_run
from ..target.client import AgentClient, Corrupt, Missing, error_of, split_files
from ..target.deploy import agent_zip
from ..target.session import Session, open_session
from ..target.transport import AuthenticationFailed
from . import facts_cache
from .events import EventLog, now
from .execution import Execution, Stop
from .outcome import LaneOutcome

#: Seconds for an answer that waits for no measurement.
ANSWER_S = 30.0
#: A cancel kills the probe and puts the target back before it is answered.
CANCEL_S = 60.0
#: The agent gives a run 10 % or 5 s beyond its time, whichever is more, and kills it; the wire gets this on top.
WIRE_SLACK_S = 30.0
#: The lease outlives the work that is planned by this many seconds.
LEASE_SLACK_S = 300.0
#: Waits before another try to connect; the last is repeated.
BACK_OFF_S = (2.0, 4.0, 8.0, 10.0)
#: Before the length of the work is known.
_LEASE_AT_FIRST_S = 600.0
#: How often a waiting lane looks up to see whether it was asked to stop.
TICK_S = 0.2


@dataclass(frozen=True)
class _Work:
    """What the first contact decided: where to run, and what can run at all."""

    placement: Placement
    cells: tuple[Cell, ...]
    probes: Mapping[str, Built]


@dataclass
class Lane:
    """Carries out the runs of ``target``. Used once; :meth:`carry_out` never raises an :class:`IsolbenchError`."""

    execution: Execution
    target: Target
    events: EventLog
    stop: Stop
    #: Tries per run in this carrying-out, by what went wrong. A resumed execution has its retries again.
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _given_up: set[str] = field(default_factory=set)

    def carry_out(self) -> LaneOutcome:
        self._emit("lane-started", planned=len(self._wanted()), finished=len(self._finished()))
        failure: IsolbenchError | None = None
        try:
            with self.execution.locked(self.target.name):
                self._until_done()
        except IsolbenchError as error:
            failure = error
            self._note_failure(error)
        outcome = self._outcome(failure)
        self._emit(
            "lane-finished", finished=outcome.finished, planned=outcome.planned, failed=outcome.failed,
            unsupported=outcome.unsupported, failure=outcome.failure, stopped=outcome.stopped,
        )  # fmt: skip
        return outcome

    # -- connections ------------------------------------------------------------------------------------------------

    def _until_done(self) -> None:
        """Sessions with the agent until nothing is left; a broken one is followed by another, with patience."""
        tries = 0
        while not self.stop:
            before = len(self._finished()) + len(self._given_up)
            try:
                with open_session(self.target, self.execution.owner(self.target.name)) as session:
                    self._emit("connected", notes=list(session.contact.notes))
                    self._converse(session)
                return
            except (ConnectionLost, Unreachable) as error:
                if isinstance(error, AuthenticationFailed):
                    raise
                if len(self._finished()) + len(self._given_up) > before:
                    tries = 0
                if tries >= self.execution.plan.campaign.retry.infrastructure:
                    raise
                wait_s = BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)]
                tries += 1
                self._emit("connection-lost", message=str(error), retry_in_s=wait_s)
                self.stop.wait(wait_s)

    def _converse(self, session: Session) -> None:
        client = session.client
        if restored := session.welcome.get("restored"):
            self._emit("restored", what=restored)
        token = client.acquire(_LEASE_AT_FIRST_S, Deadline.after(ANSWER_S))
        try:
            work = self._contacted(session)
            self._adopt(client)
            while not self.stop and (batch := self._next_batch(work, token)) is not None:
                self._send_probes(client, work)
                client.renew(token, sum(map(_longest_s, batch.runs)) + LEASE_SLACK_S, Deadline.after(ANSWER_S))
                client.submit(batch, Deadline.after(ANSWER_S))
                self._emit("batch-submitted", runs=len(batch.runs), session=batch.session)
                with _controller_off(work.placement.measured, self.target):
                    self._listen(client)
        except ConnectionLost:
            raise
        except BaseException:
            # Our own trouble (a full disk here, Ctrl-C, a bug) must not leave the target measuring for nobody.
            self._leave(client, token, cancel=True)
            raise
        self._leave(client, token, cancel=bool(self.stop))

    def _leave(self, client: AgentClient, token: int, *, cancel: bool) -> None:
        """Put the target back and let it go. A connection that breaks meanwhile does not matter: it restores itself."""
        try:
            if cancel:
                client.cancel(Deadline.after(CANCEL_S))
                self._emit("cancelled")
                self._adopt(client)
            client.release(token, Deadline.after(ANSWER_S))
            client.bye(Deadline.after(ANSWER_S))
        except InfrastructureFault as error:
            self._emit("left", message=str(error))

    # -- what there is to do ----------------------------------------------------------------------------------------

    def _contacted(self, session: Session) -> _Work:
        """Admission and placement on the facts of this contact, written down for the report and for `plan`."""
        facts = session.welcome["facts"]
        facts_cache.remember(self.target, facts)
        placement = place(facts, self.target)
        cells = self.execution.plan.cells_of(self.target.name)
        refused = {cell.id: reason for cell in cells if (reason := admit(cell, facts, placement)) is not None}
        admitted = tuple(cell for cell in cells if cell.id not in refused)
        arch = facts.get("arch") or session.contact.arch
        names = {self.execution.plan.benches[cell.bench].probe for cell in admitted}
        probes = {name: build_probe(name, arch) for name in sorted(names)}
        unsupported = [
            {"cell": cell.id, "bench": cell.bench, "mode": cell.mode.name, "load": cell.load.name, "reason": why}
            for cell in cells
            if (why := refused.get(cell.id)) is not None
        ]
        self.execution.write_lane(
            self.target.name,
            {
                "contacted": now(),
                "contact": {
                    "user": session.contact.user,
                    "sudo": session.contact.sudo,
                    "python": ".".join(map(str, session.contact.python_version)),
                    "deploy_root": session.contact.deploy_root,
                    "notes": list(session.contact.notes),
                },
                "agent_sha256": agent_zip()[1],
                "probes": {name: {"sha256": built.sha256, "compiler": built.compiler} for name, built in probes.items()},
                "facts": facts,
                "placement": {
                    "measured": list(placement.measured),
                    "housekeeping": list(placement.housekeeping),
                    "notes": list(placement.notes),
                },
                "unsupported": unsupported,
                "failure": None,
            },
        )
        for entry in unsupported:
            self._emit("unsupported", cell=entry["cell"], reason=entry["reason"])
        self._emit("contacted", cells=len(admitted), unsupported=len(unsupported), planned=len(self._wanted()))
        return _Work(placement, admitted, probes)

    def _next_batch(self, work: _Work, token: int) -> Batch | None:
        """The next session's runs that are neither done nor given up; none when nothing is left."""
        plan = self.execution.plan
        finished = self._finished() | self._given_up
        attempts = Counter(name.rpartition("-a")[0] for name in self.execution.attempts(self.target.name))
        for session in order(work.cells, plan.repeat, plan.sessions, self.execution.id):
            runs = [
                self._spec(cell, repeat, attempts[f"{cell.id}-r{repeat}"] + 1, work)
                for cell, repeat in session.runs
                if f"{cell.id}-r{repeat}" not in finished
            ]
            if runs:
                return Batch(self.execution.spool, self.target.name, token, session.index, runs)
        return None

    def _spec(self, cell: Cell, repeat: int, attempt: int, work: _Work) -> RunSpec:
        probe = self.execution.plan.benches[cell.bench].probe
        return RunSpec(
            run=f"{cell.id}-r{repeat}",
            cell=cell.id,
            repeat=repeat,
            attempt=attempt,
            bench=cell.bench,
            probe=ProbeSpec(probe, work.probes[probe].sha256, dict(cell.params)),
            mode=cell.mode,
            load=cell.load,
            cpus=list(work.placement.measured),
            housekeeping=list(work.placement.housekeeping),
            settle_ns=cell.settle_ns,
            duration_ns=cell.duration_ns,
        )

    def _send_probes(self, client: AgentClient, work: _Work) -> None:
        by_hash = {built.sha256: (name, built) for name, built in work.probes.items()}
        for missing in client.have(sorted(by_hash), Deadline.after(ANSWER_S)):
            name, built = by_hash[missing]
            data = built.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != missing:
                raise Bug(f"{built.path}: changed after it was built")
            client.put(name, data, Deadline.after(ANSWER_S + len(data) / 100_000))

    # -- runs -------------------------------------------------------------------------------------------------------

    def _adopt(self, client: AgentClient) -> None:
        """Fetch what finished while nobody listened; then, if our batch still runs, listen to its end."""
        while True:
            listing = client.list_runs(self.execution.spool, Deadline.after(ANSWER_S))
            for entry in listing.get("runs") or []:
                self._fetch(client, str(entry.get("run")))
            batch = listing.get("batch")
            if not batch or batch.get("execution") != self.execution.spool or self.stop:
                return
            self._emit("adopted", runs=len(batch.get("pending") or []))
            self._listen(client)

    def _listen(self, client: AgentClient) -> None:
        """Take what the agent pushes until the batch is finished, the connection breaks or we are asked to stop."""
        longest_s = max(map(_longest_s, self.execution.plan.cells_of(self.target.name))) + WIRE_SLACK_S
        patience = Deadline.after(longest_s)
        while not self.stop.at_once:
            frame = client.next(Deadline.after(TICK_S))
            if frame is None:
                patience.check("the agent's next run, finished or failed")
                continue
            patience = Deadline.after(longest_s)
            if frame.type == "run":
                self._receive(client, str(frame.head.get("run")), frame)
                if self.stop:
                    return
            elif frame.type == "event":
                kind = str(frame.head.get("kind"))
                self._emit(kind, **_plain(frame.head))
                if kind == "batch-finished":
                    self._batch_finished(frame.head)
                    return

    def _batch_finished(self, head: Mapping[str, Any]) -> None:
        """A batch that the agent had to give up would be given up again: that is the lane's failure."""
        stopped = head.get("stopped")
        if isinstance(stopped, Mapping):
            raise error_of(stopped)
        for left in head.get("restored") or []:
            self._emit("not-restored", what=left)

    def _fetch(self, client: AgentClient, entry: str) -> None:
        try:
            frame = client.fetch(self.execution.spool, entry, Deadline.after(ANSWER_S))
        except Missing:
            return  # acknowledged meanwhile
        except Corrupt as error:
            self._damaged(client, entry, error)
        else:
            self._receive(client, entry, frame)

    def _receive(self, client: AgentClient, entry: str, frame: Frame) -> None:
        """Store what a run left, then let the target forget it: in this order a crash between the two costs nothing."""
        try:
            files = split_files(frame)
            record = json.loads(files.pop("record.json"))
            run = str(record["run"])
        except (Corrupt, KeyError, TypeError, ValueError) as error:
            self._damaged(client, entry, error)
            return
        if run not in self._wanted():
            self._emit("stray-run", run=entry, message="spooled for this execution, which does not ask for it: left there")
            return
        if run not in self._finished():
            self._keep(run, record, files)
        if not self.stop:  # else the agent, still waiting for our word, is told to end before it begins another run
            client.ack(self.execution.spool, entry, Deadline.after(ANSWER_S))

    def _damaged(self, client: AgentClient, entry: str, error: Exception) -> None:
        """What the target's disk or the way here has damaged is a failed attempt, and measured again."""
        run = entry if entry in self._wanted() else entry.rpartition("-a")[0]
        if run in self._wanted() and run not in self._finished():
            self._fail(run, None, f"what the target sent is damaged: {error}", "infrastructure")
        client.ack(self.execution.spool, entry, Deadline.after(ANSWER_S))

    def _keep(self, run: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        validity = record.get("validity")
        state = validity.get("state") if isinstance(validity, Mapping) else None
        log = files.get("log.txt", b"")
        if record.get("status") != "ok":
            fault = record.get("fault")
            self._fail(run, record, str(record.get("reason")), str(fault) if fault in FAULTS else "bug", log)
        elif state == "invalid" and self._may_retry(run, "invalid"):
            assert isinstance(validity, Mapping)
            why = "; ".join(str(each.get("text")) for each in validity["reasons"] if each.get("state") == state)
            self._fail(run, record, f"invalid: {why}", "invalid", log)
        else:
            self._write(run, record, files)

    def _write(self, run: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        try:
            path = write_run(self.execution.path, self.target.name, record, files, self._context(run))
        except (SpecError, BrokenResult, CorruptTransfer) as error:
            reason = f"the target's record cannot be used: {error}"
            self._fail(run, record, reason, "bug", files.get("log.txt", b""))
            return
        self._emit("run-stored", run=run, state=load_run(path).state)

    def _fail(
        self, run: str, record: Mapping[str, Any] | None, reason: str, fault: str, log: bytes = b""
    ) -> None:
        """Keep the failed attempt, and decide whether the run is tried again."""
        cell, _, repeat = run.rpartition("-r")
        retried = fault == "invalid" or self._may_retry(run, fault)
        if not retried:
            self._given_up.add(run)
        self._tries[run, fault] += 1
        write_attempt(
            self.execution.path, self.target.name, cell=cell, repeat=int(repeat),
            attempt=self.execution.next_attempt(self.target.name, run), reason=reason,
            fault="environment" if fault == "invalid" else fault,
            context=self._context(run), record=record, log=log,
        )  # fmt: skip
        self._emit("run-failed", run=run, reason=reason, fault=fault, retried=retried)

    def _may_retry(self, run: str, kind: str) -> bool:
        retry = self.execution.plan.campaign.retry
        allowed = {"infrastructure": retry.infrastructure, "invalid": retry.invalid}.get(kind, 0)
        return self._tries[run, kind] < allowed

    def _context(self, run: str) -> RunContext:
        plan = self.execution.plan
        cell, _, repeat = run.rpartition("-r")
        bench = next(each.bench for each in plan.cells_of(self.target.name) if each.id == cell)
        metrics = {
            name: metric.model_dump(mode="json", exclude_none=True) for name, metric in plan.benches[bench].metrics.items()
        }
        return RunContext(
            campaign=self.execution.campaign,
            execution=self.execution.id,
            session=(int(repeat) - 1) // plan.repeat + 1,
            metrics=metrics,
            agent_sha256=agent_zip()[1],
        )

    # -- what is known ----------------------------------------------------------------------------------------------

    def _wanted(self) -> frozenset[str]:
        return self.execution.run_names[self.target.name]

    def _finished(self) -> set[str]:
        return self.execution.finished(self.target.name)

    def _note_failure(self, error: IsolbenchError) -> None:
        """Into lanes/<target>.json, where the report finds it. A full disk here must not hide the first error."""
        document = {key: value for key, value in self.execution.lane(self.target.name).items() if key != "schema"}
        document["failure"] = {"fault": error.fault, "message": str(error), "advice": error.advice, "at": now()}
        try:
            self.execution.write_lane(self.target.name, document)
        except IsolbenchError as second:
            self._emit("note-lost", message=str(second))

    def _outcome(self, failure: IsolbenchError | None) -> LaneOutcome:
        return lane_outcome(
            self.execution, self.target.name, failed=len(self._given_up), failure=failure,
            stopped=self.stop.reason if self.stop else None,
        )  # fmt: skip

    def _emit(self, kind: str, **fields: Any) -> None:
        self.events.emit(kind, target=self.target.name, **fields)


def lane_outcome(
    execution: Execution,
    target: str,
    *,
    failed: int = 0,
    failure: IsolbenchError | None = None,
    stopped: str | None = None,
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
    )


def _longest_s(run: RunSpec | Cell) -> float:
    """The longest that a run may take on the target, in seconds: the agent kills it after that."""
    duration_s = run.duration_ns / 1e9
    return run.settle_ns / 1e9 + duration_s + max(5.0, duration_s / 10)


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
    elsewhere = before - set(measured)
    threads = [int(name) for name in os.listdir("/proc/self/task")]
    try:
        for thread in threads if elsewhere else []:
            _move(thread, elsewhere)
        yield
    finally:
        for thread in threads:
            _move(thread, before)


def _move(thread: int, cpus: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:
        pass  # a thread that ended meanwhile
