# SPDX-License-Identifier: Apache-2.0
"""What everybody here needs who changes something: a file copied, a program of the machine run, a fault."""

from __future__ import annotations

import contextlib
import os
from typing import List, Optional

from ..system import AgentError, Tree
from .parts import copy_bytes

#: For what takes longest: an initial RAM disk, on a small board.
_RUN_S = 600.0


def fault(kind: str, message: str, advice: Optional[str] = None) -> AgentError:
    return AgentError("environment", kind, message, advice)


def copy(tree: Tree, path: str, to: str, mode: int = 0o644) -> None:
    """Whole or not at all, and on the disk. An initial RAM disk may have keys in it: 0600, whatever its maker says."""
    aside = tree.path(f"{to}.part")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(tree.path(path), "rb") as source, os.fdopen(fd, "wb") as file:
        copy_bytes(source, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, tree.path(to))


def run(tree: Tree, argv: List[str], what: str) -> None:
    """A program of this machine; AgentError, with the last that it said, unless it ends well."""
    try:
        status, out, err = tree.run(argv, _RUN_S)
    except OSError as error:
        raise fault("command", f"{what}: {argv[0]}: {error.strerror or error}") from None
    if status:
        last = [line for line in (err + "\n" + out).split("\n") if line.strip()][-1:]
        raise fault("command", f"{what}: {argv[0]} ended with status {status}: {''.join(last).strip()[:200]}")
