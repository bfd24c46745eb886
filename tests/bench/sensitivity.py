# SPDX-License-Identifier: Apache-2.0
"""Is what happens found? The probe `sense` disturbs the measured CPU at known times; each kind has its bounds."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.build import build_probe, native_arch
from harness.stats.sensitivity import Observed, score
from harness.stats.shares import BAR, Score, Sensitivity, total
from harness.store.sensitivity import percent

from .figure import Figure, measured_cpu, run

#: Until each kind has its trials, and no more than these.
RUNS = 8
SECONDS = 5


def sensitivity(before: Callable[[], None]) -> list[Figure]:
    if len(os.sched_getaffinity(0)) < 2:
        print("     sensitivity: not measured: it takes a second CPU")
        return []
    found = Sensitivity()
    for _ in range(RUNS):
        found = total([found, score([_measured(before)])])
        if not found.wanting():
            break
    for each in found.scores:
        if each.blind:
            print(f"     {each.kind}: not measured: no event of this kernel shows it")
    return [figure for each in found.scores if not each.blind for figure in _figures(each)]


def _measured(before: Callable[[], None]) -> Observed:
    with tempfile.TemporaryDirectory() as out:
        sense = str(build_probe("sense", native_arch()).path)
        options = ["--duration", f"{SECONDS}s", "--distance", "2ms", "--out", out]
        run([sense, "--cpu", str(measured_cpu()), *options], preexec_fn=before)
        result = json.loads((Path(out) / "result.json").read_text())
        return Observed.of(result, *(_lines(Path(out) / name) for name in ("gaps.jsonl", "disturbances.jsonl")))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _figures(each: Score) -> Iterator[Figure]:
    """What is missed, and what is named wrongly, at most: both have to be under 1 %."""
    (found, of), which = each.trials, "all" if each.of_all else "effective ones"
    text = f"recall >= {percent(each.recall)} ({found:,} of {of:,} {which} were found)"
    yield Figure(f"{each.kind} that were not found, at most", text, 1 - each.recall, 1 - BAR)
    if each.precision is not None:
        text = f"precision >= {percent(each.precision)} ({each.false:,} of {each.named:,} were none of ours)"
        yield Figure(f"gaps that name {each.kind} wrongly, at most", text, 1 - each.precision, 1 - BAR)
    elif each.by_chance is not None:
        text = f"{each.chance:,} of {each.shams:,} instants at which nothing was done"
        yield Figure(f"{each.kind} found by chance, at most", text, each.by_chance, 1 - BAR)
