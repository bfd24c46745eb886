# SPDX-License-Identifier: Apache-2.0
"""Asking a target's agent to install, arm and remove kernels: a request a command, the bytes over its raw channel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..deadline import Deadline
from ..errors import ConnectionLost
from .client import error_of
from .contact import Contact
from .kernels import Bundle, forget
from .transport import Transport

#: Answers that only look; what makes an initial RAM disk, on a slow or emulated board too, or waits for one.
_LOOK_S, _WORK_S = 60.0, 900.0
#: An upload in which nothing moves for so long has come to its end.
_STUCK_S = 60.0
_BLOCK = 1 << 19
_MARK = "isolbench-kernels "
#: In this order: what is small first, and what can be booted last.
_PARTS = ("config", "initrd", "dtbs.tar.gz", "modules.tar.gz", "image")

#: Told while a kernel is uploaded: bytes that went, and bytes in all. The first call is of none.
Sent = Callable[[int, int], None]


@dataclass(frozen=True)
class Hands:
    """``agent`` is the path of the agent's zip on the target.

    ``lease`` is under which what changes something is asked for, and refused (StaleToken) once somebody else has it;
    without one it is refused while anybody has.
    """

    transport: Transport
    contact: Contact
    agent: str
    lease: Mapping[str, Any] | None = None

    def under(self, token: int, state: str) -> Hands:
        """The same, under the lease of that token, which lies in the agent's folder ``state`` on the target."""
        return replace(self, lease={"token": token, "state": state})

    def ask(self, request: dict[str, Any], *, seconds: float = _LOOK_S) -> dict[str, Any]:
        """One request to the agent; its answer. Raises what an error of its stands for, and ConnectionLost."""
        done = self.transport.run(self._argv(), stdin=self._line(request), deadline=Deadline.after(seconds))
        return _answer(done.stdout, done.last_words())

    def _argv(self) -> list[str]:
        return [*self.contact.argv_prefix, self.contact.python, "-I", "-B", self.agent, "kernels"]

    def state(self, reads: tuple[str, ...] = ()) -> dict[str, Any]:
        return dict(self.ask({"op": "state", "read": list(reads)})["state"])

    def look(
        self, reads: tuple[str, ...], release: str | None, keep_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state, after the target has written down what it boots by itself, if that runs; and the entry of a kernel
        that lies there already, empty if none is asked for. ``keep_s``: the lease lasts for so long from now on.
        """
        asked = {"op": "look", "read": list(reads), "release": release, "keep_s": keep_s}
        found = self.ask(asked, seconds=_WORK_S)
        return dict(found["state"]), dict(found["entry"] or {})

    def install(self, bundle: Bundle, sent: Sent = lambda _done, _all: None) -> dict[str, Any]:
        """The entry of a kernel of ours, uploaded and installed where it is not there yet.

        ``sent`` is called for what has to be uploaded. Raises StorageFull, EnvironmentFault and TargetUnfit before
        anything is, as far as it can be known then.
        """
        named = {"build": bundle.build, "release": bundle.identity.release}
        sizes = {name: part.unpacked for name, part in bundle.parts.items()}
        found = self.ask({"op": "check", **named, "sizes": sizes}, seconds=_WORK_S)
        if not found["has"]:
            missing = [name for name in _PARTS if name in bundle.parts and name not in found["parts"]]
            total, before = sum(bundle.parts[name].size for name in missing), 0
            sent(0, total)
            for name in missing:
                for done in self._put(bundle, name):
                    sent(before + done, total)
                before += bundle.parts[name].size
        return dict(self.ask({"op": "install", **named}, seconds=_WORK_S)["entry"])

    def _put(self, bundle: Bundle, name: str) -> Iterator[int]:
        """Send a part, as a stream: neither side has it in memory.

        Yields how many bytes of it have gone; of all of them when it is there, and is what was sent.
        """
        part = bundle.parts[name]
        request = {"op": "put", "build": bundle.build, "part": name, "size": part.size, "sha256": part.sha256}
        digest, done = hashlib.sha256(), 0
        with closing(self.transport.open(self._argv(), deadline=Deadline.after(_LOOK_S))) as channel:
            broken: ConnectionLost | None = None
            try:
                channel.write(self._line(request), Deadline.after(_STUCK_S))
                for block in _blocks(bundle.folder / name):
                    channel.write(block, Deadline.after(_STUCK_S))
                    digest.update(block)
                    done += len(block)
                    if done < part.size:
                        yield done
                channel.close_stdin(Deadline.after(_STUCK_S))
            except ConnectionLost as error:
                broken = error  # the agent may have ended, and said why
            if broken is None and digest.hexdigest() != part.sha256:
                forget(bundle)
                raise ConnectionLost(f"{bundle.folder / name} was damaged: it is made anew")
            try:
                said = b"".join(iter(lambda: channel.read(_BLOCK, Deadline.after(_WORK_S)), b""))
            except ConnectionLost as error:
                raise broken or error from None
            _answer(said, channel.stderr_tail().strip() or str(broken or "not a word"))
        yield part.size

    def steps(self, steps: list[dict[str, Any]], keep_s: float | None = None) -> None:
        """Have them done; before that the lease is made to last for ``keep_s`` from now on."""
        if steps or keep_s is not None:
            self.ask({"op": "steps", "steps": steps, "keep_s": keep_s}, seconds=_WORK_S)

    def remove(self) -> list[dict[str, Any]]:
        """Everything of ours that can be removed now; a report as of an undo."""
        return list(self.ask({"op": "remove"}, seconds=_WORK_S)["restored"])

    def read(self, path: str) -> bytes:
        """A file of root's. Raises ConnectionLost where it cannot be read whole."""
        done = self.transport.run([*self.contact.argv_prefix, "cat", path], deadline=Deadline.after(_WORK_S))
        if not done.ok:
            raise ConnectionLost(f"{path} cannot be read: {done.last_words()}")
        return done.stdout

    def sync(self) -> None:
        """All that was written there is on its disk."""
        self.transport.run([*self.contact.argv_prefix, "sync"], deadline=Deadline.after(_LOOK_S))

    def leave(self, argv: list[str]) -> None:
        """Run ``argv``, which ends the machine's boot: a second later, so that this command can end before.

        Where it could not all the same, the boot id says whether the machine went.
        """
        script = '(sleep 1; sync; exec "$@") >/dev/null 2>&1 </dev/null &'
        words = [*self.contact.argv_prefix, "/bin/sh", "-c", script, "isolbench", *argv]
        with suppress(ConnectionLost):
            self.transport.run(words, deadline=Deadline.after(_LOOK_S))

    def _line(self, request: dict[str, Any]) -> bytes:
        return json.dumps({**request, "lease": self.lease}).encode() + b"\n"


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


def _answer(stdout: bytes, last_words: str) -> dict[str, Any]:
    for said in stdout.decode("utf-8", "replace").splitlines():
        if said.startswith(_MARK):
            try:
                answer = json.loads(said[len(_MARK) :])
            except ValueError:
                break
            if isinstance(answer, dict):
                if isinstance(answer.get("error"), dict):
                    raise error_of(answer["error"])
                return answer
    raise ConnectionLost(f"no answer about kernels: {last_words}")
