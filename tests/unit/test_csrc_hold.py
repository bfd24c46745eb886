# SPDX-License-Identifier: Apache-2.0
"""``gap --hold-events``: attribution's events, open for as long as stdin is, and no longer."""

from __future__ import annotations

import contextlib
import json
import os
import platform
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
            assert wait_until(lambda: state_of(holder) == "S")
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


def attributed(gap, out, *argv):
    """A pinned run's attribution; skipped where this machine has no tracepoints."""
    out.mkdir(exist_ok=True)
    told = measured(gap, out, "--cpu", max(os.sched_getaffinity(0)), "--attribution", "perf", *argv)["attribution"]
    if told["level"] != "tracepoints":
        pytest.skip(f"no tracepoints here: {told['reason']}")
    return told


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 interrupts every CPU to patch its code")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only: nobody else to interrupt")
@pytest.mark.parametrize("name", ["gap", "wake"])
def test_beside_held_events_a_run_patches_nothing(gap, tmp_path, name):
    """Whichever probe holds them: `wake` opens some more."""
    probe = build.build_probe(name, build.native_arch()).path
    for attempt in range(5):  # somebody else may have events open, too
        alone = attributed(probe, tmp_path / f"alone-{attempt}", "--duration", "50ms")
        if alone["instruments"]["interrupts"]["opening"] >= len(alone["events"]["open"]):
            break
    with held(gap, "--hold-events", "cpu"):
        beside = attributed(probe, tmp_path / "beside", "--duration", "50ms")
    events = len(beside["events"]["open"])
    before, after = alone["instruments"]["interrupts"], beside["instruments"]["interrupts"]
    assert after["opening"] < events <= before["opening"]


def test_the_instruments_say_what_they_cost(gap, tmp_path):
    cpu = max(os.sched_getaffinity(0))
    told = attributed(gap, tmp_path, "--duration", "300ms")
    instruments = told["instruments"]
    placed = told["placed"]
    assert instruments["events"] == placed["inside"] + placed["outside"] + placed["foreign"]
    if told["sample_ns"] is not None:
        stolen_ns = sum(each["stolen_ns"] for each in told["classes"].values())
        assert instruments["cost_ns"] == pytest.approx(instruments["events"] * told["sample_ns"], rel=1e-3)
        own_ns = placed["inside"] * told["sample_ns"]
        assert instruments["share_of_stolen"] == pytest.approx(own_ns / stolen_ns, rel=1e-3)
        # At least as long as was asked: who is not let run at its end runs longer.
        assert 0 < instruments["share_of_run"] <= 1.001 * instruments["cost_ns"] / 300e6
    assert instruments["reader"]["cpu_ns"] > 0
    assert (cpu in instruments["reader"]["cpus"]) == (os.sched_getaffinity(0) == {cpu})
    # Each event is enabled on its CPU before the loop: by an interrupt, or by none where that CPU is idle and polls for
    # such calls. Within the loop they need none.
    interrupts = instruments["interrupts"]
    assert interrupts["wakeups"] == 0
    assert interrupts["enabling"] >= 0
    if os.sched_getaffinity(0) != {cpu}:
        assert interrupts["own"] is None or interrupts["own"] < 10


def test_events_that_others_open_meanwhile_are_counted(gap, tmp_path):
    """Of a run that is under way, from anywhere."""
    argv = ["--cpu", str(max(os.sched_getaffinity(0))), "--duration", "1s", "--attribution", "perf", "--out", tmp_path]
    with subprocess.Popen([gap, *argv]) as probe:
        try:
            assert wait_until(lambda: os.sched_getaffinity(probe.pid) == {int(argv[1])})
            run("sleep", "0.3")
            with held(gap, "--hold-events", "task") as (_, said):
                assert probe.wait(60) == 0
        finally:
            probe.kill()
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    if told["level"] == "nothing":
        pytest.skip(f"no events here: {told['reason']}")
    assert told["instruments"]["opened_by_others"] >= said["events"] > 0
