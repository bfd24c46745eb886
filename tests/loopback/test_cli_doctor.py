# SPDX-License-Identifier: Apache-2.0
"""doctor TARGET over SSH: what takes time from the core is named, a knob against it tried, and put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.store.runs import iter_runs

from .campaign_kit import Lab, Said, measuring, wait_for
from .conftest import Server, User

TIMER = "hrtimer:timerfd_tmrproc"
#: Timers that go off on one CPU, where they were armed; who armed them comes back once a second to arm them anew.
ARM = """
import ctypes, os, sys, time
cpu, count = map(int, sys.argv[1:])
libc, everywhere = ctypes.CDLL(None), os.sched_getaffinity(0)
timers = [libc.timerfd_create(1, 0) for _ in range(count)]
while True:
    os.sched_setaffinity(0, {cpu})
    for number, timer in enumerate(timers):
        libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, (number + 1) * 10**9 // (count + 1)), None)
    os.sched_setaffinity(0, everywhere - {cpu})
    print("armed", flush=True)
    time.sleep(1)
"""


@contextmanager
def timers_on(cpu: int) -> Iterator[None]:
    """One every 4 ms."""
    with subprocess.Popen([sys.executable, "-c", ARM, str(cpu), "250"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        try:
            yield
        finally:
            process.kill()


def doctor(lab: Lab, *words: str) -> Said:
    return lab.cli("doctor", "box", "-i", str(lab.inventory), "--results", str(lab.results), *words)


def measured_cpu() -> int:
    """That of a machine where none is isolated."""
    return max(os.sched_getaffinity(0))


@pytest.mark.skipif(os.geteuid() != 0, reason="knobs and tracepoints are root's")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="timers are armed on one CPU by a task of another")
def test_a_cause_is_found_a_knob_against_it_tried_and_put_back(lab: Lab, sshd: Server) -> None:
    knob = Path("/proc/sys/kernel/timer_migration")
    before = knob.read_text()
    lab.add(sshd)
    with timers_on(measured_cpu()):
        said = doctor(lab, "--fix", "--mode", "pinned", "--duration", "500ms", "--json")
    assert said.code == 0, said.err
    told: dict[str, Any] = json.loads(said.out)
    assert {each["topic"] for each in told["targets"]["box"]} >= {"reached", "isolation", "placement"}
    [found] = told["measured"]
    if found["level"] != "tracepoints":
        pytest.skip(f"no tracepoints here: {found['why']}")
    assert (found["target"], found["mode"], found["cpu"]) == ("box", "pinned", measured_cpu())
    assert sum(each["count"] for each in found["causes"]) == found["count"]
    stolen = [each["stolen_ns"] for each in found["causes"]]
    assert stolen == sorted(stolen, reverse=True)
    [cause] = [each for each in found["causes"] if each["cause"] == TIMER]
    assert "timerfd_create(2)" in cause["text"]
    effects = {remedy["knob"]: remedy["in_effect"] for remedy in cause["remedies"]}
    assert effects["timer-migration"] is (before.strip() == "0")
    if before.strip() == "0":
        pytest.skip("timer_migration is 0 on this machine: there is nothing to set")
    [fixed] = told["fixed"]
    assert "timer-migration" in fixed["tune"]
    assert fixed["left"] == []
    assert TIMER in {each["cause"] for each in fixed["changes"]}
    first, second = (next(iter_runs(Path(fixed[when]["path"]))).document for when in ("before", "after"))
    assert first["spec"]["tune"] == []
    assert second["spec"]["tune"] == sorted(fixed["tune"])
    knobs = {each["name"]: each for each in second["knobs"]}
    assert (knobs["timer-migration"]["ok"], knobs["timer-migration"]["effective"]) == (True, "0")
    assert knob.read_text() == before


def test_without_privileges_it_says_what_there_is_and_what_would_help(
    lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]
) -> None:
    user = make_user()
    lab.add(start_sshd(home=False), user=user.name, become="none")
    said = doctor(lab, "--fix", "--duration", "300ms", "--json")
    assert said.code in (0, 3), said.err  # 3: there was something to fix
    told = json.loads(said.out)
    [found], [fixed] = told["measured"], told["fixed"]
    assert found["level"] in ("software", "nothing")
    assert found["why"] != []
    assert "become: sudo" in found["advice"]
    assert {each["cause"].partition(":")[0] for each in found["causes"]} <= {"switch", "fault", "unexplained"}
    assert fixed["tune"] == []
    if said.code == 3:
        assert fixed["error"]["message"].startswith("cannot fix without root (become: sudo)")
    else:
        assert fixed["error"]["message"].startswith("nothing to fix")
    assert len(list((lab.results / "doctor").iterdir())) == 1


def test_a_target_in_use_is_told_and_left_alone(lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    with lab.start("run", str(lab.campaign(axes={"mode": ["shared"]}, duration="60s"))) as other:
        try:
            wait_for(lambda: lab.events("run-started"), "the other one measures")
            said = doctor(lab, "--json")
        finally:
            other.send_signal(signal.SIGINT)
            other.communicate(timeout=60)
    assert said.code == 3, said.err
    told = json.loads(said.out)
    [left] = told["measured"]
    assert left["error"]["message"].startswith("in use by ")
    assert left["error"]["advice"].endswith("isolbench restore --cancel box")
    assert not (lab.results / "doctor").exists()


def test_an_interrupted_one_puts_the_target_back(lab: Lab, sshd: Server) -> None:
    """What was set is asked for by the fixture, once all is over."""
    lab.add(sshd)
    words = ("doctor", "box", "-i", str(lab.inventory), "--results", str(lab.results), "--duration", "60s")
    with lab.start(*words) as process:
        wait_for(lambda: lab.events("run-started"), "it measures")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "box: not measured" in out
    wait_for(lambda: not measuring(), "nobody measures any more")


def test_without_measuring_nothing_is_left(lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    said = doctor(lab, "--facts", "--json")
    assert said.code == 0, said.err
    assert (json.loads(said.out)["measured"], json.loads(said.out)["fixed"]) == ([], [])
    assert not lab.results.exists()
