# SPDX-License-Identifier: Apache-2.0
"""Does the work: answers the controller, carries out batches, ends when there is nothing left to do."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections import deque
from typing import Any

from . import facts as facts_module
from .batch import Cancelled, Runner, bury
from .blobs import Blobs
from .frames import Frame, FrameError
from .lease import Lease
from .paths import Paths
from .put_back import PutBack, keep
from .requests import HANDLERS, IMMEDIATE
from .server import Hub, Peer, Stopped
from .spec import Batch, SpecError, to_json
from .spool import Entry, Spool
from .system import AgentError, Tree
from .undo import Undo

#: After a run was pushed, the next one starts when it is acknowledged, or after this long.
ACK_WAIT_S = 2.0


class Worker:
    """``restored`` is what was put back before this worker started; the first welcome tells it."""

    def __init__(
        self,
        listener: socket.socket,
        supervisor_fd: int,
        paths: Paths,
        marker: str,
        restored: list[dict[str, Any]],
        idle_s: float,
    ) -> None:
        self.paths = paths
        self.tree = Tree()
        self.spool = Spool(paths.state)
        self.blobs = Blobs(paths.deploy)
        self.undo = Undo(paths.runtime, self.tree)
        self._put_back = PutBack(self.undo, self._spare(), restored)
        self.lease = Lease(paths.state, self.tree.read("/proc/sys/kernel/random/boot_id"))
        self.controller: Peer | None = None
        self.runner: Runner | None = None
        self.cancels: list[tuple[Peer, Any]] = []
        self._hub = Hub(listener, supervisor_fd, self._on_frame, os.geteuid(), lambda: self.runner is not None)
        self._marker = marker
        self._idle_s = idle_s
        self._queued: Batch | None = None
        self._deferred: deque[tuple[Peer, Frame]] = deque()
        self._silent = False
        self._awaited: tuple[str, str] | None = None
        self._facts: dict[str, Any] | None = None

    def run(self) -> None:
        """Until idle, or until the supervisor is gone or says so; the machine is as it was found then."""
        idle_since_s = time.monotonic()
        try:
            while True:
                if self._queued is not None:
                    self._carry_out(self._queued)
                    idle_since_s = time.monotonic()
                self._put_back.retry_if_due()
                due_s = self._put_back.due_s
                unfinished = due_s is not None and not self._put_back.hopeless
                if unfinished or any(peer.open for peer in self._hub.peers):
                    self._hub.wait(due_s)
                    idle_since_s = time.monotonic()
                elif time.monotonic() >= idle_since_s + self._idle_s:
                    keep(self.paths.runtime, self._put_back.take())
                    return
                else:
                    self._hub.wait(idle_since_s + self._idle_s)
        except Stopped:
            bury(self.paths, "the agent was told to end while this ran")
        finally:
            self._hub.close()

    # What the requests use

    def introduce(self, peer: Peer) -> None:
        """A connection said who it is: an older one of the same owner is dead, whatever TCP thinks."""
        assert peer.owner is not None
        for other in self._hub.peers:
            if other is not peer and other.owner is not None and other.owner["id"] == peer.owner["id"]:
                other.close()
        lease = self.lease.current()
        if lease is not None and lease["owner"].get("id") == peer.owner["id"]:
            self.controller = peer

    def facts(self) -> dict[str, Any]:
        """The machine's facts: fresh, but as they were before it while a measurement is under way."""
        if not self._silent or self._facts is None:
            self._facts = facts_module.gather(self.tree)
        return self._facts

    def take_restored(self) -> list[dict[str, Any]]:
        """For a welcome. Where no batch is under way, what is still to be put back is tried before."""
        if self.runner is None:
            self._put_back.retry_for_contact()
        return self._put_back.take()

    def restore(self) -> list[dict[str, Any]]:
        return self._put_back.play()

    def queue(self, batch: Batch) -> None:
        """Make ``batch`` the one to carry out; from now on it counts as under way."""
        self._queued = batch
        self.runner = Runner(
            batch,
            self.paths,
            self.tree,
            self.spool,
            self.undo,
            facts=self.facts(),
            marker=self._marker,
            spare=self._spare(),
            wait=self._wait,
            publisher=self,
        )

    def batch_state(self) -> dict[str, Any] | None:
        if self.runner is None:
            return None
        batch = self.runner.batch
        return {
            "execution": batch.execution,
            "lane": batch.lane,
            "session": batch.session,
            "token": batch.token,
            "running": self.runner.current,
            "pending": [to_json(spec) for spec in self.runner.pending],
        }

    def run_frame(self, execution: str, run: str) -> tuple[dict[str, Any], bytes]:
        entry, body = self.spool.read(execution, run)
        head = {"t": "run", "execution": execution, "run": run, "status": entry.status, "attempt": entry.attempt}
        return {**head, "files": entry.files}, body

    def acknowledged(self, execution: str, run: str) -> None:
        if self._awaited == (execution, run):
            self._awaited = None

    # What the batch uses

    def event(self, kind: str, **details: Any) -> None:
        peer = self._listener()
        if peer is not None:
            peer.send({"t": "event", "kind": kind, **details})

    def finished(self, entry: Entry) -> None:
        """Push a run, unless an earlier one is still on its way: then it waits in the spool to be fetched."""
        peer = self._listener()
        if peer is None or peer.backlog:
            return
        try:
            head, body = self.run_frame(entry.execution, entry.run)
            peer.send(head, body)
        except (AgentError, FrameError):
            return  # damaged or too large: it is listed, and fetching it tells why
        self._awaited = (entry.execution, entry.run)
        end_s = time.monotonic() + (0 if peer.laggard else ACK_WAIT_S)
        while self._awaited is not None and peer.open and time.monotonic() < end_s:
            self._wait(end_s, ())
        peer.laggard = self._awaited is not None
        self._awaited = None

    def measuring(self, on: bool) -> None:
        self._silent = on
        if not on:
            while self._deferred:
                peer, frame = self._deferred.popleft()
                if peer.open:
                    self._answer(peer, frame)

    # Inside

    def _spare(self) -> frozenset[int]:
        return frozenset({os.getpid(), os.getppid()})

    def _listener(self) -> Peer | None:
        return self.controller if self.controller is not None and self.controller.open else None

    def _wait(self, until_s: float, fds: tuple[int, ...]) -> set[int]:
        if self.cancels:
            raise Cancelled
        ready = self._hub.wait(until_s, fds, silent=self._silent)
        if self.cancels:
            raise Cancelled
        return ready

    def _carry_out(self, batch: Batch) -> None:
        runner = self.runner
        assert runner is not None
        self.event("batch-started", execution=batch.execution, runs=len(batch.runs))
        try:
            summary = runner.run()
        finally:
            self._queued = None
            self.runner = None
            self._silent = False
        self._put_back.attempted(summary["restored"])
        for peer, request in self.cancels:
            ended = {"execution": batch.execution, "remaining": summary["remaining"], "restored": runner.put_back}
            peer.send({"t": "ok", "id": request, "cancelled": True, **ended})
        self.cancels.clear()
        self.event("batch-finished", **summary)

    def _on_frame(self, peer: Peer, frame: Frame) -> None:
        if self._silent and frame.type not in IMMEDIATE:
            self._deferred.append((peer, frame))
        else:
            self._answer(peer, frame)

    def _answer(self, peer: Peer, frame: Frame) -> None:
        request = frame.head.get("id")
        handler = HANDLERS.get(frame.type)
        if handler is None:
            unknown = f"this agent knows no {frame.type[:40]!r}"
            self._refuse(peer, request, AgentError("bug", "unknown-request", unknown))
            return
        try:
            answer = handler(self, peer, frame)
            if answer is None:
                return
            head, body = answer
            peer.send({**head, "id": request}, body, urgent=self._silent)
        except AgentError as error:
            self._refuse(peer, request, error)
        except (SpecError, FrameError) as error:
            self._refuse(peer, request, AgentError("bug", "malformed", str(error)))
        except Exception as error:  # one request must not end the agent, nor go without an answer
            traceback.print_exc(file=sys.stderr)
            self._refuse(peer, request, AgentError("bug", "internal", f"{type(error).__name__}: {error}"))

    def _refuse(self, peer: Peer, request: Any, error: AgentError) -> None:
        peer.send({"t": "error", "id": request, **error.to_json()}, urgent=self._silent)
