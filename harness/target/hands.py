# SPDX-License-Identifier: Apache-2.0
"""Asking a target's agent to install, arm and remove kernels: a request a command, the bytes over its raw channel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..deadline import Deadline
from ..errors import ConnectionLost
from .client import error_of
from .contact import Contact
from .kernels import Bundle
from .transport import Transport

#: Answers that only look; what unpacks modules or makes an initial RAM disk, on a slow or emulated board too.
_LOOK_S, _WORK_S = 60.0, 900.0
#: At least so many bytes a second of an upload.
_SLOWEST = 500_000
_MARK = "isolbench-kernels "


@dataclass(frozen=True)
class Hands:
    """``agent`` is the path of the agent's zip on the target."""

    transport: Transport
    contact: Contact
    agent: str

    def ask(self, request: dict[str, Any], data: bytes = b"", *, seconds: float = _LOOK_S) -> dict[str, Any]:
        """One request to the agent; its answer. Raises what an error of its stands for, and ConnectionLost."""
        argv = [*self.contact.argv_prefix, self.contact.python, "-I", "-B", self.agent, "kernels"]
        line = json.dumps(request).encode() + b"\n"
        done = self.transport.run(argv, stdin=line + data, deadline=Deadline.after(seconds + len(data) / _SLOWEST))
        for said in done.stdout.decode("utf-8", "replace").splitlines():
            if said.startswith(_MARK):
                try:
                    answer = json.loads(said[len(_MARK) :])
                except ValueError:
                    break
                if isinstance(answer, dict):
                    if isinstance(answer.get("error"), dict):
                        raise error_of(answer["error"])
                    return answer
        raise ConnectionLost(f"no answer about kernels: {done.last_words()}")

    def state(self, reads: tuple[str, ...] = ()) -> dict[str, Any]:
        return dict(self.ask({"op": "state", "read": list(reads)})["state"])

    def default(self) -> dict[str, Any]:
        """Have the target write down what it boots by itself, while that runs."""
        return dict(self.ask({"op": "default"})["default"])

    def release(self, release: str) -> dict[str, Any]:
        return dict(self.ask({"op": "release", "release": release})["entry"])

    def install(self, bundle: Bundle) -> dict[str, Any]:
        """The entry of a kernel of ours, uploaded and installed where it is not there yet."""
        build = bundle.identity.sha256[:12]
        if not self.ask({"op": "has", "build": build})["has"]:
            for part in ("image", "config", "initrd", "modules.tar.gz", "dtbs.tar.gz"):
                path = bundle.part(part)
                if path is not None:
                    self._put(build, part, path)
        request = {"op": "install", "build": build, "release": bundle.identity.release}
        return dict(self.ask(request, seconds=_WORK_S)["entry"])

    def _put(self, build: str, part: str, path: Path) -> None:
        data = path.read_bytes()
        self.ask({"op": "put", "build": build, "part": part, "size": len(data)}, data)

    def steps(self, steps: list[dict[str, Any]]) -> None:
        if steps:
            self.ask({"op": "steps", "steps": steps}, seconds=_WORK_S)

    def remove(self) -> list[dict[str, Any]]:
        """Everything of ours that can be removed now; a report as of an undo."""
        return list(self.ask({"op": "remove"}, seconds=_WORK_S)["restored"])

    def leave(self, argv: list[str]) -> None:
        """Run ``argv``, which ends the machine's boot: a second later, so that this command can end before."""
        script = '(sleep 1; sync; exec "$@") >/dev/null 2>&1 </dev/null &'
        words = [*self.contact.argv_prefix, "/bin/sh", "-c", script, "isolbench", *argv]
        self.transport.run(words, deadline=Deadline.after(_LOOK_S))
