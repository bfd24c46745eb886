# SPDX-License-Identifier: Apache-2.0
"""Test sessions take turns on one machine: interrupts and the scheduler's knobs have no namespace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []
_depth = 0


@contextlib.contextmanager
def our_turn() -> Iterator[None]:
    """No other session of this user tests meanwhile. Once it is our turn, it may be asked for again: a fixture of a
    module's, or of one test; one lock for all of them, or two sessions could wait for each other."""
    global _depth
    if not _depth:
        file = (Path(tempfile.gettempdir()) / f"isolbench-tests-{os.getuid()}.lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        _held.append(file)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _held.pop().close()
