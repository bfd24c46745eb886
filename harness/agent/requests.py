# SPDX-License-Identifier: Apache-2.0
"""What the controller may ask, one function a frame type; each returns the head and body of its answer.

None instead of an answer means: it is answered later. See docs/protocol.md.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import VERSION, loads, modes
from .frames import Frame
from .lease import Busy, boottime_ns
from .server import Peer
from .spec import PROTOCOL, Batch, SpecError
from .system import AgentError

if TYPE_CHECKING:
    from .worker import Worker

Answer = Optional["tuple[dict[str, Any], bytes]"]

#: Answered also while a measurement is under way (some only to say: not now); all others wait for its end.
IMMEDIATE = frozenset({"hello", "clock", "acquire", "renew", "list", "cancel", "bye", "submit", "restore", "release"})


def _ok(**more: Any) -> Answer:
    return {"t": "ok", **more}, b""


def _hello(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    if frame.head.get("proto") != PROTOCOL:
        raise AgentError(
            "environment",
            "protocol",
            f"this agent speaks protocol {PROTOCOL}, not {frame.head.get('proto')!r}",
            "wait until its work is fetched, then it ends and the other version can start",
        )
    peer.owner = _owner(frame)
    worker.introduce(peer)
    welcome = {
        "t": "welcome",
        "agent": VERSION,
        "proto": PROTOCOL,
        "python": platform.python_version(),
        "uid": os.geteuid(),
        "pid": os.getpid(),
        "state_dir": worker.paths.state,
        "facts": worker.facts(),
        "lease": worker.lease.current(),
        "restored": worker.take_restored(),
    }
    return welcome, b""


def _clock(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    """For the controller to see by how much this machine's clock is off. Nothing here ever sets it, or trusts it."""
    return {"t": "clock", "realtime_ns": time.time_ns(), "boottime_ns": boottime_ns()}, b""


def _owner(frame: Frame) -> dict[str, str]:
    owner = frame.head.get("owner")
    if not isinstance(owner, dict) or not isinstance(owner.get("id"), str) or not owner["id"]:
        raise SpecError("hello.owner.id: missing")
    return {"id": owner["id"][:200], "who": str(owner.get("who", ""))[:200]}


def _introduced(peer: Peer) -> dict[str, str]:
    if peer.owner is None:
        raise AgentError("bug", "no-hello", "hello comes first")
    return peer.owner


def _text(frame: Frame, key: str) -> str:
    value = frame.head.get(key)
    if not isinstance(value, str):
        raise SpecError(f"{frame.type}.{key}: a string is wanted")
    return value


def _number(frame: Frame, key: str) -> float:
    value = frame.head.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{frame.type}.{key}: a number is wanted")
    return value


def _have(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    _introduced(peer)
    hashes = frame.head.get("hashes")
    if not isinstance(hashes, list) or not all(isinstance(each, str) for each in hashes):
        raise SpecError("have.hashes: a list of strings is wanted")
    return {"t": "have", "missing": [each for each in hashes if worker.blobs.find(each) is None]}, b""


def _put(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    _introduced(peer)
    worker.blobs.put(_text(frame, "name"), _text(frame, "sha256"), frame.body)
    return _ok()


def _acquire(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    owner = _introduced(peer)
    try:
        lease = worker.lease.acquire(owner, _number(frame, "ttl_s"), in_use=worker.runner is not None)
    except Busy as busy:
        return {"t": "busy", **busy.body}, b""
    worker.controller = peer
    return {"t": "lease", **lease}, b""


def _renew(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    _introduced(peer)
    lease = worker.lease.renew(int(_number(frame, "token")), _number(frame, "ttl_s"))
    return _ok(expires_s=lease["expires_s"])


def _release(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    _introduced(peer)
    _no_batch(worker)
    worker.lease.release(int(_number(frame, "token")))
    return _ok()


def _facts(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    return {"t": "facts", "facts": worker.facts()}, b""


def _list(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    execution = _text(frame, "execution")
    runs: list[dict[str, Any]] = [
        {"run": entry.run, "sha256": entry.sha256, "status": entry.status, "attempt": entry.attempt}
        for entry in worker.spool.list(execution)
    ]
    runs += [
        {"run": name, "sha256": None, "status": "damaged", "attempt": None} for name in worker.spool.damaged(execution)
    ]
    return {"t": "list", "runs": runs, "batch": worker.batch_state()}, b""


def _submit(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    _introduced(peer)
    _no_batch(worker)
    batch = Batch.from_json(frame.head.get("batch"))
    worker.lease.check(batch.token)
    for spec in batch.runs:
        modes.from_spec(spec.mode)
        loads.make(spec.load, spec.housekeeping)
    missing = sorted({spec.probe.sha256 for spec in batch.runs if worker.blobs.find(spec.probe.sha256) is None})
    if missing:
        raise AgentError(
            "infrastructure", "missing-blob", f"not uploaded: {', '.join(missing)}", "have, put, then submit"
        )
    worker.controller = peer
    worker.queue(batch)
    return _ok(runs=len(batch.runs))


def _no_batch(worker: Worker) -> None:
    if worker.runner is not None:
        batch = worker.runner.batch
        raise AgentError(
            "infrastructure", "busy-batch", f"a batch of {batch.execution} is under way", "wait for it, or cancel"
        )


def _fetch(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    return worker.run_frame(_text(frame, "execution"), _text(frame, "run"))


def _ack(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    execution, run = _text(frame, "execution"), _text(frame, "run")
    worker.spool.ack(execution, run)
    worker.acknowledged(execution, run)
    return _ok()


def _cancel(worker: Worker, peer: Peer, frame: Frame) -> Answer:
    owner = _introduced(peer)
    if worker.runner is None:
        return _ok(cancelled=False)
    lease = worker.lease.current()
    if lease is not None and lease["owner"].get("id") != owner["id"]:
        raise Busy(lease["owner"], lease["age_s"], lease["expires_s"])
    worker.cancels.append((peer, frame.head.get("id")))
    return None


def _restore(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    _no_batch(worker)
    return _ok(restored=worker.restore())


def _bye(worker: Worker, peer: Peer, frame: Frame) -> Answer:  # noqa: ARG001 (all are called alike)
    peer.closing = True
    return _ok()


HANDLERS: dict[str, Callable[[Worker, Peer, Frame], Answer]] = {
    "hello": _hello,
    "clock": _clock,
    "have": _have,
    "put": _put,
    "acquire": _acquire,
    "renew": _renew,
    "release": _release,
    "facts": _facts,
    "list": _list,
    "submit": _submit,
    "fetch": _fetch,
    "ack": _ack,
    "cancel": _cancel,
    "restore": _restore,
    "bye": _bye,
}
