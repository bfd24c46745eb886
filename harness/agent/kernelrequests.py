# SPDX-License-Identifier: Apache-2.0
"""``agent kernels``: a request of the controller's about kernels, and its answer."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from . import kernelstate
from .kernels import Kernels
from .lease import Busy, Lease
from .system import AgentError, Tree


def serve(request: Dict[str, Any], data: Any, tree: Optional[Tree] = None) -> Dict[str, Any]:
    """One request of the controller's, whose bytes ``data`` reads; the answer."""
    tree = tree or Tree()
    what = request.get("op")
    if what == "state":
        return {"state": kernelstate.state(tree, [str(path) for path in request.get("read") or []])}
    kernels = Kernels(tree)
    change = _CHANGES.get(str(what))
    if change is None:
        raise AgentError("bug", "usage", f"no such request: {what}")
    with kernels.locked():
        _check_lease(request, tree)
        answer: Dict[str, Any] = change(kernels, request, data)
        return answer


def _check_lease(request: Dict[str, Any], tree: Tree) -> None:
    """Refuse what would change something under somebody else's hands; have the lease last for ``keep_s`` from now on.

    Without a lease of its own whoever asks may do so while nobody has one.
    """
    held = request.get("lease") or {}
    boot_id = tree.read("/proc/sys/kernel/random/boot_id")
    lease = Lease(tree.path(str(held.get("state") or _STATE)), boot_id)
    if held:
        lease.check(int(held["token"]))
        if request.get("keep_s") is not None:
            lease.renew(int(held["token"]), float(request["keep_s"]))
        return
    found = lease.current()
    if found is not None:
        raise Busy(found["owner"], found["age_s"], found["expires_s"])


def _look(kernels: Kernels, request: Dict[str, Any], _: Any) -> Dict[str, Any]:
    """All that a boot has to know, in one go: a small board takes seconds to start us.

    ``state``, once what the machine boots by itself is written down, if that runs; ``entry`` of the kernel ``release``
    that lies here already, if one is asked for. What was armed before and not booted is taken back: whatever is booted
    next, it is not that.
    """
    kernels.forget_next_boot()
    state = kernelstate.state(kernels.tree, [str(path) for path in request.get("read") or []])
    if state["ours"] is None:
        state["default"] = kernels.remember_default()
    release = request.get("release")
    return {"state": state, "entry": None if release is None else kernels.release(str(release))}


def _check(kernels: Kernels, request: Dict[str, Any], _: Any) -> Dict[str, Any]:
    sizes = {str(part): int(size) for part, size in dict(request["sizes"]).items()}
    return kernels.check(str(request["build"]), str(request["release"]), sizes, _place(request))


def _put(kernels: Kernels, request: Dict[str, Any], data: Any) -> Dict[str, Any]:
    kernels.put(str(request["build"]), str(request["part"]), data, int(request["size"]), str(request["sha256"]))
    return {}


def _install(kernels: Kernels, request: Dict[str, Any], _: Any) -> Dict[str, Any]:
    return {"entry": kernels.install(str(request["build"]), str(request["release"]), _place(request))}


def _steps(kernels: Kernels, request: Dict[str, Any], _: Any) -> Dict[str, Any]:
    kernels.carry_out(list(request["steps"]))
    return {}


def _place(request: Dict[str, Any]) -> str:
    return str(request.get("place", "/boot"))


#: Where the lease of root's agent lies, if nothing else is said.
_STATE = "/var/lib/isolbench"
#: Requests that change something, and so take turns.
_CHANGES: Dict[str, Any] = {
    "look": _look,
    "check": _check,
    "put": _put,
    "install": _install,
    "steps": _steps,
    "remove": lambda kernels, _request, _data: {"restored": kernels.remove()},
}


def main(stdin: Any, stdout: Any) -> int:
    """``agent kernels``: a JSON line, and the bytes that it speaks of, on standard input; a JSON line back."""
    try:
        answer = serve(json.loads(stdin.readline()), stdin)
    except AgentError as error:
        answer = {"error": error.to_json()}
    except OSError as error:
        kind = "storage-full" if error.errno in (28, 122) else "os"
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        answer = {"error": {"fault": "environment", "kind": kind, "message": message, "advice": None}}
    stdout.write("isolbench-kernels " + json.dumps(answer) + "\n")
    stdout.flush()
    return 0
