# SPDX-License-Identifier: Apache-2.0
"""The daemon: forks the worker, waits, and when it dies for whatever reason kills what it left and puts all back.

It keeps the socket's name until that is done, so that nobody can start another agent on a machine that is half put
back. Where both die at once, the next contact does the same, before anything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from typing import Any

from .batch import bury
from .paths import Paths
from .processes import kill_marked
from .put_back import keep, kept
from .server import NameTaken, listen
from .system import Tree
from .undo import Undo
from .worker import Worker


def recover(paths: Paths, reason: str) -> list[dict[str, Any]]:
    """Put back what an agent that died has left changed, and make a failed run of the one it was carrying out."""
    restored = Undo(paths.runtime, Tree()).play()
    bury(paths, reason)
    return restored


def supervise(paths: Paths, marker: str, idle_s: float) -> int:
    """Be the daemon. Returns an exit status; 0 also when there is one already."""
    try:
        listener = listen(paths.socket)
    except NameTaken:
        return 0
    restored = kept(paths.runtime) + recover(paths, "the agent was killed, or the machine went down")
    alive_read, alive_write = os.pipe()  # closes when we die, however that happens: the worker watches it
    worker = os.fork()
    if worker == 0:
        os.close(alive_write)
        status = 70
        try:
            Worker(listener, alive_read, paths, marker, restored, idle_s).run()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(alive_read)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def pass_on(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)

    signal.signal(signal.SIGTERM, pass_on)
    _, status = os.waitpid(worker, 0)
    if status == 0:
        return 0
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
    kill_marked(marker, spare=frozenset({os.getpid()}))
    restored = recover(paths, f"the agent's worker died ({how}) while this ran")
    keep(paths.runtime, restored)
    return 1
