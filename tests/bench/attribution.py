# SPDX-License-Identifier: Apache-2.0
"""What attribution costs: the loop's speed with it, and what the instruments themselves do to the measured CPU."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from harness.build import build_probe, build_program, native_arch

from .figure import Figure, last_json, measured_cpu, run

ROUNDS = 5


def loop_speed(before: Callable[[], None]) -> list[Figure]:
    """The loop whose gaps are attributed, against one that only reads the counter, without events: in alternation.

    And the loop of ``sense``, while it is not disturbed.
    """
    bench = str(build_program("bench/gap_speed.c", native_arch()).path)
    argv = [bench, "--cpu", str(measured_cpu()), "--blocks", "31"]
    bare, sense, traced = [], [], []
    for _ in range(ROUNDS):
        without = last_json(run(argv, preexec_fn=before))["median_ns"]
        bare.append(without["bare"])
        sense.append(without["sense"])
        said = last_json(run([*argv, "--attribution"], preexec_fn=before))
        traced.append(said["median_ns"]["traced"])
    ratio = median(traced) / median(bare)
    text = f"{ratio:.3f} x ({median(traced):.2f} / {median(bare):.2f} ns, level {said['level']})"
    undisturbed = median(sense) / median(bare)
    return [
        Figure("gap's loop with attribution / the counter alone", text, ratio, 1.15),
        Figure("sense's loop, not disturbed / the counter alone", f"{undisturbed:.3f} x", undisturbed, 1.15),
    ]


def piece_speed(before: Callable[[], None]) -> list[Figure]:
    """The shortest piece of `work`, with and without, in the order ABBA: what its loop itself takes longer."""
    work = str(build_probe("work", native_arch()).path)
    usual: dict[str, list[int]] = {"off": [], "perf": []}
    for number in range(ROUNDS):
        for word in ("off", "perf") if number % 2 else ("perf", "off"):
            with tempfile.TemporaryDirectory() as out:
                argv = [work, "--cpu", str(measured_cpu()), "--duration", "1s", "--out", out, "--attribution", word]
                run(argv, preexec_fn=before)
                usual[word].append(json.loads((Path(out) / "result.json").read_text())["detail"]["usual_ns"])
    ratio = median(usual["perf"]) / median(usual["off"])
    text = f"{ratio:.3f} x ({median(usual['perf']):.0f} / {median(usual['off']):.0f} ns)"
    return [Figure("work's shortest piece, with attribution / without", text, ratio, 1.15)]


def flood(before: Callable[[], None]) -> list[Figure]:
    """A hundred thousand entries a second, each a gap and an event: is any lost, and what does the reader need?"""
    program = str(build_program("bench/trace_flood.c", native_arch()).path)
    said = last_json(run([program, "--cpu", str(measured_cpu()), "--rate", "110000"], preexec_fn=before))
    if said["level"] != "tracepoints":
        print(f"     entries a second: not measured: level {said['level']}")
        return []
    lost = said["lost"] + said["gaps_dropped"]
    rate = f"{said['rate_hz']:.0f} a second; the reader took {said['reader_share']:.1%} of a CPU"
    text = f"{lost} of {said['made']} ({rate})"
    return [Figure("entries of a flood that were lost", text, lost / max(said["made"], 1), 0.0)]


def _run(gap: str, before: Callable[[], None], *extra: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        run([gap, "--cpu", str(measured_cpu()), "--duration", "1s", "--out", out, *extra], preexec_fn=before)
        result: dict[str, Any] = json.loads((Path(out) / "result.json").read_text())
        lines = (Path(out) / "gaps.jsonl").read_text().splitlines()
    result["gap_ns"] = median(json.loads(line)["gap_ns"] for line in lines) if lines else 0
    return result


@contextmanager
def _held(gap: str) -> Iterator[None]:
    """The events, as an agent holds them open between attributed runs."""
    argv = [gap, "--hold-events", "cpu"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.stdin.close()


def disturbance(before: Callable[[], None]) -> list[Figure]:
    """Runs with and without, in the order ABBA: gaps a second, how long the one in the middle is, what that costs."""
    gap = str(build_probe("gap", native_arch()).path)
    runs: dict[str, list[dict[str, Any]]] = {"off": [], "perf": []}
    for number in range(ROUNDS):
        for word in ("off", "perf") if number % 2 else ("perf", "off"):
            runs[word].append(_run(gap, before, "--attribution", word))
    with _held(gap):
        held = [_run(gap, before, "--attribution", "perf")["attribution"].get("instruments") for _ in range(2)]
    told = [each["attribution"] for each in runs["perf"]]
    sample_ns = [each.get("sample_ns") or 0 for each in told]
    rate = {word: median(each["scalars"]["gap_rate_hz"]["value"] for each in runs[word]) for word in runs}
    length = {word: median(each["gap_ns"] for each in runs[word]) for word in runs}
    figures = [
        Figure("one event of attribution", f"{median(sample_ns):.0f} ns added to a system call", median(sample_ns)),
        _ratio("gaps a second", rate),
        _ratio("ns, the gap in the middle", length),
    ]
    alone = [each["instruments"] for each in told if each.get("instruments")]
    if alone and all(held):
        figures += [
            _share("the instruments' share of stolen time", [each["share_of_stolen"] or 0 for each in alone]),
            _share("the instruments' share of the run", [each["share_of_run"] or 0 for each in alone]),
            _interrupts("alone", alone),
            _interrupts("events held open", [each for each in held if each]),
        ]
    return figures


def _ratio(what: str, by_word: dict[str, float]) -> Figure:
    ratio = by_word["perf"] / max(by_word["off"], 1e-9)
    text = f"{ratio:.2f} x ({by_word['perf']:.0f} / {by_word['off']:.0f})"
    return Figure(f"{what}, with attribution / without", text, ratio)


def _share(what: str, shares: list[float]) -> Figure:
    return Figure(what, f"{100 * median(shares):.2f} %", median(shares))


def _interrupts(how: str, several: list[dict[str, Any]]) -> Figure:
    counts = {
        when: median(each["interrupts"][when] or 0 for each in several)
        for when in ("opening", "enabling", "within", "closing")
    }
    said = ", ".join(f"{when} {count:.0f}" for when, count in counts.items())
    return Figure(f"calls to the measured CPU, {how}", said, sum(counts.values()))


def attribution(before: Callable[[], None]) -> list[Figure]:
    if len(os.sched_getaffinity(0)) < 2:
        print("     attribution: not measured: one CPU only")
        return []
    return [*loop_speed(before), *piece_speed(before), *flood(before), *disturbance(before)]
