# SPDX-License-Identifier: Apache-2.0
"""What every probe beside `gap` has from the shared core: what it says of itself, its exit codes, what ends it."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import (
    IS_ROOT,
    a_cpu,
    assert_described,
    assert_refused,
    measured,
    run,
    state_of,
    unprivileged,
    wait_until,
)

METRICS = {
    "wake": {"wake_ns": ("histogram", "ns"), "late_rate_hz": ("scalar", "Hz")},
    "xwake": {"xwake_ns": ("histogram", "ns"), "late_rate_hz": ("scalar", "Hz")},
    "work": {"work_ns": ("histogram", "ns"), "work_spread": ("scalar", "p99/p50")},
}
FILES = {
    "wake": ["late.jsonl", "result.json", "wake_ns.hdr"],
    "xwake": ["late.jsonl", "result.json", "xwake_ns.hdr"],
    "work": ["result.json", "work_ns.hdr"],
}


@pytest.fixture(params=sorted(METRICS))
def name(request) -> str:
    if request.param == "xwake" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    return request.param


@pytest.fixture
def probe(name) -> Path:
    return build.build_probe(name, build.native_arch()).path


def test_every_probe_has_a_bench_and_is_tested():
    assert {*METRICS, "gap"} == set(build.probes())


def test_the_description_equals_the_bench_file(probe, name):
    described = assert_described(probe, name)
    assert {metric: (told["kind"], told["unit"]) for metric, told in described["metrics"].items()} == METRICS[name]


def test_it_begins_when_it_is_told_to(probe, tmp_path):
    ahead_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    later, passed = tmp_path / "later", tmp_path / "passed"
    later.mkdir()
    passed.mkdir()
    start_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 400_000_000
    result = measured(probe, later, "--start-at", start_ns, "--duration", "20ms")
    assert result["started"]["boottime_ns"] >= start_ns + ahead_ns - 1_000_000  # two clocks, read one after the other
    assert result["duration_ns"] < 300_000_000  # the wait is no part of it
    late = measured(probe, passed, "--start-at", 1, "--duration", "20ms")
    assert late["duration_ns"] >= 19_000_000


def test_a_start_that_is_far_ahead_is_a_mistake(probe):
    start_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 60 * 10**9
    done = run(probe, "--start-at", start_ns, "--duration", "20ms")
    assert done.returncode == 2
    assert "--start-at lies more than 10 s ahead" in done.stderr


def test_version_and_help(probe, name):
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", run(probe, "--version").stdout)
    text = run(probe, "--help").stdout
    described = json.loads(run(probe, "--describe").stdout)
    for option in ["cpu", "duration", "sched", "out", "describe", *described["params"]]:
        assert f"--{option} " in text
    for told in described["params"].values():
        assert all(choice in text for choice in told.get("choices", ()))
    assert ("--waker-cpu" in text) == (name == "xwake")
    assert described["helper"] == ("waker-cpu" if name == "xwake" else None)


def test_what_all_results_have(probe, name, tmp_path):
    cpu = a_cpu()
    result = measured(probe, tmp_path, "--cpu", cpu, "--duration", "100ms", "--sched", "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES[name]
    assert (result["schema"], result["probe"], result["cpu"]) == (1, name, cpu)
    for when in ("start", "end"):
        assert result["effective"][when] == {"affinity": str(cpu), "policy": "other", "priority": 0, "cpu": cpu}
    if result["effective"]["memory_locked"]:
        assert result["faults"] == {"minor": 0, "major": 0}
    assert result["clock"]["granularity_ns"] > 0
    assert result["loop"]["own_cost_ns"] > 0
    assert result["loop"]["resolution_ns"] >= 1
    assert set(result["histograms"]) | set(result["scalars"]) == set(METRICS[name])
    described = json.loads(run(probe, "--describe").stdout)["params"]
    keys = {
        param.replace("-", "_") + ("_ns" if told["type"] == "duration" else "") for param, told in described.items()
    }
    assert set(result["params"]) == keys


def test_by_hand_it_prints_a_summary(probe, name):
    done = run(probe, "--cpu", a_cpu(), "--duration", "100ms")
    assert (done.returncode, done.stderr) == (0, "")
    for word in (*METRICS[name], "p99.99", "own cost", "resolution", "detail", "MHz"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("only", "argv", "says"),
    [
        ("wake", ["--method", "sleep"], "--method sleep: not one of clock_nanosleep, timerfd"),
        ("wake", ["--method", ""], "not one of"),
        ("wake", ["--interval", "2s", "--duration", "1s"], "--interval is longer than --duration"),
        ("wake", ["--interval", "1us"], "not within 20us..60s"),
        ("wake", ["--waker-cpu", "0"], "unknown option --waker-cpu"),
        ("xwake", ["--method", "pipe"], "--method pipe: not one of futex, eventfd"),
        ("xwake", ["--cpu", "0", "--interval", "2s", "--duration", "1s"], "--interval is longer than --duration"),
        ("xwake", ["--cpu", "1", "--waker-cpu", "1"], "that is the measured CPU"),
        ("xwake", ["--waker-cpu", "8192"], "not within"),
        ("work", ["--buffer-bytes", "64"], "at least two lines"),
        ("work", ["--buffer-bytes", "1K"], "not a whole number"),
        ("work", ["--steps", "-1"], "not a whole number"),
        (None, ["--duration", "10"], "not a duration"),
        (None, ["--digits", "4"], "not within 2..3"),
        (None, ["--out", "/nonexistent/folder"], "No such file"),
        (None, ["stray"], "unexpected argument"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(only, argv, says):
    for name in [only] if only else METRICS:
        done = run(build.build_probe(name, build.native_arch()).path, *argv)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"{name}: error: [^\n]+\n", done.stderr)
        assert says in done.stderr


def test_a_cpu_that_does_not_exist(probe, tmp_path):
    done = run(probe, "--cpu", 8191, "--duration", "50ms", "--out", tmp_path)
    assert_refused(done, "CPU 8191", os.strerror(22), "online")
    assert list(tmp_path.iterdir()) == []


def test_fifo_without_the_right(probe):
    done = run(
        *unprivileged(probe, "--cpu", a_cpu(), "--sched", "fifo:1", "--duration", "50ms"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0)),
    )
    assert_refused(done, "SCHED_FIFO priority 1", os.strerror(1), "CAP_SYS_NICE")


@pytest.mark.skipif(not IS_ROOT, reason="SCHED_FIFO needs root")
def test_fifo_is_read_back(probe, tmp_path):
    done = run(probe, "--cpu", a_cpu(), "--duration", "50ms", "--sched", "fifo:3", "--out", tmp_path)
    if done.returncode == 3:
        pytest.skip(f"no real-time scheduling here: {done.stderr.strip()}")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["effective"]["end"]["policy"], result["effective"]["end"]["priority"]) == ("fifo", 3)
    if result["probe"] == "xwake":
        assert (result["detail"]["waker"]["policy"], result["detail"]["waker"]["priority"]) == ("fifo", 3)


def test_memory_that_cannot_be_locked_is_a_finding(probe, tmp_path):
    done = run(
        *unprivileged(probe, "--cpu", a_cpu(), "--duration", "50ms", "--out", tmp_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "result.json").read_text())["effective"]["memory_locked"] is False


@pytest.mark.parametrize("limit", [0, 1000])
def test_a_file_that_may_not_grow_leaves_no_result(probe, tmp_path, limit):
    done = run(
        probe, "--cpu", a_cpu(), "--duration", "50ms", "--out", tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert_refused(done, "cannot write", os.strerror(27), "no result was written")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_result(probe, tmp_path):
    if not IS_ROOT or not shutil.which("unshare"):
        pytest.skip("mounting a small file system needs root and unshare")
    if run("unshare", "--mount", "mount", "-t", "tmpfs", "none", tmp_path).returncode:
        pytest.skip("this container may not mount a file system")
    script = """
        mount -t tmpfs -o size=4k none "$1" || exit 99
        "$0" --cpu "$2" --duration 50ms --out "$1"
        status=$?
        ls -A "$1"
        exit $status"""
    done = run("unshare", "--mount", "sh", "-c", script, probe, tmp_path, a_cpu())
    assert (done.returncode, done.stdout) == (3, "")
    assert os.strerror(28) in done.stderr
    assert "no result was written" in done.stderr


def timers_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/timers").read_text()
    except OSError:
        return ""


def test_it_dies_with_its_parent(probe):
    parent = subprocess.Popen(
        ["sh", "-c", '"$0" --cpu "$1" --duration 600s & echo $!; wait', probe, str(a_cpu())],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout
    with parent:
        pid = int(parent.stdout.readline())
        try:
            # The safety timer is armed after it is bound to its parent.
            assert wait_until(lambda: f"signal: {int(signal.SIGALRM)}/" in timers_of(pid))
            assert re.findall(r"^ClockID: (\d+)$", timers_of(pid), re.M) == [str(time.CLOCK_MONOTONIC)]
            assert state_of(pid) not in (None, "Z")
            parent.send_signal(signal.SIGKILL)
            assert wait_until(lambda: state_of(pid) in (None, "Z", "X"))
        finally:
            if state_of(pid) not in (None, "Z", "X"):
                os.kill(pid, signal.SIGKILL)
            parent.kill()
