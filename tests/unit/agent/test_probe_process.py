# SPDX-License-Identifier: Apache-2.0
"""A probe as the agent starts it: bound to its parent, and what its ends by signals mean."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.agent.probe import ProbeProcess, exit_error
from harness.agent.system import AgentError


def test_it_is_told_whose_child_it_is(tmp_path: Path) -> None:
    script = 'while [ $# -gt 1 ]; do [ "$1" = --parent ] && told=$2; shift; done; echo "$told $PPID"'
    probe = ProbeProcess(["/bin/sh", "-c", script, "probe"], str(tmp_path), None, os.sched_getaffinity(0))
    end_s = time.monotonic() + 30
    while probe.poll() is None and time.monotonic() < end_s:
        time.sleep(0.005)
    probe.close()
    told, parent = probe.log.bytes().split()
    assert told == parent == str(os.getpid()).encode()


@pytest.mark.parametrize(
    ("number", "fault", "said"),
    [
        (signal.SIGALRM, "environment", "safety timer"),  # its own, not a crash
        (signal.SIGKILL, "environment", "was killed"),
        (signal.SIGSEGV, "bug", "crashed with signal 11"),
    ],
)
def test_the_signals_that_end_it(number: int, fault: str, said: str) -> None:
    error = exit_error(-number, b"")
    assert isinstance(error, AgentError)
    assert (error.fault, said in str(error)) == (fault, True)
