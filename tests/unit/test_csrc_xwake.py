# SPDX-License-Identifier: Apache-2.0
"""The probe `xwake`: every wake-up is answered and counted, the two counters are compared. Counts; never a time."""

from __future__ import annotations

import collections
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import (
    a_cpu,
    assert_histogram,
    assert_idle_states,
    assert_refused,
    measured,
    run,
    stopped_meanwhile,
    waits,
)

METHODS = ("futex", "eventfd")
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only")


@pytest.fixture(scope="module")
def xwake() -> Path:
    return build.build_probe("xwake", build.native_arch()).path


def assert_conserved(result, planned):
    told, detail = result["histograms"]["xwake_ns"], result["detail"]
    left_out = 0 if detail["not_asleep_recorded"] else detail["not_asleep"]
    assert result["loop"]["iterations"] == told["recorded"] + told["overflow"] + told["negative"] + left_out
    assert result["loop"]["iterations"] + told["missed"] == detail["periods"] == planned


@pytest.mark.parametrize("method", METHODS)
def test_a_run_and_its_files_agree(xwake, tmp_path, method):
    cpu = a_cpu()
    argv = ["--duration", "300ms", "--interval", "700us", "--method", method, "--threshold", "5us"]
    result = measured(xwake, tmp_path, "--cpu", cpu, *argv)
    assert_conserved(result, 428)
    told, detail = result["histograms"]["xwake_ns"], result["detail"]
    assert_histogram(tmp_path, told)
    assert result["params"]["method"] == method
    assert detail["waker"]["cpu"] in os.sched_getaffinity(0) - {cpu}
    assert detail["woke_on_waker_cpu"] in (0, None)
    assert detail["not_asleep_recorded"] == (method == "eventfd")
    assert_idle_states(detail["idle_states"], cpu)

    late = [json.loads(line) for line in (tmp_path / "late.jsonl").read_text().splitlines()]
    assert result["late"]["count"] == len(late)
    assert result["scalars"]["late_rate_hz"]["count"] == len(late) + told["missed"]
    assert all(set(each) == {"at_ns", "xwake_ns"} and each["xwake_ns"] >= 5000 for each in late)
    # It is woken again only after it answered.
    for before, after in itertools.pairwise(late):
        assert after["at_ns"] + 2 >= before["at_ns"] + before["xwake_ns"] * 0.999
    assert max((each["xwake_ns"] for each in late), default=told["max"]) == told["max"]


def test_the_counters_are_compared(xwake, tmp_path):
    result = measured(xwake, tmp_path, "--cpu", a_cpu(), "--duration", "50ms")
    told = result["detail"]["counter_offset"]
    assert told["synchronised"] is True
    for when in ("before", "after"):
        bounds = told[when]
        # The bounds of the shortest round alone are its length apart; all of them together no more.
        width = bounds["high_ns"] - bounds["low_ns"]
        assert width <= bounds["round_trip_ns"] + 1
        assert width >= -2 * result["clock"]["granularity_ns"]
        assert bounds["round_trip_ns"] > 0


def test_the_waking_cpu_may_be_chosen(xwake, tmp_path):
    measured_cpu, waker = sorted(os.sched_getaffinity(0))[:2]
    result = measured(xwake, tmp_path, "--cpu", measured_cpu, "--waker-cpu", waker, "--duration", "50ms")
    assert (result["cpu"], result["detail"]["waker"]["cpu"]) == (measured_cpu, waker)


def test_without_a_second_cpu_it_refuses(xwake, tmp_path):
    cpu = a_cpu()
    done = run(
        xwake, "--cpu", cpu, "--duration", "50ms", "--out", tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {cpu})
    )
    assert_refused(done, "one allowed CPU only", "allow this task a second CPU")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_is_not_pinned_may_wake_anywhere(xwake, tmp_path, method):
    """For the comparison of the counters it keeps off the waker's CPU, and only for that."""
    result = measured(xwake, tmp_path, "--duration", "200ms", "--method", method)
    assert result["cpu"] is None
    assert_conserved(result, 200)
    assert result["effective"]["start"]["affinity"] == result["effective"]["end"]["affinity"]
    assert result["detail"]["waker"]["cpu"] in os.sched_getaffinity(0)
    if result["arch"] == "x86_64":
        assert 0 <= result["detail"]["woke_on_waker_cpu"] <= result["loop"]["iterations"]


def test_a_waking_cpu_that_does_not_exist(xwake):
    done = run(xwake, "--cpu", a_cpu(), "--waker-cpu", "8191", "--duration", "50ms")
    assert_refused(done, "CPU 8191", os.strerror(22))


@pytest.mark.parametrize("method", METHODS)
def test_periods_of_a_stopped_task_are_missed(xwake, tmp_path, method):
    argv = [xwake, "--cpu", str(a_cpu()), "--duration", "4s", "--method", method, "--out", tmp_path]
    stopped_meanwhile(argv, lambda pid: waits(pid) > 100, 0.5)
    result = json.loads((tmp_path / "result.json").read_text())
    assert_conserved(result, 4000)
    assert result["histograms"]["xwake_ns"]["missed"] >= 497


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("method", METHODS)
def test_one_wait_a_wake_up_and_no_other_call(xwake, tmp_path, method):
    """Of the measured thread, which is the first. The waker sleeps and wakes."""
    others = []
    for name, duration in (("short", "50ms"), ("long", "400ms")):
        out, log = tmp_path / name, tmp_path / f"{name}.strace"
        out.mkdir()
        argv = ["--cpu", a_cpu(), "--duration", duration, "--method", method, "--threshold", "10s", "--out", out]
        done = run("strace", "-f", "-y", "-o", log, xwake, *argv)
        assert done.returncode == 0, done.stderr
        lines = log.read_text().splitlines()
        mine = [line for line in lines if re.match(rf"{lines[0].split()[0]} +\w+\(", line)]
        pattern = r"futex\((0x\w+), FUTEX_WAIT" if method == "futex" else r"read\((\d+<[^>]*event[^>]*>)"
        # The futex of the wake-ups is the one waited on most; the barrier has others.
        [(_, waited)] = collections.Counter(re.findall(pattern, "\n".join(mine))).most_common(1)
        result = json.loads((out / "result.json").read_text())
        # One for each wake-up, one for the end; the same of the warm-up's 16 at most.
        assert 2 <= waited - result["loop"]["iterations"] <= 18
        others.append(len(mine) - waited)
    assert abs(others[0] - others[1]) <= 6  # a barrier waits, or finds the other there already
