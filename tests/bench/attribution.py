# SPDX-License-Identifier: Apache-2.0
"""What attribution costs: the loop's speed with it, and what the instruments themselves do to the measured CPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from harness.build import build_probe, build_program, native_arch

from .figure import Figure, last_json, measured_cpu, run

ROUNDS = 5


def loop_speed(before: Callable[[], None]) -> list[Figure]:
    """The loop whose gaps are attributed, against one that only reads the counter, without events: in alternation."""
    bench = str(build_program("bench/gap_speed.c", native_arch()).path)
    argv = [bench, "--cpu", str(measured_cpu()), "--blocks", "31"]
    bare, traced = [], []
    for _ in range(ROUNDS):
        bare.append(last_json(run(argv, preexec_fn=before))["median_ns"]["bare"])
        said = last_json(run([*argv, "--attribution"], preexec_fn=before))
        traced.append(said["median_ns"]["traced"])
    ratio = median(traced) / median(bare)
    text = f"{ratio:.3f} x ({median(traced):.2f} / {median(bare):.2f} ns, level {said['level']})"
    return [Figure("gap's loop with attribution / the counter alone", text, ratio, 1.15)]


def _run(gap: str, before: Callable[[], None], *extra: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        run([gap, "--cpu", str(measured_cpu()), "--duration", "1s", "--out", out, *extra], preexec_fn=before)
        result: dict[str, Any] = json.loads((Path(out) / "result.json").read_text())
        lines = (Path(out) / "gaps.jsonl").read_text().splitlines()
    result["gap_ns"] = median(json.loads(line)["gap_ns"] for line in lines) if lines else 0
    return result


def disturbance(before: Callable[[], None]) -> list[Figure]:
    """Runs with and without, in alternation: gaps a second, and how long the one in the middle is."""
    gap = str(build_probe("gap", native_arch()).path)
    runs: dict[str, list[dict[str, Any]]] = {"off": [], "perf": []}
    for _ in range(ROUNDS):
        for word, several in runs.items():
            several.append(_run(gap, before, "--attribution", word))
    sample_ns = [each["attribution"].get("sample_ns") or 0 for each in runs["perf"]]
    rate = {word: median(each["scalars"]["gap_rate_hz"]["value"] for each in runs[word]) for word in runs}
    length = {word: median(each["gap_ns"] for each in runs[word]) for word in runs}
    return [
        Figure("one event of attribution", f"{median(sample_ns):.0f} ns added to a system call", median(sample_ns)),
        Figure(
            "gaps with attribution / without",
            f"{rate['perf']:.0f} / {rate['off']:.0f} a second, median {length['perf']:.0f} / {length['off']:.0f} ns",
            rate["perf"] / max(rate["off"], 1e-9),
        ),
    ]


def attribution(before: Callable[[], None]) -> list[Figure]:
    if len(os.sched_getaffinity(0)) < 2:
        print("     attribution: not measured: one CPU only")
        return []
    return [*loop_speed(before), *disturbance(before)]
