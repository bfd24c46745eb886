# SPDX-License-Identifier: Apache-2.0
"""``gap --hold-events``: attribution's events, open for as long as stdin is, and no longer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import IS_ROOT, measured, run, state_of, unprivileged, wait_until


@pytest.fixture(scope="module")
def gap() -> Path:
    return build.build_probe("gap", build.native_arch()).path


@contextlib.contextmanager
def held(*argv):
    """The process and what it says."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*map(str, argv)], **pipes) as holder:
        try:
            yield holder, json.loads(holder.stdout.readline())
        finally:
            holder.kill()


def perf_fds(pid: int) -> int:
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(link))
    return links.count("anon_inode:[perf_event]")


@pytest.mark.parametrize("scope", ["cpu", "task"])
def test_what_an_attributed_run_would_open_is_held_until_stdin_ends(gap, tmp_path, scope):
    cpu = [] if scope == "task" else ["--cpu", max(os.sched_getaffinity(0))]
    told = measured(gap, tmp_path, "--duration", "50ms", "--attribution", "perf", *cpu)["attribution"]
    with held(gap, "--hold-events", scope) as (holder, said):
        assert said["level"] == told["level"]
        assert said["reason"] == told["reason"]
        assert perf_fds(holder.pid) >= said["events"] >= len(told.get("events", {}).get("open", []))
        assert (said["events"] > 0) == (said["level"] != "nothing")
        holder.stdin.close()
        assert holder.wait(60) == 0


def test_they_count_nothing_and_take_no_time(gap):
    with held(gap, "--hold-events", "cpu") as (holder, _):
        assert wait_until(lambda: state_of(holder.pid) == "S")
        before = Path(f"/proc/{holder.pid}/stat").read_text().split()[13:15]
        run("sleep", "0.3")
        assert Path(f"/proc/{holder.pid}/stat").read_text().split()[13:15] == before
        assert state_of(holder.pid) == "S"


def test_it_dies_with_its_parent(gap):
    script = f"""
import os, subprocess, sys
child = subprocess.Popen([{str(gap)!r}, "--hold-events", "cpu", "--parent", str(os.getpid())],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
os.dup2(child.stdin.fileno(), 9)
os.set_inheritable(9, True)
keeper = subprocess.Popen(["sleep", "60"], close_fds=False)  # has its stdin open beyond our end
child.stdout.readline()
print(child.pid, keeper.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        holder, keeper = map(int, parent.stdout.readline().split())
        try:
            assert state_of(holder) == "S"
            parent.kill()
            parent.wait()
            assert wait_until(lambda: state_of(holder) in (None, "Z"))
        finally:
            os.kill(keeper, signal.SIGKILL)


def test_without_privilege_it_says_what_it_has(gap):
    with held(*unprivileged(gap, "--hold-events", "cpu")) as (holder, said):
        assert said["level"] in ("tracepoints", "software", "nothing")
        assert (said["reason"] is None) == (said["level"] == "tracepoints")
        if IS_ROOT:
            assert said["level"] != "tracepoints"
        assert (perf_fds(holder.pid) if not IS_ROOT else said["events"]) >= said["events"]


def test_bad_usage(gap):
    assert run(gap, "--hold-events", "all").returncode == 2
    work = build.build_probe("work", build.native_arch()).path
    assert run(work, "--hold-events", "cpu", stdin=subprocess.DEVNULL).returncode == 2
