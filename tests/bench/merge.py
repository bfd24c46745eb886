# SPDX-License-Identifier: Apache-2.0
"""The CPU time of decoding and merging 10,000 histograms from their logs' form, ours and hdrhistogram's.

``python -m tests.bench.merge [HISTOGRAMS]`` prints one line of JSON: medians of 7 in alternation, after one of each
that is not counted. The histograms are those of noisy runs, some 760 buckets filled in each. The sums are compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from hdrh.histogram import HdrHistogram

from harness.store import hdr
from tests.unit.report.fake_execution import counts

DIFFERENT = 100
ALTERNATIONS = 7
NOISE = [(2_100, 0.35, 0, 9000), (28_000, 0.5, 0, 700), (380_000, 0.7, 0, 30)]


def ours(blobs: list[str]) -> list[int]:
    found: list[int] = hdr.merge(map(hdr.from_blob, blobs)).counts.tolist()
    return found


def librarys(blobs: list[str]) -> list[int]:
    total = HdrHistogram(hdr.GEOMETRY.lowest, hdr.GEOMETRY.highest, hdr.GEOMETRY.digits)
    for blob in blobs:
        total.decode_and_add(blob)
    return list(total.counts)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    made = [counts(np.random.default_rng(seed), quiet=38, noise=NOISE) for seed in range(DIFFERENT)]
    blobs = [hdr.to_blob(hdr.encode(each)) for each in made]
    blobs = [blobs[index % DIFFERENT] for index in range(number)]
    if ours(blobs) != librarys(blobs):
        raise SystemExit("merge: the sums differ")
    ways: dict[str, Callable[[list[str]], list[int]]] = {"ours": ours, "library": librarys}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ALTERNATIONS):
        for name, way in ways.items():
            started = time.process_time()
            way(blobs)
            times[name].append(time.process_time() - started)
    seconds = {name: round(median(each), 3) for name, each in times.items()}
    filled = round(sum(int(np.count_nonzero(each.counts)) for each in made) / DIFFERENT)
    print(json.dumps({"name": "merge", "histograms": number, "filled": filled, **seconds}))


if __name__ == "__main__":
    main()
