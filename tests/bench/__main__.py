# SPDX-License-Identifier: Apache-2.0
"""``make bench``: every figure that the documents claim, measured here and now, each beside its bar or a peer.

Prints a line per figure and, at the end, whether all bars were met; exit status 1 if not. Ratios are taken within one
process or in alternation, since machines drift. Names as arguments choose among the benchmarks.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from statistics import median

from harness.build import ARCHES, build_program, native_arch, probes
from harness.toolchain import compilers

from . import lab as bars
from .attribution import attribution
from .figure import ROOT, Figure, last_json, measured_cpu, run
from .peers import beside_cyclictest, beside_oslat
from .sensitivity import sensitivity


def before_others() -> None:
    """For what compares loops: where we may, nothing else runs meanwhile on their CPU."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def gap_loop() -> list[Figure]:
    """The probe's loop against one that only reads the counter: medians of interleaved blocks in one process, by each
    compiler that there is."""
    figures = []
    for compiler in compilers(native_arch(), []):
        built = build_program("bench/gap_speed.c", native_arch(), compiler=compiler.name)
        said = last_json(run([str(built.path), "--cpu", str(measured_cpu())], preexec_fn=before_others))
        ns = said["median_ns"]
        text = f"{said['ratio']:.3f} x ({ns['gap']:.2f} / {ns['bare']:.2f} ns, medians of {said['blocks']} blocks)"
        figures.append(Figure(f"gap's loop / the counter alone, {compiler.name}", text, said["ratio"], 1.10))
    return figures


def sizes() -> list[Figure]:
    """The largest probe by each compiler, for both architectures; the bar is for those with musl."""
    figures = []
    for arch in ARCHES:
        for compiler in compilers(arch, []):
            built = [build_program(f"probes/{name}.c", arch, compiler=compiler.name) for name in probes()]
            kb = max(each.path.stat().st_size for each in built) / 1000
            bar = 200 if compiler.is_small else None
            figures.append(Figure(f"the largest probe, {arch}, {compiler.name}", f"{kb:.0f} KB", kb, bar))
    return figures


def plan_cells() -> list[Figure]:
    said = last_json(run([sys.executable, "-m", "tests.bench.plan_cells"], cwd=ROOT))
    seconds = said["plan_cpu_s"]
    return [Figure(f"planning {said['cells']:,} cells", f"{seconds:.2f} s of CPU time", seconds, 2.0)]


def merge() -> list[Figure]:
    said = last_json(run([sys.executable, "-m", "tests.bench.merge"], cwd=ROOT))
    text = f"{said['ours']:.3f} s of CPU time ({said['filled']} buckets filled; hdrhistogram: {said['library']:.3f} s)"
    return [Figure(f"merging {said['histograms']:,} histograms", text, said["ours"], 0.3)]


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


def report_page() -> list[Figure]:
    """The report of 2,016 runs in a headless Chromium, from a click to a page that has loaded."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        print("     opening the report of 2,016 runs: not measured: no chromium is installed (Debian: chromium)")
        return []
    said = last_json(run([sys.executable, "-m", "tests.bench.report_page"], cwd=ROOT))
    text = f"{said['loaded_s']:.2f} s, first paint {said['painted_s']:.2f} s, {said['mb']} MB"
    return [Figure(f"opening the report of {said['runs']:,} runs", text, said["loaded_s"], 1.0)]


def export_trace() -> list[Figure]:
    """What is exported is streamed: four runs take the memory of one."""
    said = last_json(run([sys.executable, "-m", "tests.bench.export_trace"], cwd=ROOT))
    text = f"{said['gap_us']:.0f} µs of CPU time for each, {said['mb']} MB"
    return [
        Figure(f"a trace of {said['gaps']:,} gaps", text, said["gap_us"], 100),
        Figure("memory for a trace of four runs beyond one's", f"{said['grown_mb']} MB", said["grown_mb"], 10),
    ]


def lab() -> list[Figure]:
    """Images are built, so this needs Debian's archive; two boards are booted, one after the other."""
    figures = []
    for line in run([sys.executable, "-m", "tests.bench.lab", "--build"], cwd=ROOT).splitlines():
        said = json.loads(line)
        arch = said["arch"]
        if "lacks" in said:
            print(f"     a virtual board of {arch}: not measured: {said['lacks']}")
            continue
        by = f"{arch}, {said['accel']}"
        built_s, up_s, share = said["build_s"], said["up_s"], said["idle_share"]
        figures += [
            Figure(f"building an image, {arch}", f"{built_s:.0f} s", built_s, bars.BUILD_BAR_S[arch]),
            Figure(f"a board up, until it answers by SSH, {by}", f"{up_s:.0f} s", up_s, bars.UP_BAR_S),
            Figure(f"an idle board, {by}", f"{share:.1%} of a CPU", share, bars.IDLE_BAR),
        ]
    return figures


#: The cheap before the dear.
BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "help": help_time,
    "sizes": sizes,
    "gap-loop": gap_loop,
    "attribution": lambda: attribution(before_others),
    "sensitivity": lambda: sensitivity(before_others),
    "oslat": beside_oslat,
    "cyclictest": beside_cyclictest,
    "plan": plan_cells,
    "merge": merge,
    "trace": export_trace,
    "report": report_page,
    "memory": controller_memory,
    "ssh": ssh_runs,
    "lab": lab,
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
