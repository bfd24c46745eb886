# SPDX-License-Identifier: Apache-2.0
"""``gap --attribution perf`` as a program, on this machine: what it can have here, and what it says that it cannot."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import IS_ROOT, a_cpu, calls_of, cpu_ticks, measured, run, unprivileged, wait_until

CLASSES = ["syscall", "exception", "interrupt", "unexplained"]


@pytest.fixture(scope="module")
def gap() -> Path:
    return build.build_probe("gap", build.native_arch()).path


@pytest.fixture(scope="module")
def level(gap, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("level")
    told = measured(gap, out, "--cpu", a_cpu(), "--duration", "50ms", "--attribution", "perf")["attribution"]
    return f"{told['level']}: {told['reason']}" if told["reason"] else told["level"]


@pytest.fixture
def traced(level):
    if level != "tracepoints":
        pytest.skip(f"no tracepoints here: {level}")


def attributed(gap, out, *argv):
    result = measured(gap, out, "--attribution", "perf", *argv)
    gaps = [json.loads(line) for line in (out / "gaps.jsonl").read_text().splitlines()]
    return result, result["attribution"], gaps


@contextlib.contextmanager
def kept_busy(cpu):
    """Somebody else on the same CPU, who is at it already."""
    with subprocess.Popen(["taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done"]) as other:
        try:
            assert wait_until(lambda: cpu_ticks(other.pid) > 3)
            yield
        finally:
            other.kill()


def assert_consistent(result, told, gaps):
    """What holds at every level."""
    assert sum(each["count"] for each in told["classes"].values()) == told["gaps"]
    assert told["gaps"] + told["gaps_dropped"] == result["gaps"]["count"]
    assert sum(each["count"] for each in told["causes"]) == told["gaps"]
    for name in CLASSES:
        causes = [each for each in told["causes"] if each["class"] == name]
        assert sum(each["stolen_ns"] for each in causes) == told["classes"][name]["stolen_ns"]
    for cause in told["causes"]:
        assert sum(count for _, count in cause["buckets"]) == cause["count"]
    if told["gaps_dropped"] == 0 == result["gaps"]["dropped"]:
        assert sum(gap["gap_ns"] for gap in gaps) == sum(each["stolen_ns"] for each in told["causes"])
        for name in CLASSES:
            assert sum(gap["class"] == name for gap in gaps) == told["classes"][name]["count"]
    assert sum(told["placed"].values()) == told["ring"]["records"]
    assert told["ring"]["unknown"] == 0
    for gap in gaps:
        assert gap["class"] in CLASSES
        offsets = [offset for offset, _ in gap["chain"]]
        assert offsets == sorted(offsets)
        assert not offsets or offsets[-1] <= gap["gap_ns"] + told["clock_error_ns"] + 1
        assert (gap["cause"] is None) or gap["cause"] in [label for _, label in gap["chain"]] or gap.get("more")


def test_off_is_the_default_and_says_nothing(gap, tmp_path):
    result = measured(gap, tmp_path, "--duration", "50ms")
    assert not {"attribution", "identity"} & set(result)
    done = run(gap, "--duration", "50ms", "--attribution", "off")
    assert (done.returncode, "attribution" in done.stdout) == (0, False)


def test_the_gaps_of_a_run_have_causes(gap, tmp_path, traced):
    cpu = a_cpu()
    with kept_busy(cpu):  # an entry of which an event was written takes longer than 300 ns anywhere
        result, told, gaps = attributed(gap, tmp_path, "--cpu", cpu, "--duration", "1s", "--threshold", "300ns")
    assert (told["requested"], told["level"], told["reason"], told["scope"]) == ("perf", "tracepoints", None, "cpu")
    assert result["identity"] == {"attribution": "tracepoints"}
    assert_consistent(result, told, gaps)
    # Somebody shares the CPU: the task that came is the cause, and it came after an interrupt.
    came = [gap for gap in gaps if "task:sh" in [label for _, label in gap["chain"]]]
    assert came, told["causes"]
    assert {gap["class"] for gap in came} == {"interrupt"}
    assert all(gap["tid"] > 0 and gap["cause"].startswith(("task:", "work:")) for gap in came)
    # No gap's beginning or end is off by more than an event's own time: none lies between two gaps.
    assert told["placed"]["inside"] > 100 * told["placed"]["outside"]
    assert told["sample_ns"] is None or 0 < told["sample_ns"] < 1e6
    assert told["cpu_gone"] is False
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    assert told["steal_resolution_ns"] == tick_ns
    assert told["steal_ns"] % tick_ns == 0
    assert told["steal_ns"] <= result["duration_ns"] + 5 * tick_ns


def test_conservation(gap, tmp_path, traced):
    """What /proc/interrupts counted is what the ring had, but for what the kernel itself says it left out."""
    _, told, _ = attributed(gap, tmp_path, "--cpu", a_cpu(), "--duration", "1s")
    assert told["ring"]["lost"] == 0
    rows = told["conservation"]["rows"]
    assert any(row["interrupts"] for row in rows.values())
    slack = told["ring"]["missing"]
    for name, row in rows.items():
        assert row["events"] <= row["interrupts"] <= row["events"] + row["edge"] + slack, name
    if not slack:
        assert told["conservation"]["holds"] is True
    assert {"events", "edge", "interrupts"} == set(next(iter(rows.values())))


def test_a_full_ring_loses_and_says_so(gap, tmp_path, traced):
    """The reader is stopped while the loop runs: 16 KiB of events, and then no room."""
    cpu = a_cpu()
    argv = [gap, "--cpu", str(cpu), "--duration", "2s", "--attribution", "perf", "--attribution-ring", "16"]
    with subprocess.Popen([*argv, "--out", tmp_path]) as probe:
        try:
            reader = reader_of(probe.pid)
            assert wait_until(lambda: measuring(probe.pid, cpu))
            os.kill(reader, signal.SIGSTOP)
            with kept_busy(cpu):
                time.sleep(0.5)
            os.kill(reader, signal.SIGCONT)
            assert probe.wait(60) == 0
        finally:
            probe.kill()
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    assert told["ring"]["bytes"] == 16 << 10
    assert told["ring"]["lost"] > 0
    assert told["conservation"]["holds"] is None


def reader_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("this kernel does not list children")
    assert wait_until(lambda: children.read_text().split())
    return int(children.read_text().split()[0])


def measuring(pid, cpu):
    return os.sched_getaffinity(pid) == {cpu}


def test_the_reader_keeps_off_the_measured_cpu(gap, tmp_path):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    argv = [gap, "--cpu", str(cpus[-1]), "--duration", "1s", "--attribution", "perf", "--out", tmp_path]
    with subprocess.Popen(argv) as probe:
        try:
            reader = reader_of(probe.pid)
            assert wait_until(lambda: measuring(probe.pid, cpus[-1]))
            assert cpus[-1] not in os.sched_getaffinity(reader)
            assert probe.wait(60) == 0
        finally:
            probe.kill()


@pytest.mark.parametrize("when", ["before", "while measuring"])
def test_a_run_without_its_reader_goes_on_and_says_so(gap, tmp_path, when):
    cpu = a_cpu()
    argv = [gap, "--cpu", str(cpu), "--duration", "500ms", "--attribution", "perf", "--out", tmp_path]
    with subprocess.Popen(argv) as probe:
        try:
            reader = reader_of(probe.pid)
            if when == "while measuring":
                assert wait_until(lambda: measuring(probe.pid, cpu))
                time.sleep(0.1)
            os.kill(reader, signal.SIGKILL)
            assert probe.wait(60) == 0
        finally:
            probe.kill()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["gaps"]["count"] >= 0
    assert (result["attribution"]["level"], list(result["attribution"])) == (
        "nothing",
        ["requested", "level", "reason"],
    )
    assert result["identity"] == {"attribution": "nothing"}
    assert "reads the events ended before its time" in result["attribution"]["reason"]


def test_the_reader_dies_with_the_probe(gap, tmp_path):
    argv = [gap, "--cpu", str(a_cpu()), "--duration", "60s", "--attribution", "perf", "--out", tmp_path]
    with subprocess.Popen(argv) as probe:
        try:
            reader = reader_of(probe.pid)
            assert wait_until(lambda: measuring(probe.pid, a_cpu()))
        finally:
            probe.kill()
    assert wait_until(lambda: not Path(f"/proc/{reader}").exists())


def test_what_comes_while_it_waits_for_its_start_is_no_part_of_the_run(gap, tmp_path, traced):
    argv = [gap, "--cpu", str(a_cpu()), "--duration", "100ms", "--attribution", "perf", "--start-at", "-"]
    with subprocess.Popen([*argv, "--out", tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as probe:
        try:
            assert probe.stdout.readline() == b"ready\n"
            with kept_busy(a_cpu()):
                time.sleep(0.5)
            probe.stdin.write(b"%d\n" % (time.monotonic_ns() + 10**7))
            probe.stdin.close()
            assert probe.wait(60) == 0
        finally:
            probe.kill()
    result = json.loads((tmp_path / "result.json").read_text())
    gaps = [json.loads(line) for line in (tmp_path / "gaps.jsonl").read_text().splitlines()]
    assert_consistent(result, result["attribution"], gaps)
    assert result["attribution"]["placed"]["before"] > 256  # at least the calls by which an event's cost was measured
    assert all(0 <= gap["at_ns"] <= result["duration_ns"] for gap in gaps)


def test_a_task_that_is_not_pinned_is_followed(gap, tmp_path, traced):
    result, told, gaps = attributed(gap, tmp_path, "--duration", "300ms")
    assert (told["level"], told["scope"], told["conservation"]["holds"]) == ("tracepoints", "task", None)
    assert_consistent(result, told, gaps)


def test_who_woke_the_task_that_came(gap, tmp_path, traced):
    """We do: a task that belongs to the measured CPU sleeps, and a write of ours, from another, wakes it."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    cpu = cpus[-1]
    argv = [gap, "--cpu", str(cpu), "--duration", "1s", "--attribution", "perf", "--out", tmp_path]
    sleeper = subprocess.Popen(["taskset", "-c", str(cpu), "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(0, set(cpus[:-1]))
    try:
        with subprocess.Popen(argv) as probe:
            try:
                while probe.poll() is None:
                    os.write(sleeper.stdin.fileno(), b"!")
                    time.sleep(0.005)
                assert probe.wait(60) == 0
            finally:
                probe.kill()
    finally:
        os.sched_setaffinity(0, set(cpus))
        sleeper.communicate(timeout=60)
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    if "ipi/ipi_send_cpu" not in told["events"]["open"]:
        pytest.skip("this kernel does not say who sends an interrupt")
    gaps = [json.loads(line) for line in (tmp_path / "gaps.jsonl").read_text().splitlines()]
    ours = [gap for gap in gaps if gap.get("sender", {}).get("tid") == os.getpid()]
    assert ours
    assert {gap["cause"] for gap in ours} >= {"task:cat"}
    assert {gap["sender"]["cpu"] for gap in ours} <= set(cpus[:-1])
    assert {gap["sender"]["task"] for gap in ours} == {Path("/proc/self/comm").read_text().strip()}


@pytest.mark.parametrize(("name", "metric"), [("wake", "wake_ns"), ("xwake", "xwake_ns")])
def test_what_comes_late_has_causes(tmp_path, traced, name, metric):
    """What lies between the time that was asked for and the task: here, somebody who would not go at once."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    probe = build.build_probe(name, build.native_arch()).path
    argv = ["--cpu", cpus[-1], "--duration", "1s", "--threshold", "1us", "--attribution", "perf"]
    with kept_busy(cpus[-1]):
        result = measured(probe, tmp_path, *argv)
    late = [json.loads(line) for line in (tmp_path / "late.jsonl").read_text().splitlines()]
    told = result["attribution"]
    assert told["level"] == "tracepoints"
    assert told["gaps"] + told["gaps_dropped"] == result["late"]["count"] == len(late) > 0
    assert sum(each["count"] for each in told["classes"].values()) == told["gaps"]
    assert all(each[metric] >= 1000 and each["class"] in CLASSES for each in late)
    # It waited for the other task to go, or that came first: either way it is named.
    assert any(each["cause"] == "task:sh" for each in told["causes"]), told["causes"]


def test_what_took_a_piece_of_work_longer(tmp_path, traced):
    """Somebody shares the CPU; what the piece takes anyway is nobody's."""
    work, cpu = build.build_probe("work", build.native_arch()).path, a_cpu()
    with kept_busy(cpu):
        result = measured(work, tmp_path, "--cpu", cpu, "--duration", "1s", "--attribution", "perf")
    slow = [json.loads(line) for line in (tmp_path / "slow.jsonl").read_text().splitlines()]
    told = result["attribution"]
    assert told["gaps"] + told["gaps_dropped"] == result["slow"]["count"] == len(slow) > 0
    assert any((each["cause"] or "").startswith("task:") for each in slow)  # that one, or who else is about
    assert all(each["class"] in CLASSES for each in slow)
    stolen = sum(each["stolen_ns"] for each in told["causes"])
    usual = result["detail"]["usual_ns"]
    # The shortest piece so far is not yet the shortest of all, at first.
    assert sum(each["work_ns"] - 2 * usual for each in slow) < stolen <= sum(each["work_ns"] - usual for each in slow)


# --- less than all ---


def test_without_a_tracefs_there_are_switches_and_faults(gap, tmp_path, level):
    if level.startswith("nothing"):
        pytest.skip(f"no perf events here: {level}")
    cpu = a_cpu()
    (tmp_path / "out").mkdir()
    with kept_busy(cpu):
        argv = ["--cpu", cpu, "--duration", "500ms", "--tracefs", tmp_path]
        result, told, gaps = attributed(gap, tmp_path / "out", *argv)
    assert (told["level"], told["scope"]) == ("software", "task")
    assert told["reason"].startswith("no tracefs: ")
    assert told["events"]["open"] == ["software/page_fault", "software/context_switch"]
    assert_consistent(result, told, gaps)
    (preempted,) = [each for each in told["causes"] if each["cause"] == "switch:preempted"]
    assert preempted["class"] == "interrupt"
    # Each of its involuntary switches is a gap, or lies in one with others of its kind.
    assert 0 < preempted["count"] <= result["switches"]["involuntary"] + 1
    assert (told["conservation"]["holds"], told["sample_ns"]) == (None, None)


def test_without_privilege_it_says_what_stood_in_the_way(gap, tmp_path):
    done = run(*unprivileged(gap, "--cpu", a_cpu(), "--duration", "100ms", "--attribution", "perf", "--out", tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    assert told["level"] == ("software" if paranoid <= 2 else "nothing")
    assert told["reason"]


#: seccomp's filter language: the number of the system call; perf_event_open ends with an errno, others go on.
LOAD, EQUAL, RETURN, ERRNO, ALLOW = 0x20, 0x15, 0x06, 0x00050000, 0x7FFF0000
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}


def forbid_perf(number):
    """As a container's policy does, or a kernel with perf_event_paranoid of 3."""
    call = PERF_EVENT_OPEN[build.native_arch()]
    words = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, call), (RETURN, 0, 0, ERRNO | number), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *word) for word in words))
    prctl = ctypes.CDLL(None).prctl

    def forbid():
        program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(words), ctypes.addressof(code)))
        if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
            os._exit(99)

    return forbid


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOSYS])
def test_where_nothing_may_be_opened_the_errno_is_the_reason(gap, tmp_path, number):
    argv = [gap, "--cpu", a_cpu(), "--duration", "50ms", "--attribution", "perf", "--out", tmp_path]
    done = subprocess.run(list(map(str, argv)), preexec_fn=forbid_perf(number), timeout=60)
    assert done.returncode == 0
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    assert told["level"] == "nothing"
    # Each C library has its own words for an errno.
    words = {errno.EACCES: "Permission denied", errno.EPERM: "Operation not permitted", errno.ENOSYS: "not implemented"}
    assert words[number] in told["reason"]
    assert ("perf_event_paranoid is" in told["reason"]) == (number != errno.ENOSYS)


def test_where_not_all_may_be_opened_it_says_which_and_why(gap, tmp_path, traced):
    """More descriptors than this process may have: a large machine, or a small limit."""
    argv = [gap, "--cpu", a_cpu(), "--duration", "50ms", "--attribution", "perf", "--out", tmp_path]
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (16, 16))
    assert subprocess.run(list(map(str, argv)), preexec_fn=limit, timeout=60).returncode == 0
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    assert told["level"] == "tracepoints"
    assert told["events"]["refused"]
    # Each C library has its own words for it.
    assert told["reason"] in ("not all tracepoints: Too many open files",
                              "not all tracepoints: No file descriptors available")  # fmt: skip


def test_a_tracefs_without_our_events_is_no_tracefs(gap, tmp_path, level):
    """Formats of a kernel that has none of the events, or describes them in words that nobody knows."""
    (tmp_path / "out").mkdir()
    (tmp_path / "events").mkdir()
    told = attributed(gap, tmp_path / "out", "--cpu", a_cpu(), "--duration", "50ms", "--tracefs", tmp_path)[1]
    if told["level"] != "nothing":
        assert told["level"] == "software"
    assert "none of the tracepoints" in told["reason"] or "Permission denied" in told["reason"]
    folder = tmp_path / "events/raw_syscalls/sys_enter"
    folder.mkdir(parents=True)
    (folder / "format").write_text("name: sys_enter\nID: none\n")
    for old in (tmp_path / "out").iterdir():
        old.unlink()
    told = attributed(gap, tmp_path / "out", "--cpu", a_cpu(), "--duration", "50ms", "--tracefs", tmp_path)[1]
    assert told["reason"].startswith("no tracepoints: Invalid argument")


def test_no_mount_is_left_nor_seen_by_others(gap, tmp_path, traced):
    before = Path("/proc/self/mountinfo").read_text()
    argv = [gap, "--cpu", str(a_cpu()), "--duration", "1s", "--attribution", "perf", "--out", tmp_path]
    with subprocess.Popen(argv) as probe:
        try:
            assert wait_until(lambda: measuring(probe.pid, a_cpu()))
            during = Path("/proc/self/mountinfo").read_text()
            assert probe.wait(60) == 0
        finally:
            probe.kill()
    assert (during, Path("/proc/self/mountinfo").read_text()) == (before, before)


@pytest.mark.parametrize("argv", [
    ["--attribution", "kernel"], ["--attribution-ring", "17"], ["--attribution-ring", "1"], ["--tracefs", "here"],
])  # fmt: skip
def test_bad_usage(gap, argv):
    done = run(gap, "--duration", "50ms", *argv)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not shutil.which("strace") or not IS_ROOT, reason="strace is not installed, or not root")
def test_the_loop_makes_no_system_call_with_it_either(gap, tmp_path):
    """The loop is what lies between the two readings of page faults and switches."""
    log = tmp_path / "strace"
    argv = [gap, "--cpu", a_cpu(), "--duration", "300ms", "--attribution", "perf", "--out", tmp_path]
    done = run("strace", "-f", "-o", log, *argv)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    # A call during which another process made one takes two lines.
    own = [line for line in lines if line.split()[0] == lines[0].split()[0] and " resumed>" not in line]
    first, second = [i for i, line in enumerate(own) if "getrusage(" in line]
    assert second == first + 1, own[first:second]
    assert calls_of(log)["perf_event_open"] > 1
