# SPDX-License-Identifier: Apache-2.0
"""How long a browser takes to open the report of 2,000 runs: 48 targets, three modes, two loads, seven repeats.

``python -m tests.bench.report_page [DIR]`` invents the runs, as a noisy gap probe leaves them, and prints one line of
JSON: ``painted_s`` until the first content is on the screen, ``loaded_s`` until the page has loaded, medians of several
openings in one headless Chromium, each in a page of its own; ``written_s`` is what writing it took. With DIR the page
stays there, to look at.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.report.html import write_report
from harness.store.runs import write_run
from tests.unit.report import fake_execution as fake
from tests.unit.report.browser import CHROMIUM, Browser

TARGETS, REPEAT = 48, 7
LOADS = ("idle", "spin")
OPENINGS = 5
#: Median (ns) and number of what disturbs each mode.
NOISE = {"shared": (40_000.0, 900), "pinned": (12_000.0, 250), "fifo": (2_500.0, 30)}
_TIMING = """(() => {
  const {domContentLoadedEventEnd, loadEventEnd} = performance.getEntriesByType("navigation")[0];
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return paint && loadEventEnd ? [paint.startTime, domContentLoadedEventEnd, loadEventEnd] : null;
})()"""


def invent(root: Path) -> Path:
    """An execution of 2,016 runs: every seventh run on a loaded machine is suspect, and one in a hundred invalid."""
    execution = root / "nightly" / fake.EXECUTION
    names = [f"rpi5-{number:02}" for number in range(1, TARGETS + 1)]
    cells = []
    rng = np.random.default_rng(1)
    for place, name in enumerate(names):
        facts = {**fake.FACTS, "hostname": name, "serial": f"{place:08x}"}
        for number, (mode, load) in enumerate((mode, load) for mode in fake.MODES for load in LOADS):
            cell = f"gap.{mode}.{load}-{place:06x}{number:06x}"
            cells.append(fake.plan_cell(cell, name, mode, load))
            size, many = NOISE[mode]
            for repeat in range(1, REPEAT + 1):
                factor = rng.uniform(0.7, 1.4) * (3 if load == "spin" else 1)
                histogram = fake.counts(rng, quiet=38, noise=[(size * factor, 0.5, 0, many)])
                state, reasons = "valid", []
                if load == "spin" and repeat == REPEAT:
                    state, reasons = "suspect", [fake.STEAL]
                if (place * 42 + number * 7 + repeat) % 100 == 0:
                    state, reasons = "invalid", [fake.THROTTLED]
                made, files = fake.record(
                    cell=cell, repeat=repeat, mode=fake.MODES[mode], load=load, cpu=None if mode == "shared" else 3,
                    histogram=histogram, state=state, reasons=reasons, facts=facts,
                )  # fmt: skip
                write_run(execution, name, made, files, fake.context(facts=facts))
        fake.lane(execution, name, facts, [])
    fake.plan(execution, names, cells, REPEAT)
    return execution


def openings(path: Path) -> list[list[float]]:
    """Milliseconds until painted, parsed and loaded, of each opening."""
    found = []
    with Browser() as browser:
        for _ in range(OPENINGS):
            page = browser.open(path)
            found.append(page.until(_TIMING))
            assert page.complaints == []
            page.close()
    return found


def main() -> None:
    if CHROMIUM is None:
        raise SystemExit("report_page: no chromium here to open the page in (Debian: chromium)")
    keep = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    # In memory where there is room: each run is synced, and a disk is not what is measured here.
    roomy = Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 500_000_000
    with tempfile.TemporaryDirectory(dir="/dev/shm" if roomy else None) as place:
        execution = invent(Path(place))
        path = Path(place) / "report.html"
        started_s = time.monotonic()
        write_report(execution, path)
        written_s = time.monotonic() - started_s
        times = openings(path)
        runs = sum(1 for _ in execution.glob("runs/*/*/run.json"))
        figures: dict[str, Any] = {
            "name": "report_page",
            "runs": runs,
            "painted_s": round(median(each[0] for each in times) / 1000, 3),
            "parsed_s": round(median(each[1] for each in times) / 1000, 3),
            "loaded_s": round(median(each[2] for each in times) / 1000, 3),
            "written_s": round(written_s, 1),
            "mb": round(path.stat().st_size / 1e6, 2),
        }
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, keep / "report.html")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
