# SPDX-License-Identifier: Apache-2.0
"""Bringing the agent to a target: one zip, named by its content, sent once and verified there each time."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import harness.agent

from ..deadline import Deadline
from ..errors import ConnectionLost, EnvironmentFault, StorageFull, TargetUnfit
from .contact import Contact
from .transport import Transport

#: Besides the one in use: an older isolbench on another controller may want its own again.
KEEP = 3

_MAIN = "from agent.__main__ import main\nraise SystemExit(main())\n"

#: Runs on the target: argv is the root's path, the hash, how many bytes follow (0: just look), how many to keep.
#: Answers one JSON object. Only what the agent's core needs is imported: a target may have no more.
_RECEIVER = r"""
import hashlib, json, os, sys

root, sha256, size, keep = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
agents = os.path.join(root, "agents")
path = os.path.join(agents, sha256 + ".pyz")

def digest(name):
    seen = hashlib.sha256()
    try:
        with open(name, "rb") as file:
            for part in iter(lambda: file.read(65536), b""):
                seen.update(part)
    except OSError:
        return None
    return seen.hexdigest()

def receive():
    data = sys.stdin.buffer.read(size)
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        return {"error": "damaged", "message": "%d of %d bytes came, or others than were sent" % (len(data), size)}
    part = os.path.join(agents, ".%s.%d" % (sha256, os.getpid()))
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if digest(part) != sha256:
            return {"error": "damaged", "message": "what was written does not read back"}
        os.rename(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return {}

def undo_pending():
    uid = os.getuid()
    session = os.environ.get("XDG_RUNTIME_DIR") or "/run/user/%d" % uid
    loose = ["%s/isolbench-%d" % (base, uid) for base in ("/dev/shm", "/tmp", "/var/tmp")]
    for place in ["/run/isolbench", session + "/isolbench"] + loose:
        try:
            if os.path.getsize(place + "/undo.jsonl"):
                return True
        except OSError:
            pass
    return False

def running():
    lines = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    lines.append(file.read())
            except OSError:
                pass
    return b"\n".join(lines)

def drop(name):
    try:
        os.unlink(os.path.join(agents, name))
    except FileNotFoundError:
        pass  # somebody else prunes at the same time

def used(name):
    try:
        return os.path.getmtime(os.path.join(agents, name))
    except FileNotFoundError:
        return 0.0

# In the place of a time stands a count: by a clock that jumps, the agent in use could look like the oldest.
def mark_used():
    kept = [name for name in os.listdir(agents) if name.endswith(".pyz")]
    for number, name in enumerate(sorted(kept, key=lambda name: (name == sha256 + ".pyz", used(name))), 1):
        try:
            os.utime(os.path.join(agents, name), (number, number))
        except FileNotFoundError:
            pass

def prune():
    removed = []
    alive = running()
    for name in os.listdir(agents):
        if name.startswith(".") and name.split(".")[1].encode() not in alive:
            drop(name)  # half of an upload that nobody goes on with
    old = [name for name in os.listdir(agents) if name.endswith(".pyz") and name != sha256 + ".pyz"]
    old.sort(key=used, reverse=True)
    if len(old) >= keep and not undo_pending():
        for name in old[keep - 1:]:
            if name.encode() not in alive:
                drop(name)
                removed.append(name[:-4])
    return removed

def answer():
    os.makedirs(agents, mode=0o700, exist_ok=True)
    if digest(path) != sha256:
        if not size:
            return {"missing": True}
        said = receive()
        if said:
            return said
    mark_used()
    return {"path": path, "pruned": prune()}

try:
    said = answer()
except OSError as error:
    said = {"error": "full" if error.errno in (28, 122) else "os", "message": str(error)}
print("isolbench-deploy " + json.dumps(said))
"""


@functools.cache
def agent_zip() -> tuple[bytes, str]:
    """The agent as a zip that Python can run, and its SHA-256."""
    data = pack(Path(harness.agent.__file__).parent)
    return data, hashlib.sha256(data).hexdigest()


def pack(folder: Path) -> bytes:
    """``folder`` verbatim as ``agent/``, and a way in. The same source gives the same bytes, anywhere.

    Stored, not deflated: a target's Python may have no zlib.
    """
    members = {"__main__.py": _MAIN.encode()}
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".pyo"):
            members[f"agent/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.create_system = 3  # Unix, wherever it was made
            archive.writestr(info, members[name])
    return buffer.getvalue()


def deploy_agent(transport: Transport, contact: Contact, deadline: Deadline) -> str:
    """Make sure that this version's agent lies on the target, whole; its path there.

    One round trip when it does already, two when not. Raises StorageFull, TargetUnfit, ConnectionLost.
    """
    data, sha256 = agent_zip()
    said = _ask(transport, contact, sha256, b"", deadline)
    if said.get("missing"):
        said = _ask(transport, contact, sha256, data, deadline)
    return str(said["path"])


def _ask(transport: Transport, contact: Contact, sha256: str, data: bytes, deadline: Deadline) -> dict[str, Any]:
    receiver = [contact.python, "-I", "-B", "-c", _RECEIVER]
    arguments = [contact.deploy_root, sha256, str(len(data)), str(KEEP)]
    done = transport.run([*contact.argv_prefix, *receiver, *arguments], stdin=data, deadline=deadline)
    where = contact.deploy_root
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        word, _, answer = line.partition(" ")
        if word == "isolbench-deploy":
            said: dict[str, Any] = json.loads(answer)
            break
    else:
        raise TargetUnfit(f"{where}: the agent cannot be put there (status {done.status}): {done.last_words()}")
    error, message = said.get("error"), said.get("message")
    if error == "full":
        raise StorageFull(f"{where}: no space for the agent: {message}", advice="free some space there")
    if error == "damaged":
        raise ConnectionLost(f"{where}: the agent arrived damaged: {message}")
    if error:
        raise EnvironmentFault(f"{where}: the agent cannot be put there: {message}")
    return said
