# SPDX-License-Identifier: Apache-2.0
"""What every probe has from the shared core: what it says of itself, its exit codes, what ends it."""

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
    ROOT,
    a_cpu,
    assert_described,
    assert_histogram,
    assert_refused,
    measured,
    run,
    state_of,
    unprivileged,
    wait_until,
)


def told_to_begin(*argv, says: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a probe that asks when to begin, and is told this once it is ready."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, argv)], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as probe:
        ready = probe.stdout.readline()
        out, err = probe.communicate(says, timeout=120)
    return probe.returncode, ready + out, err


#: Every probe that there is a source of is tested here; only those that need a second CPU are written down, with the
#: option for it.
HELPERS = {"xwake": "waker-cpu", "sense": "injector-cpu"}


@pytest.fixture(params=build.probes())
def name(request) -> str:
    if request.param in HELPERS and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    return request.param


@pytest.fixture
def probe(name) -> Path:
    return build.build_probe(name, build.native_arch()).path


def test_every_probe_has_a_bench():
    assert set(build.probes()) <= {path.stem for path in (ROOT / "benches").glob("*.yaml")}


def test_the_description_equals_the_bench_file(probe, name):
    assert_described(probe, name)


def test_version_and_help(probe, name):
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", run(probe, "--version").stdout)
    text = run(probe, "--help").stdout
    described = json.loads(run(probe, "--describe").stdout)
    for option in ["cpu", "duration", "sched", "out", "describe", *described["params"]]:
        assert f"--{option} " in text
    for told in described["params"].values():
        assert all(choice in text for choice in told.get("choices", ()))
    helper = HELPERS.get(name)
    assert described["helper"] == helper
    assert all((f"--{option}" in text) == (option == helper) for option in HELPERS.values())


def test_what_all_results_have(probe, name, tmp_path):
    cpu = a_cpu()
    result = measured(probe, tmp_path, "--cpu", cpu, "--duration", "100ms", "--sched", "other")
    parts = [*result["histograms"].values(), *(part for part in result.values() if isinstance(part, dict))]
    named = [part["file"] for part in parts if "file" in part]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*named, "result.json"])
    assert (result["schema"], result["probe"], result["cpu"]) == (1, name, cpu)
    for when in ("start", "end"):
        assert result["effective"][when] == {"affinity": str(cpu), "policy": "other", "priority": 0, "cpu": cpu}
    if result["effective"]["memory_locked"]:
        faults = result["faults"]
        assert (faults["minor"] - faults.get("injected", 0), faults["major"]) == (0, 0)
    assert result["clock"]["granularity_ns"] > 0
    assert result["loop"]["own_cost_ns"] > 0
    assert result["loop"]["resolution_ns"] >= 1
    described = json.loads(run(probe, "--describe").stdout)
    for kind in ("histogram", "scalar"):
        told = {metric: about["unit"] for metric, about in described["metrics"].items() if about["kind"] == kind}
        assert {metric: about["unit"] for metric, about in result[f"{kind}s"].items()} == told
    for about in result["histograms"].values():
        assert_histogram(tmp_path, about)
    keys = {
        param.replace("-", "_") + ("_ns" if told["type"] == "duration" else "")
        for param, told in described["params"].items()
    }
    assert set(result["params"]) == keys


def test_by_hand_it_prints_a_summary(probe, name):
    done = run(probe, "--cpu", a_cpu(), "--duration", "100ms")
    assert (done.returncode, done.stderr) == (0, "")
    described = json.loads(run(probe, "--describe").stdout)
    for word in (*described["metrics"], "p99.99", described["own_cost"], "resolution", "MHz"):
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
        ("sense", ["--attribution", "off"], "sense does nothing without it"),
        (None, ["--duration", "10"], "not a duration"),
        (None, ["--digits", "4"], "not within 2..3"),
        (None, ["--out", "/nonexistent/folder"], "No such file"),
        (None, ["stray"], "unexpected argument"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(only, argv, says):
    for name in [only] if only else build.probes():
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


def test_a_reservation_is_read_back(probe, tmp_path):
    done = run(probe, "--duration", "20ms", "--sched", "deadline:300us/1ms", "--out", tmp_path)
    if done.returncode:
        pytest.skip(f"no SCHED_DEADLINE here: {done.stderr.strip()}")
    effective = json.loads((tmp_path / "result.json").read_text())["effective"]
    for when in ("start", "end"):
        state = effective[when]
        assert (state["policy"], state["priority"]) == ("deadline", 0)
        assert (state["runtime_ns"], state["period_ns"]) == (300_000, 1_000_000)
        assert "cgroup" not in state


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--sched", "deadline:10us/50us"], "periods from sched_deadline_period_min_us"),
        (["--sched", "deadline:1000ns/1ms"], "runtimes from 1024 ns"),
    ],
)
def test_a_reservation_that_the_kernel_does_not_grant(probe, argv, said):
    done = run(probe, "--duration", "20ms", *argv)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot set SCHED_DEADLINE" in done.stderr
    if not re.search(r"not permitted", done.stderr):  # without the right there is no other reason
        assert said in done.stderr


def test_a_reservation_without_the_right(probe):
    done = run(*unprivileged(probe, "--sched", "deadline:300us/1ms", "--duration", "20ms"))
    assert done.returncode == 3
    assert "CAP_SYS_NICE" in done.stderr


def test_a_cgroup_that_is_not_there(probe, tmp_path):
    done = run(probe, "--duration", "20ms", "--cgroup", tmp_path / "absent")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"cannot go to the cgroup {tmp_path}/absent" in done.stderr
    done = run(probe, "--duration", "20ms", "--cgroup", "relative")
    assert done.returncode == 2
    assert "not an absolute path" in done.stderr


def test_it_begins_when_it_is_told_to(probe, tmp_path):
    """Several of a run begin together: each says that it is ready, and is told the time."""
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    at = time.monotonic_ns() + 500_000_000
    argv = [probe, "--duration", "20ms", "--out", tmp_path, "--start-at", "-"]
    assert told_to_begin(*argv, says=f"{at}\n") == (0, "ready\n", "")
    started = json.loads((tmp_path / "result.json").read_text())["started"]
    assert started["boottime_ns"] - asleep_ns >= at - 1_000_000  # two clocks are not read at one instant


@pytest.mark.parametrize(
    ("says", "status", "why"),
    [
        ("", 3, "nobody said when to begin"),
        ("soon\n", 2, '"soon" on stdin'),
        (f"{10**18}\n", 2, "more than 10 s ahead"),
    ],
)
def test_who_does_not_say_when_has_no_run(probe, tmp_path, says, status, why):
    argv = [probe, "--duration", "20ms", "--out", tmp_path, "--start-at", "-"]
    found, out, err = told_to_begin(*argv, says=says)
    assert (found, out) == (status, "ready\n")
    assert why in err
    assert list(tmp_path.iterdir()) == []
