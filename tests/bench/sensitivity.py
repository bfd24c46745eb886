# SPDX-License-Identifier: Apache-2.0
"""Is what happens found? A task on the measured CPU is woken from another one, at times that are known.

A wake-up is *effective* if no gap is open at its instant: only then it makes one. It is found if the gap that follows
names us as the sender of the interrupt that began it. A gap that names us without a wake-up of ours is false.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

from harness.build import build_probe, native_arch

from .figure import Figure, measured_cpu

SECONDS = 5
#: From the wake-up's end until the gap that it makes has begun.
AFTER_NS = 300_000


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def _wake(probe: subprocess.Popen[bytes], sleeper: subprocess.Popen[bytes]) -> list[tuple[int, int]]:
    """When each wake-up began and ended."""
    assert sleeper.stdin is not None
    stamps = []
    while probe.poll() is None:
        begun = _now_ns()
        os.write(sleeper.stdin.fileno(), b"!")
        stamps.append((begun, _now_ns()))
        time.sleep(0.002 + (begun % 3_000_000) / 1e9)
    return stamps


def _measured(
    gap: str, cpu: str, out: str, before: Callable[[], object]
) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    argv = [
        gap,
        "--cpu",
        cpu,
        "--duration",
        f"{SECONDS}s",
        "--attribution",
        "perf",
        "--threshold",
        "500ns",
        "--out",
        out,
    ]
    sleeping = ["chrt", "-f", "2", "taskset", "-c", cpu, "cat"]
    with subprocess.Popen(sleeping, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sleeper:
        try:
            with subprocess.Popen(argv, preexec_fn=before) as probe:
                stamps = _wake(probe, sleeper)
        finally:
            sleeper.kill()
    result = json.loads((Path(out) / "result.json").read_text())
    gaps = [json.loads(line) for line in (Path(out) / "gaps.jsonl").read_text().splitlines()]
    return result, gaps, stamps


def _judge(gaps: list[dict[str, Any]], stamps: list[tuple[int, int]], last_ns: int) -> tuple[int, int, int, int]:
    """Effective wake-ups, those found; gaps that name us, those of them that are false. ``stamps`` since the begin."""
    starts = [gap["at_ns"] for gap in gaps]
    ours = [gap for gap in gaps if gap.get("sender", {}).get("tid") == os.getpid()]
    effective = found = 0
    for begun, ended in stamps:
        at = bisect_right(starts, begun) - 1
        if not 0 <= begun < last_ns or (at >= 0 and starts[at] + gaps[at]["gap_ns"] >= begun):
            continue
        effective += 1
        window = gaps[bisect_left(starts, begun) : bisect_right(starts, ended + AFTER_NS)]
        found += any(gap in ours and gap["class"] == "interrupt" and gap["cause"] == "task:cat" for gap in window)
    false = sum(
        not any(begun <= gap["at_ns"] + gap["gap_ns"] and gap["at_ns"] <= ended + AFTER_NS for begun, ended in stamps)
        for gap in ours
    )
    return effective, found, len(ours), false


def most95(missed: int, of: int) -> float:
    """The one-sided upper bound of Clopper and Pearson: the share with which so few are missed 5 times in a hundred."""
    low, high = 0.0, 1.0
    while missed < of and high - low > 1e-9:
        share = (low + high) / 2
        fewer = sum(comb(of, each) * share**each * (1 - share) ** (of - each) for each in range(missed + 1))
        low, high = (share, high) if fewer > 0.05 else (low, share)
    return high


def sensitivity(before: Callable[[], None]) -> list[Figure]:
    if len(os.sched_getaffinity(0)) < 2 or os.geteuid():
        print("     sensitivity: not measured: it takes root and a second CPU")
        return []
    cpus, cpu = os.sched_getaffinity(0), measured_cpu()
    gap = str(build_probe("gap", native_arch()).path)
    try:
        os.sched_setaffinity(0, cpus - {cpu})
        with tempfile.TemporaryDirectory() as out:
            result, gaps, stamps = _measured(gap, str(cpu), out, lambda: (os.sched_setaffinity(0, cpus), before()))
    finally:
        os.sched_setaffinity(0, cpus)
    if "ipi/ipi_send_cpu" not in result["attribution"].get("events", {}).get("open", []):
        print("     sensitivity: not measured: this kernel does not say who sends an interrupt")
        return []
    first_ns = result["started"]["monotonic_raw_ns"]
    since = [(begun - first_ns, ended - first_ns) for begun, ended in stamps]
    effective, found, named, false = _judge(gaps, since, result["duration_ns"] - 10**6)
    missed, wrong = most95(effective - found, effective), most95(false, named)
    return [
        Figure(
            "wake-ups that were not found, at most",
            f"{100 * missed:.2f} % with 95 % confidence ({found} of {effective} effective ones were found)",
            missed,
            0.01,
        ),
        Figure(
            "gaps that name a wake-up that was not, at most",
            f"{100 * wrong:.2f} % with 95 % confidence ({false} of {named})",
            wrong,
            0.01,
        ),
    ]
