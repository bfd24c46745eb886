# SPDX-License-Identifier: Apache-2.0
"""The probe `wake`: every period is served or missed, what is late is kept, one wait a period. Counts; never a time."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import (
    a_cpu,
    assert_histogram,
    assert_idle_states,
    calls_of,
    measured,
    run,
    stopped_meanwhile,
    wait_until,
    waits,
)

METHODS = ("clock_nanosleep", "timerfd")


@pytest.fixture(scope="module")
def wake() -> Path:
    return build.build_probe("wake", build.native_arch()).path


def assert_conserved(result, planned):
    told = result["histograms"]["wake_ns"]
    assert result["loop"]["iterations"] == told["recorded"] + told["overflow"] + told["negative"]
    assert result["loop"]["iterations"] + told["missed"] == result["detail"]["periods"] == planned


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("digits", [2, 3])
def test_a_run_and_its_files_agree(wake, tmp_path, method, digits):
    argv = ["--duration", "300ms", "--interval", "700us", "--method", method, "--digits", digits, "--threshold", "5us"]
    result = measured(wake, tmp_path, "--cpu", a_cpu(), *argv)
    assert_conserved(result, 428)
    told = result["histograms"]["wake_ns"]
    histogram = assert_histogram(tmp_path, told)
    assert result["params"] == {
        "interval_ns": 700_000, "method": method, "slack_ns": 1, "threshold_ns": 5000, "digits": digits, "ring": 65536,
    }  # fmt: skip

    late = [json.loads(line) for line in (tmp_path / "late.jsonl").read_text().splitlines()]
    assert result["late"]["count"] == len(late) == result["late"]["stored"]
    assert result["scalars"]["late_rate_hz"]["count"] == len(late) + told["missed"]
    assert all(set(each) == {"at_ns", "wake_ns"} and each["wake_ns"] >= 5000 for each in late)
    deadlines = [each["at_ns"] for each in late]
    assert all(at % 700_000 == 0 and 700_000 <= at <= 300_000_000 for at in deadlines)
    # A deadline that a wake-up slept through is not served after it.
    for before, after in itertools.pairwise(late):
        assert after["at_ns"] >= before["at_ns"] + 700_000 * max(1, before["wake_ns"] // 700_000)
    assert max((each["wake_ns"] for each in late), default=told["max"]) == told["max"]
    beyond = sum(count for i, count in enumerate(histogram.counts) if histogram.get_value_from_index(i) >= 5120)
    assert beyond <= len(late) <= told["recorded"]


def test_what_is_said_of_clock_and_idle_states(wake, tmp_path):
    cpu = a_cpu()
    argv = ["--cpu", cpu, "--duration", "100ms", "--sched", "other", "--slack", "3us"]
    result = measured(wake, tmp_path, *argv)
    detail = result["detail"]
    assert detail["clock"] == "monotonic"
    assert detail["clock_resolution_ns"] == int(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9)
    assert result["loop"]["resolution_ns"] >= max(1, detail["clock_resolution_ns"])
    assert float(result["loop"]["resolution_ns"]).is_integer()  # a step of the kernel's clock, not of the counter
    assert (detail["timer_slack_ns"], detail["timer_slack_error"]) == (3000, None)
    assert detail["woke_elsewhere"] in (0, None)
    assert_idle_states(detail["idle_states"], cpu)
    if re.search(r"^\s*LOC:", Path("/proc/interrupts").read_text(), re.M):
        assert detail["timer_interrupts"] > 0


def test_a_task_that_is_not_pinned(wake, tmp_path):
    result = measured(wake, tmp_path, "--duration", "100ms")
    assert result["cpu"] is None
    assert_conserved(result, 100)
    assert (result["detail"]["idle_states"], result["detail"]["timer_interrupts"]) == (None, None)
    if result["arch"] == "x86_64":
        assert 0 <= result["detail"]["woke_elsewhere"] <= result["loop"]["iterations"]


def test_one_period_only(wake, tmp_path):
    assert_conserved(measured(wake, tmp_path, "--duration", "50ms", "--interval", "50ms"), 1)


def test_no_late_wake_up_is_a_good_result(wake, tmp_path):
    result = measured(wake, tmp_path, "--duration", "50ms", "--threshold", "10s")
    assert (tmp_path / "late.jsonl").read_bytes() == b""
    rate = result["scalars"]["late_rate_hz"]
    assert rate["count"] == result["histograms"]["wake_ns"]["missed"]
    if not rate["count"]:
        assert (rate["value"], rate["upper"]) == (0, pytest.approx(2.995732 / result["duration_ns"] * 1e9, rel=1e-6))


def test_a_full_ring_is_counted(wake, tmp_path):
    told = measured(wake, tmp_path, "--duration", "50ms", "--threshold", "100ns", "--ring", 3)["late"]
    assert told["stored"] == len((tmp_path / "late.jsonl").read_text().splitlines()) == min(3, told["count"])
    assert told["dropped"] == told["count"] - told["stored"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only")
@pytest.mark.parametrize("pinned", [True, False])
def test_wake_ups_elsewhere_are_counted(wake, tmp_path, pinned):
    """Moved while it measures: off the measured CPU for the rest, or once to where it is kept."""
    here, there = sorted(os.sched_getaffinity(0))[-2:]
    argv = [wake, *(["--cpu", str(here)] if pinned else []), "--duration", "2s", "--out", tmp_path]
    with subprocess.Popen(
        argv, preexec_fn=lambda: os.sched_setaffinity(0, {here, there} if pinned else {here})
    ) as probe:
        try:
            assert wait_until(lambda: waits(probe.pid) > 100)
            os.sched_setaffinity(probe.pid, {there})
            assert probe.wait(60) == 0
        finally:
            probe.kill()
    result = json.loads((tmp_path / "result.json").read_text())
    assert_conserved(result, 2000)
    elsewhere = result["detail"]["woke_elsewhere"]
    if result["arch"] != "x86_64" and elsewhere is None:
        pytest.skip("this CPU's number cannot be read without a system call")
    if pinned:
        assert 1 <= elsewhere < result["loop"]["iterations"]
        assert result["effective"]["end"]["cpu"] == there
    else:
        assert elsewhere == 1


@pytest.mark.parametrize("method", METHODS)
def test_periods_of_a_stopped_task_are_missed(wake, tmp_path, method):
    argv = [wake, "--cpu", str(a_cpu()), "--duration", "4s", "--method", method, "--out", tmp_path]
    stopped_meanwhile(argv, lambda pid: waits(pid) > 100, 0.5)
    result = json.loads((tmp_path / "result.json").read_text())
    assert_conserved(result, 4000)
    # At least 499 deadlines lay in it: the first of them was served, late, and the rest never.
    assert result["histograms"]["wake_ns"]["missed"] >= 498
    assert (
        result["scalars"]["late_rate_hz"]["count"]
        == result["late"]["count"] + result["histograms"]["wake_ns"]["missed"]
    )
    assert result["histograms"]["wake_ns"]["max"] >= 498_000_000
    last = [json.loads(line) for line in (tmp_path / "late.jsonl").read_text().splitlines()]
    assert max(each["wake_ns"] for each in last) == result["histograms"]["wake_ns"]["max"]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("method", METHODS)
def test_one_wait_a_period_and_no_other_call(wake, tmp_path, method):
    wait = {"clock_nanosleep": r"clock_nanosleep\(", "timerfd": r"read\(\d+<[^>]*timerfd"}[method]
    others = []
    for name, duration in (("short", "50ms"), ("long", "400ms")):
        out, log = tmp_path / name, tmp_path / f"{name}.strace"
        out.mkdir()
        argv = ["--cpu", a_cpu(), "--duration", duration, "--method", method, "--threshold", "10s", "--out", out]
        done = run("strace", "-f", "-y", "-o", log, wake, *argv)
        assert done.returncode == 0, done.stderr
        calls = calls_of(log)
        waited = len(re.findall(rf"^\d+ +{wait}", log.read_text(), re.M))
        calls["read" if method == "timerfd" else "clock_nanosleep"] -= waited
        others.append(calls)
        served = json.loads((out / "result.json").read_text())["loop"]["iterations"]
        assert 1 <= waited - served <= 16  # those of the warm-up
    assert others[0] == others[1]


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="no timer slack in this kernel")
def test_the_default_slack_of_linux_is_not_in_it(wake, tmp_path):
    assert measured(wake, tmp_path, "--duration", "50ms", "--sched", "other")["detail"]["timer_slack_ns"] == 1
    assert int(Path("/proc/self/timerslack_ns").read_text()) > 1 or os.sched_getscheduler(0)
