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


@pytest.mark.parametrize(
    ("alarmed", "fault", "kind"), [(True, "environment", "probe-overtime"), (False, "bug", "deadline")]
)
def test_one_that_never_came_to_run_is_not_to_blame(alarmed: bool, fault: str, kind: str, tmp_path: Path) -> None:
    """Its own timer went off, but it could not even die of that, as one that a real-time task keeps from its CPU."""
    probe = ProbeProcess(["/bin/sh", "-c", "kill -STOP $$"], str(tmp_path), None, os.sched_getaffinity(0))
    end_s = time.monotonic() + 30
    while " (sh) T " not in Path(f"/proc/{probe.pid}/stat").read_text() and time.monotonic() < end_s:
        time.sleep(0.005)
    if alarmed:
        os.kill(probe.pid, signal.SIGALRM)
    probe.expire()
    probe.close()
    with pytest.raises(AgentError) as caught:
        probe.result()
    assert (caught.value.fault, caught.value.kind) == (fault, kind)


def test_what_it_forked_is_killed_with_it(tmp_path: Path) -> None:
    probe = ProbeProcess(["/bin/sh", "-c", "sleep 1000 & echo $!"], str(tmp_path), None, os.sched_getaffinity(0))
    end_s = time.monotonic() + 30
    while (probe.poll() is None or not probe.log.bytes()) and time.monotonic() < end_s:
        probe.drain()
        time.sleep(0.005)
    child = int(probe.log.bytes())
    probe.kill()
    probe.close()
    assert probe.poll() == 0
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_what_it_said_right_before_it_ended_is_heard(tmp_path: Path) -> None:
    probe = ProbeProcess(["/bin/sh", "-c", "echo why; exit 3"], str(tmp_path), None, os.sched_getaffinity(0))
    end_s = time.monotonic() + 30
    while probe.poll() is None and time.monotonic() < end_s:
        time.sleep(0.005)
    with pytest.raises(AgentError, match="why"):
        probe.result()
    probe.close()
