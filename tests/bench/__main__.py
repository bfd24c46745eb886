# SPDX-License-Identifier: Apache-2.0
"""``make bench``: every figure that the documents claim, measured here and now, each beside its bar or a peer.

Prints a line per figure and, at the end, whether all bars were met; exit status 1 if not. Ratios are taken within one
process or in alternation, since machines drift. Names as arguments choose among the benchmarks.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.build import build_probe, build_program, native_arch

ROOT = Path(__file__).parents[2]
ALTERNATIONS = 5


@dataclass(frozen=True)
class Figure:
    """``bar`` None: a figure beside a peer, which nothing is claimed of."""

    name: str
    text: str
    value: float
    bar: float | None = None

    @property
    def met(self) -> bool:
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        mark = "    " if self.bar is None else "ok  " if self.met else "OVER"
        bar = "" if self.bar is None else f" (bar {self.bar:g})"
        return f"{mark} {self.name}: {self.text}{bar}"


def measured_cpu() -> int:
    return max(os.sched_getaffinity(0))


def run(argv: list[str], **kwargs: Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def last_json(output: str) -> dict[str, Any]:
    line = next(line for line in reversed(output.splitlines()) if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def gap_loop() -> list[Figure]:
    """The probe's loop against one that only reads the counter: medians of interleaved blocks in one process."""
    built = build_program("bench/gap_speed.c", native_arch())
    said = last_json(run([str(built.path), "--cpu", str(measured_cpu())]))
    ns = said["median_ns"]
    return [
        Figure(
            "gap's loop / reading the counter alone",
            f"{said['ratio']:.3f} x ({ns['gap']:.2f} / {ns['bare']:.2f} ns, "
            f"medians of {said['blocks']} blocks, {built.compiler})",
            said["ratio"],
            1.10,
        ),
    ]


def beside_oslat() -> list[Figure]:
    """An iteration of gap beside one of oslat: whole programs, in alternation, on the same CPU."""
    if shutil.which("oslat") is None:
        print("     gap beside oslat: not measured: oslat is not installed (Debian: rt-tests)")
        return []
    if os.geteuid() != 0:
        print("     gap beside oslat: not measured: oslat needs root")
        return []
    gap, cpu = build_probe("gap", native_arch()).path, str(measured_cpu())
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ALTERNATIONS):
            out = Path(folder) / str(number)
            out.mkdir()
            run([str(gap), "--cpu", cpu, "--duration", "1s", "--out", str(out)])
            result = json.loads((out / "result.json").read_text())
            ours.append(result["duration_ns"] / result["loop"]["iterations"])
            said = run(["oslat", "--cpu-list", cpu, "--duration", "1", "--quiet"])
            counted = sum(int(count) for count in re.findall(r"^\s*\d{3} \(us\):\s+(\d+)", said, re.M))
            lasted = re.search(r"Duration:\s+([\d.]+) \(sec\)", said)
            assert lasted is not None, said
            theirs.append(float(lasted[1]) * 1e9 / counted)
    a, b = median(ours), median(theirs)
    text = f"{a / b:.2f} x ({a:.1f} / {b:.1f} ns, medians of {ALTERNATIONS} in alternation)"
    return [Figure("gap's iteration / oslat's", text, a / b)]


def plan_cells() -> list[Figure]:
    said = last_json(run([sys.executable, "-m", "tests.bench.plan_cells"], cwd=ROOT))
    seconds = said["plan_cpu_s"]
    return [Figure(f"planning {said['cells']:,} cells", f"{seconds:.2f} s of CPU time", seconds, 2.0)]


def help_time() -> list[Figure]:
    """CPU time and not the time of day: another program's work must not count as ours."""
    times = []
    for _ in range(11):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run([sys.executable, "-m", "harness", "--help"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    seconds = median(times)
    return [Figure("isolbench --help", f"{seconds:.3f} s of CPU time, median of {len(times)}", seconds, 0.25)]


def controller_memory() -> list[Figure]:
    said = last_json(run([sys.executable, "-m", "tests.bench.controller_memory"], cwd=ROOT))
    return [Figure("controller at 10,000 runs", f"{said['peak_mb']:.0f} MB at most", said["peak_mb"], 300)]


def ssh_runs() -> list[Figure]:
    said = last_json(run([sys.executable, "-m", "tests.bench.ssh_runs"], cwd=ROOT))
    return [Figure("100 runs of 1 s over SSH on loopback", f"{said['seconds']:.1f} s", said["seconds"], 110)]


#: The cheap before the dear.
BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "help": help_time,
    "gap-loop": gap_loop,
    "oslat": beside_oslat,
    "plan": plan_cells,
    "memory": controller_memory,
    "ssh": ssh_runs,
}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)} (there are {', '.join(BENCHMARKS)})")
    started = time.monotonic()
    print(f"{native_arch()}, CPU {measured_cpu()} measured, load average {os.getloadavg()[0]:.1f}", flush=True)
    figures = []
    for name in names:
        for figure in BENCHMARKS[name]():
            print(figure, flush=True)
            figures.append(figure)
    over = [figure for figure in figures if not figure.met]
    print(f"{len(figures) - len(over)} of {len(figures)} figures within their bars, {time.monotonic() - started:.0f} s")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
