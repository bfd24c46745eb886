# SPDX-License-Identifier: Apache-2.0
"""The probe `gap` as a program: its files, its exit codes, what ends it. Counts, order and content; never a time."""

from __future__ import annotations

import itertools
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
    cpu_ticks,
    decoded,
    measured,
    run,
    state_of,
    unprivileged,
    wait_until,
)


@pytest.fixture(scope="module")
def gap() -> Path:
    return build.build_probe("gap", build.native_arch()).path


# --- a run ---


@pytest.mark.parametrize("digits", [2, 3])
def test_a_run_and_its_files_agree(gap, tmp_path, digits):
    cpu = a_cpu()
    result = measured(gap, tmp_path, "--cpu", cpu, "--duration", "300ms", "--digits", digits, "--threshold", "2us")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gap_ns.hdr", "gaps.jsonl", "result.json"]
    assert (result["schema"], result["probe"], result["cpu"]) == (1, "gap", cpu)
    assert result["arch"] == build.native_arch()
    assert result["params"] == {"threshold_ns": 2000, "digits": digits, "ring": 65536}

    told = result["histograms"]["gap_ns"]
    histogram = decoded((tmp_path / told["file"]).read_bytes())
    assert (histogram.significant_figures, histogram.highest_trackable_value) == (digits, told["highest"])
    assert histogram.get_total_count() == told["recorded"]
    assert result["loop"]["iterations"] == told["recorded"] + told["overflow"] + told["negative"]
    own, short = result["loop"]["own_cost_ns"], histogram.get_value_at_percentile(50)
    assert short / 2 - result["clock"]["granularity_ns"] <= own <= 2 * short + result["clock"]["granularity_ns"]
    assert (told["dropped"], told["missed"]) == (0, 0)
    used = [i for i, count in enumerate(histogram.counts) if count]
    assert used[0] == histogram._counts_index_for(told["min"])
    if not told["overflow"]:
        assert used[-1] == histogram._counts_index_for(told["max"])

    gaps = [json.loads(line) for line in (tmp_path / "gaps.jsonl").read_text().splitlines()]
    assert len(gaps) == result["gaps"]["stored"] == result["gaps"]["count"] - result["gaps"]["dropped"]
    assert result["gaps"]["count"] == result["scalars"]["gap_rate_hz"]["count"]
    assert all(set(gap) == {"at_ns", "gap_ns"} and gap["gap_ns"] >= 2000 for gap in gaps)
    assert all(0 <= gap["at_ns"] <= result["duration_ns"] for gap in gaps)
    # Contiguous, never overlapping; the loop's scale and the final one differ by the drift, plus rounding.
    for before, after in itertools.pairwise(gaps):
        slack = 2 + before["gap_ns"] * (abs(result["clock"]["drift_ppm"]) + 1) / 1e6
        assert before["at_ns"] + before["gap_ns"] <= after["at_ns"] + slack
    assert max((gap["gap_ns"] for gap in gaps), default=told["max"]) == told["max"]
    beyond = sum(count for i, count in enumerate(histogram.counts) if histogram.get_value_from_index(i) >= 2048)
    assert beyond + told["overflow"] <= len(gaps)


def test_metrics_follow_from_the_gaps(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "500ms", "--threshold", "500ns")
    gaps = [json.loads(line) for line in (tmp_path / "gaps.jsonl").read_text().splitlines()]
    duration, own = result["duration_ns"], result["loop"]["own_cost_ns"]
    # The mean of what is no gap.
    others = result["loop"]["iterations"] - len(gaps)
    assert own == pytest.approx((duration - sum(gap["gap_ns"] for gap in gaps)) / others, rel=1e-2)
    scalars = result["scalars"]
    assert scalars["gap_rate_hz"]["value"] == pytest.approx(len(gaps) / duration * 1e9)
    assert scalars["gap_rate_hz"]["upper"] > scalars["gap_rate_hz"]["value"]
    stolen = sum(gap["gap_ns"] - own for gap in gaps) / duration * 1e6
    assert scalars["stolen_ppm"]["value"] == pytest.approx(stolen, rel=1e-2, abs=1)
    edges = [0, *(edge for gap in gaps for edge in (gap["at_ns"], gap["at_ns"] + gap["gap_ns"])), duration]
    quiet = max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True))
    assert scalars["quiet_max_ns"]["value"] == pytest.approx(quiet, rel=1e-3, abs=1000)
    assert [scalars[name]["unit"] for name in scalars] == ["ppm", "ns", "Hz"]


def test_a_run_without_a_gap_is_a_good_result(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "100ms", "--threshold", "10s")
    assert (tmp_path / "gaps.jsonl").read_bytes() == b""
    assert result["gaps"] == {
        "file": "gaps.jsonl", "count": 0, "stored": 0, "dropped": 0, "threshold_ns": 10**10,
    }  # fmt: skip
    duration = result["duration_ns"]
    assert result["scalars"]["stolen_ppm"]["value"] == 0
    assert result["scalars"]["gap_rate_hz"]["value"] == 0
    assert result["scalars"]["gap_rate_hz"]["upper"] == pytest.approx(2.995732 / duration * 1e9, rel=1e-6)
    assert result["scalars"]["quiet_max_ns"]["value"] == duration


def test_a_full_ring_is_counted_and_keeps_the_beginning(gap, tmp_path):
    done = run(gap, "--duration", "50ms", "--threshold", "50ns", "--ring", 3, "--out", tmp_path)
    assert done.returncode == 0  # a warning may say that the threshold is below the loop's own cost
    told = json.loads((tmp_path / "result.json").read_text())["gaps"]
    assert told["stored"] == len((tmp_path / "gaps.jsonl").read_text().splitlines()) == min(3, told["count"])
    assert told["dropped"] == told["count"] - told["stored"]


def test_what_was_asked_is_read_back(gap, tmp_path):
    cpu = a_cpu()
    result = measured(gap, tmp_path, "--cpu", cpu, "--duration", "50ms", "--sched", "other")
    for when in ("start", "end"):
        assert result["effective"][when] == {"affinity": str(cpu), "policy": "other", "priority": 0, "cpu": cpu}


@pytest.mark.parametrize("policy", ["batch", "idle"])
def test_every_policy_without_a_parameter_can_be_had(gap, tmp_path, policy):
    result = measured(gap, tmp_path, "--duration", "50ms", "--sched", policy)
    assert (result["effective"]["end"]["policy"], result["effective"]["end"]["priority"]) == (policy, 0)


def test_the_measured_cpu_is_left_for_the_paperwork(gap, tmp_path):
    """Started on the measured CPU with others allowed, it prepares and writes elsewhere: stopped at its last file."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    fifo = tmp_path / "gap_ns.hdr"
    os.mkfifo(fifo)  # opened for writing after the loop, and nobody reads: it waits there
    argv = [gap, "--cpu", str(cpus[-1]), "--duration", "50ms", "--out", tmp_path]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as probe:
        try:
            assert wait_until(lambda: state_of(probe.pid) == "S")
            assert os.sched_getaffinity(probe.pid) == set(cpus[:-1])
        finally:
            probe.kill()


def test_without_a_cpu_the_task_is_not_pinned(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "50ms")
    assert result["cpu"] is None
    cpus = {
        cpu
        for span in result["effective"]["start"]["affinity"].split(",")
        for cpu in range(int(span.split("-")[0]), int(span.split("-")[-1]) + 1)
    }
    assert cpus == os.sched_getaffinity(0)


@pytest.mark.skipif(not IS_ROOT, reason="SCHED_FIFO needs root")
def test_fifo_is_read_back(gap, tmp_path):
    done = run(gap, "--cpu", a_cpu(), "--duration", "50ms", "--sched", "fifo:3", "--out", tmp_path)
    if done.returncode == 3:
        pytest.skip(f"no real-time scheduling here: {done.stderr.strip()}")
    end = json.loads((tmp_path / "result.json").read_text())["effective"]["end"]
    assert (end["policy"], end["priority"]) == ("fifo", 3)


def test_the_clock_is_described(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "50ms")
    clock = result["clock"]
    assert clock["source"] == {"x86_64": "tsc", "aarch64": "cntvct"}[result["arch"]]
    assert clock["frequency_hz"] > 1e6
    assert clock["granularity_ns"] > 0
    assert clock["frequency_error_ppm"] > 0
    assert {type(clock["invariant"]), type(clock["virtual"])} <= {bool, type(None)}
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source.exists():
        assert clock["kernel_clocksource"] == source.read_text().strip()
    if result["arch"] == "x86_64":
        flags = re.findall(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[0].split()
        assert clock["virtual"] == ("hypervisor" in flags)


def test_it_starts_and_ends_when_it_says(gap, tmp_path):
    """Each of the three clocks, taken before and after, encloses both; the counter's own is as long as the run."""
    clocks = {
        "realtime_ns": time.CLOCK_REALTIME, "boottime_ns": time.CLOCK_BOOTTIME,
        "monotonic_raw_ns": time.CLOCK_MONOTONIC_RAW,
    }  # fmt: skip
    before = {name: time.clock_gettime_ns(clock) for name, clock in clocks.items()}
    result = measured(gap, tmp_path, "--duration", "50ms")
    after = {name: time.clock_gettime_ns(clock) for name, clock in clocks.items()}
    for name in clocks:
        assert before[name] < result["started"][name] < result["ended"][name] < after[name]
    took = result["ended"]["monotonic_raw_ns"] - result["started"]["monotonic_raw_ns"]
    assert abs(took - result["duration_ns"]) < result["duration_ns"] / 10


def test_nothing_faults_while_measuring_with_locked_memory(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "200ms", "--threshold", "200ns")
    if not result["effective"]["memory_locked"]:
        pytest.skip(f"memory cannot be locked here: {result['effective']['memory_error']}")
    assert result["faults"] == {"minor": 0, "major": 0}


def test_memory_that_cannot_be_locked_is_a_finding(gap, tmp_path):
    done = run(
        *unprivileged(gap, "--duration", "50ms", "--out", tmp_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    effective = json.loads((tmp_path / "result.json").read_text())["effective"]
    assert effective["memory_locked"] is False
    assert effective["memory_error"]


def test_by_hand_it_prints_a_summary(gap):
    done = run(gap, "--cpu", a_cpu(), "--duration", "100ms")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("gap_ns", "p99.99", "max", "stolen_ppm", "quiet_max_ns", "gap_rate_hz", "own cost", "MHz"):
        assert word in done.stdout


# --- what it says of itself ---


def test_the_description_equals_the_bench_file(gap):
    described = assert_described(gap, "gap")
    assert {name: (m["kind"], m["unit"]) for name, m in described["metrics"].items()} == {
        "gap_ns": ("histogram", "ns"),
        "stolen_ppm": ("scalar", "ppm"),
        "quiet_max_ns": ("scalar", "ns"),
        "gap_rate_hz": ("scalar", "Hz"),
    }


def test_version_and_help(gap):
    assert re.fullmatch(r"gap \d+\.\d+\.\d+\n", run(gap, "--version").stdout)
    text = run(gap, "--help").stdout
    described = json.loads(run(gap, "--describe").stdout)
    for name in ["cpu", "duration", "sched", "out", "describe", "version", "help", *described["params"]]:
        assert f"--{name}" in text


# --- exit codes ---


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--duration", "10"], "--duration 10: not a duration"),
        (["--duration", "0s"], "--duration 0s: not within"),
        (["--duration", "1000h"], "not within"),
        (["--duration"], "--duration needs a value"),
        (["--threshold", "1ns"], "not within 50ns..10s"),
        (["--threshold", "20s"], "not within 50ns..10s"),
        (["--digits", "4"], "--digits 4: not within 2..3"),
        (["--digits", "two"], "not a whole number"),
        (["--ring", "0"], "--ring 0: not within"),
        (["--cpu", "-1"], "--cpu -1: not a whole number"),
        (["--cpu", "8192"], "not within"),
        *(
            (["--sched", text], "none of other,")
            for text in ("fifo", "fifo:", "fifo:0", "rr:100", "batch:1", "deadline")
        ),
        *(
            (["--sched", f"deadline:{text}"], "deadline:RUNTIME/PERIOD")
            for text in ("", "1ms", "1ms/", "/1ms", "2ms/1ms", "0ns/1ms", "1/2", "1ms/2ms/3ms", "x" * 40 + "/1ms")
        ),
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--thresholds", "1us"], "unknown option"),
        (["stray"], 'unexpected argument "stray"'),
        (["-h"], 'unexpected argument "-h"'),
        (["--digits", "2", "--digits=2"], "--digits is given twice"),
        (["--help=yes"], "--help takes no value"),
        (["--out", "/nonexistent/folder"], "No such file"),
        (["--out", "/dev/null"], "Not a directory"),
        (["--out="], "empty"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(gap, argv, says):
    done = run(gap, *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"gap: error: [^\n]+\n", done.stderr)
    assert says in done.stderr


def test_a_result_is_never_overwritten(gap, tmp_path):
    (tmp_path / "result.json").write_text("kept")
    done = run(gap, "--duration", "50ms", "--out", tmp_path)
    assert done.returncode == 2
    assert "already" in done.stderr
    assert (tmp_path / "result.json").read_text() == "kept"


def test_stdout_that_is_full(gap):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [gap, "--duration", "50ms"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 3
    assert os.strerror(28) in done.stderr


def test_closed_standard_files_end_up_in_no_result(gap, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    script = '"$0" --duration 50ms --threshold 50ns --out "$1" <&- >&- 2>&-'
    assert run("sh", "-c", script, gap, out).returncode == 0
    assert json.loads((out / "result.json").read_text())["probe"] == "gap"
    assert all(json.loads(line) for line in (out / "gaps.jsonl").read_text().splitlines())
    assert run("sh", "-c", '"$0" --duration 50ms >&-', gap).returncode == 3


@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_a_file_that_may_not_grow_leaves_no_result(gap, tmp_path, limit):
    """At 0 the histogram fails, at 1000 the result does: what was written before it is removed again."""
    done = run(
        gap, "--duration", "50ms", "--threshold", "10s", "--out", tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert_refused(done, "cannot write", os.strerror(27), "no result was written")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pages", [1, 2])
def test_a_full_disk_leaves_no_result(gap, tmp_path, pages):
    """A disk of one or two pages, which the histogram and the gaps fill before the result."""
    if not IS_ROOT or not shutil.which("unshare"):
        pytest.skip("mounting a small file system needs root and unshare")
    if run("unshare", "--mount", "mount", "-t", "tmpfs", "none", tmp_path).returncode:
        pytest.skip("this container may not mount a file system")
    if os.sysconf("SC_PAGE_SIZE") != 4096:
        pytest.skip("the sizes are those of 4 KiB pages")
    script = f"""
        mount -t tmpfs -o size={pages * 4}k none "$1" || exit 99
        "$0" --threshold 50ns --duration 50ms --out "$1"
        status=$?
        ls -A "$1"
        exit $status"""
    done = run("unshare", "--mount", "sh", "-c", script, gap, tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert os.strerror(28) in done.stderr
    assert "no result was written" in done.stderr


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_a_directory_that_is_not_ours(gap, tmp_path):
    tmp_path.chmod(0o500)
    assert_refused(run(gap, "--duration", "50ms", "--out", tmp_path), "cannot write in")


def test_links_are_not_followed(gap, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    out = tmp_path / "out"
    out.mkdir()
    (out / "gap_ns.hdr").symlink_to(victim)
    done = run(gap, "--duration", "50ms", "--out", out)
    assert_refused(done, "cannot create")
    assert victim.read_text() == "kept"


# --- what ends it ---


def test_it_dies_with_its_parent(gap):
    parent = subprocess.Popen(
        ["sh", "-c", '"$0" --duration 600s & echo $!; wait', gap], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    with parent:
        pid = int(parent.stdout.readline())
        try:
            # Some ticks of calibrating or measuring: bound to its parent since long.
            assert wait_until(lambda: cpu_ticks(pid) >= 10)
            assert state_of(pid) not in (None, "Z")
            parent.send_signal(signal.SIGKILL)
            assert wait_until(lambda: state_of(pid) in (None, "Z", "X"))
        finally:
            if state_of(pid) not in (None, "Z", "X"):
                os.kill(pid, signal.SIGKILL)
            parent.kill()


def test_a_parent_that_is_already_gone(gap):
    assert_refused(run(gap, "--duration", "50ms", "--parent", os.getppid() or 1), "the parent is gone")
    assert run(gap, "--duration", "50ms", "--parent", os.getpid()).returncode == 0


def test_a_timer_ends_it_and_no_limit_on_cpu_time(gap):
    """CLOCK_MONOTONIC and a signal; timers and limits of CPU time would keep the tick on a nohz_full CPU."""
    done = subprocess.Popen([gap, "--duration", "600s"], stdout=subprocess.DEVNULL)
    with done:
        try:
            timers = Path(f"/proc/{done.pid}/timers")
            if not timers.exists():
                pytest.skip("no /proc/PID/timers in this kernel")
            assert wait_until(lambda: cpu_ticks(done.pid) >= 10)
            text = timers.read_text()
            assert re.findall(r"^signal: (\d+)/", text, re.M) == [str(int(signal.SIGALRM))]
            assert re.findall(r"^ClockID: (\d+)$", text, re.M) == [str(time.CLOCK_MONOTONIC)]
            limits = Path(f"/proc/{done.pid}/limits").read_text()
            for name in ("Max cpu time", "Max realtime timeout"):
                mine = re.findall(rf"^{name}.*$", Path("/proc/self/limits").read_text(), re.M)
                assert re.findall(rf"^{name}.*$", limits, re.M) == mine
            assert state_of(done.pid) == "R"
            assert not [fd for fd in Path(f"/proc/{done.pid}/fd").iterdir() if int(fd.name) > 2 and fd.is_file()]
        finally:
            done.kill()


def test_numa_balancing_leaves_its_memory_alone(gap):
    """By a memory policy of its own: else the kernel unmaps pages at times, and each costs a fault, locked or not."""
    maps = Path("/proc/self/numa_maps")
    if not maps.exists() or " default " not in maps.read_text():
        pytest.skip("no NUMA in this kernel, or a policy inherited")
    with subprocess.Popen([gap, "--duration", "600s"], stdout=subprocess.DEVNULL) as done:
        try:
            assert wait_until(lambda: cpu_ticks(done.pid) >= 10)
            policies = {line.split()[1] for line in Path(f"/proc/{done.pid}/numa_maps").read_text().splitlines()}
            assert policies - {"default"} == {"local"}
            assert done.poll() is None
        finally:
            done.kill()


def node_of(cpu: int) -> int | None:
    return next((int(path.name[4:]) for path in Path(f"/sys/devices/system/cpu/cpu{cpu}").glob("node[0-9]*")), None)


def test_pinned_it_has_memory_of_its_cpus_node(gap, tmp_path):
    """It is touched from another CPU, which may be of another node."""
    maps = Path("/proc/self/numa_maps")
    if not maps.exists() or " default " not in maps.read_text():
        pytest.skip("no NUMA in this kernel, or a policy inherited")
    cpu = a_cpu()
    with subprocess.Popen([gap, "--cpu", str(cpu), "--duration", "600s"], stdout=subprocess.DEVNULL) as done:
        try:
            assert wait_until(lambda: cpu_ticks(done.pid) >= 10)
            policies = {line.split()[1] for line in Path(f"/proc/{done.pid}/numa_maps").read_text().splitlines()}
            assert policies - {"default"} == {f"prefer:{node_of(cpu)}"}
        finally:
            done.kill()
    result = measured(gap, tmp_path, "--cpu", str(cpu), "--duration", "20ms")
    assert result["effective"]["memory_node"] == node_of(cpu)


def test_an_ignored_or_blocked_alarm_is_put_right(gap):
    def spoil() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

    with subprocess.Popen([gap, "--duration", "600s"], stdout=subprocess.DEVNULL, preexec_fn=spoil) as done:
        try:
            assert wait_until(lambda: cpu_ticks(done.pid) >= 10)
            status = Path(f"/proc/{done.pid}/status").read_text()
            bit = 1 << (signal.SIGALRM - 1)
            for mask in ("SigBlk", "SigIgn"):
                assert not int(re.findall(rf"^{mask}:\s*([0-9a-f]+)$", status, re.M)[0], 16) & bit
            done.send_signal(signal.SIGALRM)
            assert done.wait(60) == -signal.SIGALRM
        finally:
            done.kill()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_system_call_while_measuring(gap, tmp_path):
    """A measurement eight times as long makes not one system call more, but for those that move with its output."""
    counts = []
    for name, duration in (("short", "50ms"), ("long", "400ms")):
        out, log = tmp_path / name, tmp_path / f"{name}.strace"
        out.mkdir()
        # No gap is over 10 s: the files have the same few lines, however long it takes.
        done = run(
            "strace", "-f", "-o", log, gap, "--cpu", a_cpu(), "--duration", duration, "--threshold", "10s", "--out", out
        )
        assert done.returncode == 0, done.stderr
        calls = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M)
        assert "timer_create" in calls, "strace saw the probe"
        counts.append({call: calls.count(call) for call in set(calls)})
    assert counts[0] == counts[1]
