# SPDX-License-Identifier: Apache-2.0
"""The controller's end of the wire: one request, one answer, over a held channel to the agent.

Every wait has a :class:`~harness.deadline.Deadline`. An end of the stream, a frozen peer and garbage are all
:class:`~harness.errors.ConnectionLost`, with the end of what the target said on standard error: usually the reason.
What the agent sends unasked (events, finished runs) is queued while an answer is awaited; :meth:`AgentClient.next`
takes it from there. See docs/protocol.md.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..agent.frames import Decoder, Frame, FrameError, encode
from ..agent.spec import PROTOCOL, Batch, safe_name, to_json
from ..errors import (
    Bug,
    Busy,
    ConnectionLost,
    EnvironmentFault,
    InfrastructureFault,
    IsolbenchError,
    StorageFull,
    TargetUnfit,
    UserError,
)
from .clock import Clock

if TYPE_CHECKING:
    from ..deadline import Deadline
    from .transport import Channel

_READ_BYTES = 1 << 18
_CLOCK_READINGS = 3


class Corrupt(InfrastructureFault):
    """What came, or what lies in the target's spool, is not what its hash says."""


class Missing(InfrastructureFault):
    """The target's spool, or its store of probes, has no such thing."""


class StaleToken(InfrastructureFault):
    """Somebody else took this target's lease over."""


class BatchRunning(InfrastructureFault):
    """The agent is carrying out a batch; this has to wait for its end, or cancel it."""


_KINDS: dict[str, type[IsolbenchError]] = {
    "busy": Busy,
    "busy-batch": BatchRunning,
    "corrupt": Corrupt,
    "missing": Missing,
    "missing-blob": Missing,
    "slow": ConnectionLost,  # and so another try is worth its time
    "stale-token": StaleToken,
    "storage-full": StorageFull,
    "unsupported": TargetUnfit,
    "garbage": ConnectionLost,
}
_FAULTS: dict[str, type[IsolbenchError]] = {
    "user": UserError,
    "environment": EnvironmentFault,
    "infrastructure": InfrastructureFault,
    "bug": Bug,
}


def error_of(head: Mapping[str, Any]) -> IsolbenchError:
    """The exception that an ``error`` frame stands for: by its kind, else by whose fault it is."""
    kind = _KINDS.get(str(head.get("kind"))) or _FAULTS.get(str(head.get("fault")), Bug)
    advice = head.get("advice")
    return kind(f"agent: {head.get('message') or head.get('kind')}", advice=str(advice) if advice else None)


def _for_what(owner: object) -> str:
    """The execution, or the command, whose session has the id ``owner``: ``quick/20261120T010000Z-1f/box``."""
    parts = str(owner or "").split("/")
    named = f"{parts[0]}/{parts[1].rpartition('-')[0]}" if len(parts) == 3 else parts[0] if len(parts) == 2 else ""
    return f" ({named})" if named else ""


def in_use(held: Mapping[str, Any], name: str) -> Busy:
    """The error that says who has the target called ``name`` leased: ``held`` is the lease, as an agent tells it."""
    owner = held.get("owner") or {}
    who = owner.get("who") or owner.get("id") or "somebody"
    lasts = f"its lease ends in {float(held.get('expires_s', 0)):.0f} s unless it is renewed"
    return Busy(
        f"in use by {who}{_for_what(owner.get('id'))} for {float(held.get('age_s', 0)):.0f} s",
        advice=f"wait ({lasts}); if that is yours and forgotten: isolbench restore --cancel {name}",
        owner=str(owner.get("id") or ""),
    )


def split_files(frame: Frame) -> dict[str, bytes]:
    """The files of a ``run`` frame by name, each checked. :class:`Corrupt` if one is not what its hash says."""
    run = frame.head.get("run")
    files: dict[str, bytes] = {}
    at = 0
    try:
        for listed in frame.head["files"]:
            name, size = safe_name(listed["name"], "file"), int(listed["size"])
            data = frame.body[at : at + size]
            at += size
            if size < 0 or len(data) != size or hashlib.sha256(data).hexdigest() != listed["sha256"]:
                raise Corrupt(f"run {run}: {name} was damaged on its way here")
            files[name] = data
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"run {run}: its list of files is unreadable: {error}") from error
    if at != len(frame.body):
        raise Corrupt(f"run {run}: {len(frame.body) - at} bytes more than its files have")
    return files


class AgentClient:
    """One conversation with one agent, on the target called ``name``. Not for several threads at a time."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._decoder = Decoder(seek_magic=True)
        self._arrived: deque[Frame] = deque()
        self._unasked: deque[Frame] = deque()
        self._ids = itertools.count(1)
        self.welcome: dict[str, Any] = {}

    def hello(self, owner: Mapping[str, str], deadline: Deadline) -> dict[str, Any]:
        """Introduce ourselves: ``owner`` is ``{"id", "who"}``. Returns the whole welcome."""
        self.welcome = self._ask("welcome", {"t": "hello", "proto": PROTOCOL, "owner": dict(owner)}, deadline).head
        return self.welcome

    def clock(self, deadline: Deadline) -> Clock | None:
        """By how much the target's clock is off ours: of a few round trips the shortest. None of an older agent."""
        readings = []
        for _ in range(_CLOCK_READINGS):
            sent_ns, started_ns = time.time_ns(), time.monotonic_ns()
            try:
                theirs_ns = self._ask("clock", {"t": "clock"}, deadline).head.get("realtime_ns")
            except Bug:  # it knows no such request
                return None
            took_ns = time.monotonic_ns() - started_ns
            if not isinstance(theirs_ns, int) or not 0 <= theirs_ns < 1 << 63:
                return None
            readings.append(Clock.read(sent_ns, took_ns, theirs_ns))
        return min(readings, key=lambda reading: reading.uncertainty_ns)

    def have(self, hashes: Iterable[str], deadline: Deadline) -> list[str]:
        """Those of ``hashes`` that the target does not have."""
        answer = self._ask("have", {"t": "have", "hashes": sorted(hashes)}, deadline)
        return [str(each) for each in answer.head.get("missing", [])]

    def put(self, name: str, data: bytes, deadline: Deadline) -> str:
        """Upload an executable; returns its SHA-256, by which a batch names it."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._ask("ok", {"t": "put", "name": name, "sha256": sha256}, deadline, data)
        return sha256

    def acquire(self, ttl_s: float, deadline: Deadline) -> int:
        """Take the lease for ``ttl_s`` seconds; returns its token. :class:`Busy` says who has it, and for how long."""
        answer = self._request({"t": "acquire", "ttl_s": ttl_s}, deadline)
        if answer.type == "busy":
            raise in_use(answer.head, self._name)
        return int(self._expect("lease", answer).head["token"])

    def renew(self, token: int, ttl_s: float, deadline: Deadline) -> None:
        """Keep the lease for another ``ttl_s`` seconds. :class:`StaleToken` if it was taken over."""
        self._ask("ok", {"t": "renew", "token": token, "ttl_s": ttl_s}, deadline)

    def release(self, token: int, deadline: Deadline) -> None:
        self._ask("ok", {"t": "release", "token": token}, deadline)

    def facts(self, deadline: Deadline) -> dict[str, Any]:
        """What the machine is, read now."""
        return dict(self._ask("facts", {"t": "facts"}, deadline).head["facts"])

    def list_runs(self, execution: str, deadline: Deadline) -> dict[str, Any]:
        """``{"runs": [{run, sha256, status, attempt}], "batch": null or {execution, running, pending, …}}``.

        A run of status ``damaged`` has neither hash nor attempt; fetching it says more.
        """
        return self._ask("list", {"t": "list", "execution": execution}, deadline).head

    def submit(self, batch: Batch, deadline: Deadline) -> None:
        """Hand a batch over; it starts at once.

        Events that are queued from before are of another batch, its ``batch-finished`` among them: they are dropped.
        """
        self._ask("ok", {"t": "submit", "batch": to_json(batch)}, deadline)
        self._unasked = deque(frame for frame in self._unasked if frame.type == "run")

    def fetch(self, execution: str, run: str, deadline: Deadline) -> Frame:
        """A finished run: a ``run`` frame, its body checked against the hashes. :class:`Corrupt`, :class:`Missing`."""
        frame = self._ask("run", {"t": "fetch", "execution": execution, "run": run}, deadline)
        split_files(frame)
        return frame

    def ack(self, execution: str, run: str, deadline: Deadline) -> None:
        """We have it: the target may delete it."""
        self._ask("ok", {"t": "ack", "execution": execution, "run": run}, deadline)

    def cancel(self, deadline: Deadline) -> Mapping[str, Any] | None:
        """End the batch now. When this returns the probe is dead and the machine as it was.

        What was ended: ``execution``, the ``remaining`` runs, what was ``restored``; None: there was no batch.
        """
        head = self._ask("ok", {"t": "cancel"}, deadline).head
        return head if head.get("cancelled") else None

    def restore(self, deadline: Deadline) -> list[dict[str, Any]]:
        """Put back what is left in the target's undo; one report an entry."""
        return list(self._ask("ok", {"t": "restore"}, deadline).head.get("restored", []))

    def bye(self, deadline: Deadline) -> None:
        """Part in friendship. The agent goes on with its batch, if there is one."""
        self._ask("ok", {"t": "bye"}, deadline)

    def close(self) -> None:
        self._channel.close()

    def next(self, deadline: Deadline) -> Frame | None:
        """The next unasked frame (``event`` or ``run``), or None at the deadline: silence is no fault here.

        A ``run``'s body is not checked yet: :func:`split_files` does that.
        """
        while not self._unasked:
            if self._arrived:
                self._file(self._arrived.popleft())
            elif deadline.expired or not self._receive(deadline, patient=True):
                return None
        return self._unasked.popleft()

    def _ask(self, wanted: str, head: dict[str, Any], deadline: Deadline, body: bytes = b"") -> Frame:
        return self._expect(wanted, self._request(head, deadline, body))

    def _expect(self, wanted: str, answer: Frame) -> Frame:
        if answer.type != wanted:
            raise Bug(f"agent: {wanted} was expected, {answer.type} came")
        return answer

    def _request(self, head: dict[str, Any], deadline: Deadline, body: bytes = b"") -> Frame:
        """Send, and wait for the answer of the same id. An ``error`` frame is raised as what it stands for."""
        number = next(self._ids)
        try:
            data = encode({**head, "id": number}, body)
        except FrameError as error:
            raise Bug(f"{head['t']}: {error}") from error
        try:
            self._channel.write(data, deadline)
        except ConnectionLost as error:
            # The agent may have said why it closes.
            raise self._lost(str(error)) from error
        while True:
            while self._arrived:
                frame = self._arrived.popleft()
                if frame.head.get("id") != number:
                    self._file(frame)
                    continue
                if frame.type == "error":
                    raise error_of(frame.head)
                return frame
            if deadline.expired:
                raise self._lost(f"no answer to {head['t']} within {deadline.budget_s:g} s")
            self._receive(deadline)

    def _file(self, frame: Frame) -> None:
        """Queue what is unasked; drop the late answer of a request given up; an error without an id ends it all."""
        if frame.head.get("id") is None:
            if frame.type == "error":
                raise error_of(frame.head)
            self._unasked.append(frame)

    def _receive(self, deadline: Deadline, *, patient: bool = False) -> bool:
        """Read once. ``patient``: False at the deadline, where otherwise :class:`ConnectionLost` is raised."""
        try:
            data = self._channel.read(_READ_BYTES, deadline)
        except ConnectionLost as error:
            if patient and deadline.expired:
                return False
            raise self._lost(str(error)) from error
        if not data:
            where = "before the agent answered" if self._decoder.seeking else "by the target"
            raise self._lost(f"connection closed {where}")
        try:
            self._arrived.extend(self._decoder.feed(data))
        except FrameError as error:
            raise self._lost(f"garbage on the wire: {error}") from error
        return True

    def _lost(self, what: str) -> ConnectionLost:
        """With the end of standard error, or of what came instead of the agent: that is where the reason stands."""
        said = self._channel.stderr_tail().strip()
        if not said and self._decoder.seeking:
            said = self._decoder.junk.decode("utf-8", "replace").strip()
        return ConnectionLost(f"{what}: {said[-2000:]}" if said and said not in what else what)
