# SPDX-License-Identifier: Apache-2.0
"""What a trace for the Perfetto viewer costs: time by gap, and memory, of one run and of four such runs.

``python -m tests.bench.export_trace`` invents runs of 65,536 gaps, each with a chain of five events, and prints one
line of JSON: ``gap_us``, CPU time for each, ``mb`` of the trace of all, ``grown_mb``, the memory that four runs took
beyond that of one.
"""

from __future__ import annotations

import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

from harness.store.export import export
from tests.unit.store.attributed import attributed_run, write_list

GAPS, RUNS = 65_536, 4
_CHAIN = ["vector:local_timer", "hrtimer:tick_nohz_handler", "softirq:TIMER", "task:ksoftirqd", "tlb:task_switch"]


def invent(root: Path) -> Path:
    first = attributed_run(root / "one" / "e", [])
    lines = (
        {
            "cpu": 3,
            "at_ns": at * 100_000,
            "gap_ns": 20_000 + at % 977,
            "class": "interrupt",
            "cause": f"work:function_{at % 40}",
            "chain": [[600 + 1_000 * place, name] for place, name in enumerate(_CHAIN)],
        }
        for at in range(GAPS)
    )
    write_list(first, "gaps", lines)
    for repeat in range(2, RUNS + 1):
        other = attributed_run(root / "others" / "e", [], repeat=repeat)
        shutil.copy(first / "gaps.jsonl.gz", other / "gaps.jsonl.gz")
    return root


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = invent(Path(place))
        export(root / "one", "perfetto", root / "one.pftrace")
        before_mb, started_s = peak_mb(), time.process_time()
        export(root, "perfetto", root / "all.pftrace")
        took_s = time.process_time() - started_s
        said = {
            "name": "export_trace",
            "gaps": RUNS * GAPS,
            "gap_us": round(took_s / (RUNS * GAPS) * 1e6, 1),
            "mb": round((root / "all.pftrace").stat().st_size / 1e6),
            "grown_mb": round(peak_mb() - before_mb, 1),
        }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
