# SPDX-License-Identifier: Apache-2.0
"""The probe `work`: the work is done, all of it, in contiguous quanta. Counts and sums; never a time."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import build

from .csrc_kit import (
    a_cpu,
    assert_histogram,
    calls_of,
    cpu_ticks,
    measured,
    run,
    stopped_meanwhile,
)


@pytest.fixture(scope="module")
def work() -> Path:
    return build.build_probe("work", build.native_arch()).path


def l2_of(cpu: int) -> int | None:
    for index in Path(f"/sys/devices/system/cpu/cpu{cpu}/cache").glob("index*"):
        if (index / "level").read_text().strip() == "2" and (index / "type").read_text().strip() != "Instruction":
            return int((index / "size").read_text().strip().removesuffix("K")) * 1024
    return None


def test_a_run_and_its_files_agree(work, tmp_path):
    cpu = a_cpu()
    result = measured(work, tmp_path, "--cpu", cpu, "--duration", "300ms")
    told, detail = result["histograms"]["work_ns"], result["detail"]
    histogram = assert_histogram(tmp_path, told)
    assert result["loop"]["iterations"] == told["recorded"] + told["overflow"] + told["negative"] > 0
    identity = result["identity"]
    assert detail["steps_done"] == identity["steps"] * result["loop"]["iterations"]
    assert detail["l2_bytes"] == l2_of(cpu)
    assert identity["buffer_bytes"] == (detail["l2_bytes"] or 256 * 1024) // 2 == detail["lines"] * detail["line_bytes"]
    p50, p99 = (histogram.get_value_at_percentile(p) for p in (50, 99))
    assert result["scalars"]["work_spread"]["value"] == pytest.approx(p99 / p50)


def test_slow_pieces_are_kept_with_their_time(work, tmp_path):
    """Where all but the shortest are slow: contiguous but for those, and none shorter than what is said."""
    result = measured(work, tmp_path, "--cpu", a_cpu(), "--duration", "200ms", "--excess", "100ns", "--ring", 20)
    slow = [json.loads(line) for line in (tmp_path / "slow.jsonl").read_text().splitlines()]
    told = result["slow"]
    assert told["threshold_ns"] == result["detail"]["usual_ns"] + 100
    assert result["detail"]["usual_ns"] <= result["histograms"]["work_ns"]["min"]
    assert len(slow) == told["stored"] == min(20, told["count"])
    assert told["stored"] + told["dropped"] == told["count"] <= result["loop"]["iterations"]
    assert all(piece["work_ns"] >= told["threshold_ns"] - 1 for piece in slow)
    for before, after in itertools.pairwise(slow):
        assert before["at_ns"] + before["work_ns"] <= after["at_ns"] + 1


def test_without_slow_pieces_none_is_kept(work, tmp_path):
    result = measured(work, tmp_path, "--cpu", a_cpu(), "--duration", "100ms", "--excess", "10s")
    assert (result["slow"]["count"], (tmp_path / "slow.jsonl").read_text()) == (0, "")


@pytest.mark.parametrize(("extra", "close"), [((), 2e-3), (("--steps", 1, "--buffer-bytes", 128), 5e-2)])
def test_quanta_are_contiguous(work, tmp_path, extra, close):
    """Their sum is the duration, as far as buckets and whole ns can tell: no time lies between two, however short."""
    result = measured(work, tmp_path, "--cpu", a_cpu(), "--duration", "200ms", *extra)
    histogram = assert_histogram(tmp_path, result["histograms"]["work_ns"])
    total = sum(count * histogram.get_value_from_index(i) for i, count in enumerate(histogram.counts) if count)
    assert total == pytest.approx(result["duration_ns"], rel=close)


def test_steps_and_buffer_may_be_fixed(work, tmp_path):
    result = measured(work, tmp_path, "--duration", "50ms", "--steps", 1000, "--buffer-bytes", 100_000)
    assert (result["identity"]["steps"], result["identity"]["buffer_bytes"]) == (1000, 1562 * 64)
    assert result["detail"]["lines"] == 1562
    assert result["detail"]["steps_done"] == 1000 * result["loop"]["iterations"]
    assert result["params"] == {
        "buffer_bytes": 100_000, "steps": 1000, "excess_ns": 5000, "digits": 3, "ring": 65536,
    }  # fmt: skip


def test_the_smallest_buffer(work, tmp_path):
    detail = measured(work, tmp_path, "--duration", "10ms", "--steps", 7, "--buffer-bytes", 128)["detail"]
    assert (detail["lines"], detail["steps_done"] % 7) == (2, 0)


@pytest.mark.parametrize(("duration", "steps"), [("100ms", 2**40), ("1h", 2**40), ("1ms", 10**8)])
def test_a_piece_without_end_is_refused_before_it_begins(work, tmp_path, duration, steps):
    done = run(work, "--duration", duration, "--steps", steps, "--out", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "too long for a duration of" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_largest_buffer_is_made_before_the_safety_timer_ends_it(work, tmp_path):
    most = json.loads(run(work, "--describe").stdout)["params"]["buffer-bytes"]["max"]
    result = measured(work, tmp_path, "--duration", "1ms", "--steps", 1000, "--buffer-bytes", most)
    assert result["identity"]["buffer_bytes"] == most


def test_more_steps_are_more_work(work, tmp_path):
    """It is not optimised away: the shortest quantum of eight times the steps is much longer."""
    shortest = []
    for steps in (4096, 32768):
        out = tmp_path / str(steps)
        out.mkdir()
        result = measured(work, out, "--cpu", a_cpu(), "--duration", "200ms", "--steps", steps)
        shortest.append(result["histograms"]["work_ns"]["min"])
    assert shortest[1] > 4 * shortest[0]


def test_the_machine_decides_how_long_it_takes_and_not_how_much_is_done(work, tmp_path):
    """On an idle CPU and beside a task that takes half of it, the steps are the same."""
    cpu = a_cpu()
    hog = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {cpu})
    )
    steps = []
    try:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            result = measured(work, tmp_path / str(number), "--cpu", cpu, "--duration", "50ms")
            steps.append(result["identity"]["steps"])
            assert steps[-1] == 4 * result["detail"]["lines"]
    finally:
        hog.kill()
        hog.wait()
    assert len(set(steps)) == 1


def test_what_stops_it_is_one_long_quantum(work, tmp_path):
    argv = [work, "--cpu", str(a_cpu()), "--duration", "2s", "--out", tmp_path]
    stopped_meanwhile(argv, lambda pid: cpu_ticks(pid) >= 30, 0.3)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["histograms"]["work_ns"]["max"] >= 300_000_000
    assert result["detail"]["steps_done"] == result["identity"]["steps"] * result["loop"]["iterations"]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_system_call_while_measuring(work, tmp_path):
    counts = []
    for name, duration in (("short", "50ms"), ("long", "400ms")):
        out, log = tmp_path / name, tmp_path / f"{name}.strace"
        out.mkdir()
        done = run("strace", "-f", "-o", log, work, "--cpu", a_cpu(), "--duration", duration, "--out", out)
        assert done.returncode == 0, done.stderr
        counts.append(calls_of(log))
    assert counts[0] == counts[1]
