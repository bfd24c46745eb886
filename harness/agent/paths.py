# SPDX-License-Identifier: Apache-2.0
"""Where the agent keeps its things: state on disk, undo in memory, probes where they may be executed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Sequence

from .system import AgentError

SOCKET = "isolbench.agent"


@dataclass(frozen=True)
class Paths:
    """``state``: spool and lease, survives a reboot. ``runtime``: undo of runtime knobs, dies with the boot.

    ``deploy``: uploaded probes, on a file system that allows execution. ``socket``: abstract name, one per machine.
    """

    state: str
    runtime: str
    deploy: str
    socket: str = SOCKET


def private_folder(path: str) -> str | None:
    """Make ``path`` ours alone. None if that worked, else why not: a link or another's folder is never trusted."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode):
            return "not a folder"
        if info.st_uid != os.geteuid():
            return f"belongs to uid {info.st_uid}"
        if stat.S_IMODE(info.st_mode) & 0o077:
            os.chmod(path, 0o700)
        if not os.access(path, os.W_OK | os.X_OK):
            return "not writable"
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return "read-only file system"
    except OSError as error:
        return error.strerror or str(error)
    return None


def _executable(path: str) -> str | None:
    try:
        return "mounted noexec" if os.statvfs(path).f_flag & os.ST_NOEXEC else None
    except OSError as error:
        return error.strerror or str(error)


def first_usable(candidates: Sequence[str], what: str, *, execute: bool = False) -> str:
    """The first of ``candidates`` that can be a private folder; :class:`AgentError` with each one's reason if none."""
    reasons = []
    for path in candidates:
        reason = private_folder(path)
        if reason is None and execute:
            reason = _executable(path)
        if reason is None:
            return path
        reasons.append(f"{path}: {reason}")
    raise AgentError(
        "environment",
        "no-folder",
        f"no folder for {what}: " + "; ".join(reasons),
        "make one of them writable" + (" and executable" if execute else ""),
    )


def find_paths(
    state: str | None = None, runtime: str | None = None, deploy: str | None = None, socket: str | None = None
) -> Paths:
    """The folders to use; each argument, where given, is the only candidate for its purpose."""
    uid = os.geteuid()
    home = os.path.expanduser("~")
    # Names that anybody could have taken before us: private_folder() refuses what is not ours.
    loose = [f"{base}/isolbench-{uid}" for base in ("/var/tmp", "/tmp", "/dev/shm")]  # noqa: S108
    own = "/var/lib/isolbench" if uid == 0 else os.path.join(home, ".local/state/isolbench")
    session = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    memory = "/run/isolbench" if uid == 0 else os.path.join(session, "isolbench")
    return Paths(
        first_usable([state] if state else [own, *loose], "the spool"),
        first_usable([runtime] if runtime else [memory, *loose[:0:-1]], "undo"),
        first_usable(
            [deploy] if deploy else [os.path.join(home, ".cache/isolbench"), *loose, f"/run/user/{uid}/isolbench"],
            "the probes",
            execute=True,
        ),
        socket or SOCKET,
    )
