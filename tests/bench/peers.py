# SPDX-License-Identifier: Apache-2.0
"""Do our figures agree with those of cyclictest and oslat? On one CPU, in alternation, both with the same means.

Two tools agree on a figure if the ratio of their medians over the rounds (the larger by the smaller) is at most 1.25,
or at most what one of them differs from itself by: its upper quartile over the rounds by its lower one. On a machine
that is not quiet the second decides, and is printed, so that a reader sees what agreement is worth there.

What is compared, and how it is made alike:

- `wake` with cyclictest: SCHED_FIFO 80, memory locked, clock_nanosleep with TIMER_ABSTIME on CLOCK_MONOTONIC every ms,
  /dev/cpu_dma_latency held at 0 for both. Values are ns of both (``-N``).
- `gap` with oslat: SCHED_FIFO 1, intervals of a contiguous busy loop on the cycle counter. Compared is the rate of
  intervals of at least N µs. oslat's row "00N (us)" holds those from N-1 up to N µs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from harness.build import build_probe, native_arch
from harness.store.hdr import decode, fraction

from .figure import Figure, measured_cpu, run

ROUNDS = 8
AGREEMENT = 1.25
#: Fewer events than this in a round: their ratio is chance.
EVENTS = 30

Values = Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """One figure of both tools, a value a round."""

    name: str
    ours: list[float]
    theirs: list[float]
    unit: str

    @staticmethod
    def itself(values: list[float]) -> float:
        """By how much a tool differs from itself: the upper quartile by the lower."""
        low, _, high = quantiles(values, n=4, method="inclusive")
        return high / low if low > 0 else float("inf")

    def figure(self, *, judged: bool) -> Figure:
        a, b = median(self.ours), median(self.theirs)
        text = f"{a:,.4g} / {b:,.4g} {self.unit}, medians of {len(self.ours)} rounds"
        if min(a, b) <= 0:
            return Figure(self.name, f"{text}: too few to compare", 0.0)
        own = max(self.itself(self.ours), self.itself(self.theirs))
        ratio = max(a / b, b / a)
        text = f"{a / b:.3f} x ({text}; one tool differs from itself by {own:.2f} x)"
        return Figure(self.name, text, ratio, max(AGREEMENT, own) if judged else None)


def in_alternation(ours: Callable[[Path], Values], theirs: Callable[[Path], Values]) -> tuple[list[Values], ...]:
    """A round of each, in the order ABBA ABBA: neither is the later one."""
    found: tuple[list[Values], list[Values]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            for who in order:
                place = Path(folder) / f"{number}-{who}"
                place.mkdir()
                found[who].append((ours, theirs)[who](place))
    return found


def compared(name: str, unit: str, ours: list[Values], theirs: list[Values]) -> Iterator[tuple[str, Comparison]]:
    for key in ours[0]:
        yield key, Comparison(f"{name}, {key}", [each[key] for each in ours], [each[key] for each in theirs], unit)


def unmeasured(name: str, tool: str) -> bool:
    """Says why it cannot be measured here, if so."""
    reason = None
    if shutil.which(tool) is None:
        reason = f"{tool} is not installed (Debian: rt-tests)"
    elif os.geteuid() != 0:
        reason = f"{tool} needs root"
    if reason:
        print(f"     {name}: not measured: {reason}")
    return reason is not None


@contextlib.contextmanager
def no_deep_idle() -> Iterator[None]:
    """cyclictest asks for this by itself; `wake` leaves it to the agent."""
    try:
        held = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
    except OSError:
        yield
        return
    try:
        os.write(held, struct.pack("=i", 0))
        yield
    finally:
        os.close(held)


# --- wake and cyclictest ---


def our_wake(place: Path) -> Values:
    probe = build_probe("wake", native_arch()).path
    options = ["--cpu", str(measured_cpu()), "--sched", "fifo:80", "--interval", "1ms", "--duration", "2s"]
    run([str(probe), *options, "--digits", "3", "--out", str(place)])
    told = json.loads((place / "result.json").read_text())["histograms"]["wake_ns"]
    counts = decode((place / told["file"]).read_bytes())
    found: dict[str, float] = {}
    for name in ("p50", "p90", "p99"):
        value = counts.value_at(fraction(name), told["max"])
        assert value is not None
        found[name] = value
    return found


def cyclictest(place: Path) -> Values:
    said = place / "said.json"
    options = ["-a", str(measured_cpu()), "-t", "1", "-p", "80", "-i", "1000", "-D", "2", "-m", "-N", "-h", "1000000"]
    run(["cyclictest", "--quiet", *options, f"--json={said}"])
    (thread,) = json.loads(said.read_text())["thread"].values()
    return of_histogram(thread)


def of_histogram(thread: Mapping[str, Any]) -> Values:
    """Quantiles of cyclictest's histogram. What is beyond its last bucket is in none: then the maximum."""
    counts = sorted((int(ns), int(count)) for ns, count in thread["histogram"].items())
    found: dict[str, float] = {}
    for name in ("p50", "p90", "p99"):
        left = float(fraction(name)) * int(thread["cycles"])
        found[name] = float(thread["max"])
        for ns, count in counts:
            left -= count
            if left <= 0:
                found[name] = float(ns)
                break
    return found


def beside_cyclictest() -> list[Figure]:
    """`wake` and cyclictest on one CPU: the same distribution of wake-ups."""
    if unmeasured("wake beside cyclictest", "cyclictest"):
        return []
    with no_deep_idle():
        ours, theirs = in_alternation(our_wake, cyclictest)
    # Of 2,000 wake-ups the 20 latest make the p99: what a machine did to one of the two.
    return [found.figure(judged=key != "p99") for key, found in compared("wake / cyclictest", "ns", ours, theirs)]


# --- gap and oslat ---

THRESHOLDS_US = (2, 5, 20)


def our_gaps(place: Path) -> Values:
    probe = build_probe("gap", native_arch()).path
    options = ["--cpu", str(measured_cpu()), "--sched", "fifo:1", "--duration", "1s", "--threshold", "1us"]
    run([str(probe), *options, "--out", str(place)])
    result = json.loads((place / "result.json").read_text())
    seconds = result["duration_ns"] / 1e9
    gaps = [json.loads(line)["gap_ns"] for line in (place / "gaps.jsonl").read_text().splitlines()]
    rates = {f"gaps of {us} µs and more": sum(ns >= us * 1000 for ns in gaps) / seconds for us in THRESHOLDS_US}
    return {**rates, "iteration": result["duration_ns"] / result["loop"]["iterations"]}


def oslat(place: Path) -> Values:
    said = place / "said.json"
    options = ["--cpu-list", str(measured_cpu()), "--duration", "1", "--rtprio", "1", "--bucket-size", "1024"]
    run(["oslat", *options, "--quiet", f"--json={said}"])
    (thread,) = json.loads(said.read_text())["thread"].values()
    seconds = float(thread["duration"])
    rows = {int(us): int(count) for us, count in thread["histogram"].items()}
    rates = {
        f"gaps of {us} µs and more": sum(count for row, count in rows.items() if row > us) / seconds
        for us in THRESHOLDS_US
    }
    return {**rates, "iteration": seconds * 1e9 / sum(rows.values())}


def beside_oslat() -> list[Figure]:
    """`gap` and oslat on one CPU: the same gaps; and what an iteration of each takes."""
    if unmeasured("gap beside oslat", "oslat"):
        return []
    ours, theirs = in_alternation(our_gaps, oslat)
    figures = []
    for key, found in compared("gap / oslat", "a second", ours, theirs):
        if key == "iteration":
            a, b = median(found.ours), median(found.theirs)
            figures.append(Figure("gap's iteration / oslat's", f"{a / b:.2f} x ({a:.1f} / {b:.1f} ns)", a / b))
        else:
            enough = min(median(found.ours), median(found.theirs)) >= EVENTS
            figures.append(found.figure(judged=enough))
    return figures
