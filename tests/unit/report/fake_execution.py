# SPDX-License-Identifier: Apache-2.0
"""Executions out of thin air: synthetic histograms through the real ``write_run``. For tests, and to look at reports.

``python tests/unit/report/fake_execution.py DIR`` makes one to look at.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.store.files import write_file
from harness.store.hdr import GEOMETRY, Counts, encode
from harness.store.runs import RunContext, write_attempt, write_run

EXECUTION = "20261120T010000Z"
METRICS = {
    "gap_ns": {"better": "lower", "gate": "p99.99", "sample": "interval"},
    "stolen_ppm": {"better": "lower"},
    "quiet_max_ns": {"better": "higher"},
    "gap_rate_hz": {"better": "lower"},
}
MODES = {
    "shared": {"name": "shared", "where": "shared", "sched": "other", "hold": "none"},
    "pinned": {"name": "pinned", "where": "pinned", "sched": "other", "hold": "none"},
    "fifo": {"name": "fifo", "where": "pinned", "sched": "fifo:1", "hold": "none"},
}
FACTS: dict[str, Any] = {
    "arch": "x86_64",
    "hostname": "nuc",
    "machine_id": "5f1c",
    "serial": "GEAY1420",
    "cpu_model": "Intel(R) Core(TM) i5-1135G7 @ 2.40GHz",
    "microcode": "0xbc",
    "firmware": "Intel Corp. TNTGL357.0064",
    "kernel": {
        "release": "6.18.5-rt2",
        "version": "#1 SMP PREEMPT_RT Fri Nov 14 09:21:05 UTC 2026",
        "build_id": "8f3b21",
        "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p2 isolcpus=managed_irq,domain,3 nohz_full=3 rcu_nocbs=3",
        "config_sha256": None,
        "preempt": "PREEMPT_RT",
    },
    "boot_id": "b-1",
    "clocksource": "tsc",
    "tsc": {"constant": True, "nonstop": True, "trusted": True},
    "virtual": None,
    "cpus": {"online": [0, 1, 2, 3], "isolated": [3], "nohz_full": [3], "allowed": [0, 1, 2, 3]},
}


def counts(rng: np.random.Generator, *, quiet: float, noise: Sequence[tuple[float, float, float, int]]) -> Counts:
    """A loop of ``quiet`` ns an iteration, and for each of ``noise`` (median ns, sigma, -, how many) a bump."""
    values = np.zeros(GEOMETRY.length, dtype=np.int64)
    samples = 220_000_000
    loop = rng.normal(quiet, 1.2, 20_000)
    jitter = rng.lognormal(np.log(quiet * 1.9), 0.22, 40)
    parts = [(loop, samples // 20_000), (jitter, 1500)]
    parts += [(rng.lognormal(np.log(median), sigma, number), 1) for median, sigma, _, number in noise]
    for sample, weight in parts:
        for value in np.maximum(1, sample).astype(np.int64):
            values[GEOMETRY.index(min(int(value), GEOMETRY.highest))] += weight
    return Counts(GEOMETRY, values)


def moments(histogram: Counts, gaps: int, duration_ns: int) -> list[tuple[int, int]]:
    """Times and lengths of at most 2,000 gaps: as the histogram has them, over all the time."""
    low, high = histogram.geometry.bounds
    over = np.flatnonzero((histogram.counts > 0) & (low >= 1000))
    lengths = np.repeat((low[over] + high[over]) // 2, histogram.counts[over])[:: -max(1, gaps // 2000)][:2000]
    rng = np.random.default_rng(gaps)
    times = np.sort(rng.integers(0, duration_ns, len(lengths)))
    return list(zip(times.tolist(), rng.permutation(lengths).tolist(), strict=True))


def record(
    *,
    cell: str = "gap.shared.idle-000000000001",
    repeat: int = 1,
    mode: Mapping[str, Any] = MODES["shared"],
    load: str = "idle",
    histogram: Counts,
    cpu: int | None = 3,
    duration_ns: int = 10_000_000_000,
    gaps: int | None = None,
    params: Mapping[str, str] = {"threshold": "1000ns"},
    settle_ns: int = 1_000_000_000,
    state: str = "valid",
    reasons: Sequence[Mapping[str, str]] = (),
    facts: Mapping[str, Any] = FACTS,
    started_ns: int = 1_795_136_400_250_000_000,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A RunRecord as JSON and its files, as a target would send them."""
    low, high = GEOMETRY.bounds
    filled = np.flatnonzero(histogram.counts)
    over = int(histogram.counts[low >= 1000].sum())
    gaps = over if gaps is None else gaps
    stolen_ns = int((histogram.counts * low)[low >= 1000].sum())
    tag = "any" if cpu is None else f"cpu{cpu}"
    longest = int(high[filled[-1]]) if len(filled) else None
    lines = [f'{{"at_ns":{at},"gap_ns":{length}}}' for at, length in moments(histogram, gaps, duration_ns)]
    files = {
        f"gap_ns.{tag}.hdr": encode(histogram),
        f"gaps.{tag}.jsonl": "".join(line + "\n" for line in lines).encode(),
        "log.txt": b"" if cpu is None else b"gap: armed on CPU %d\n" % cpu,
    }
    result = {
        "schema": 1,
        "probe": "gap",
        "version": "0.1.0",
        "arch": "x86_64",
        "compiler": "gcc 12.2.0",
        "cpu": cpu,
        "started": {"realtime_ns": started_ns, "boottime_ns": 1, "monotonic_raw_ns": 1},
        "duration_ns": duration_ns,
        "params": {"threshold_ns": 1000, "digits": 2, "ring": 65536},
        "clock": {
            "source": "tsc",
            "frequency_hz": 2_419_200_000,
            "granularity_ns": 0.413,
            "invariant": True,
            "virtual": bool(facts.get("virtual")),
            "kernel_clocksource": "tsc",
        },
        "effective": {},
        "loop": {"iterations": histogram.total, "own_cost_ns": 38.2},
        "histograms": {
            "gap_ns": {
                "file": "gap_ns.hdr",
                "unit": "ns",
                "digits": 2,
                "lowest": 1,
                "highest": GEOMETRY.highest,
                "recorded": histogram.total,
                "overflow": 0,
                "negative": 0,
                "dropped": 0,
                "missed": 0,
                "min": int(low[filled[0]]) if len(filled) else None,
                "max": longest,
            }
        },
        "scalars": {
            "stolen_ppm": {"value": stolen_ns / duration_ns * 1e6, "unit": "ppm"},
            "quiet_max_ns": {"value": duration_ns / (gaps + 1), "unit": "ns"},
            "gap_rate_hz": {
                "value": gaps / duration_ns * 1e9,
                "upper": (gaps + 3) / duration_ns * 1e9,
                "count": gaps,
                "unit": "Hz",
            },
        },
        "gaps": {
            "file": "gaps.jsonl",
            "count": gaps,
            "stored": len(lines),
            "dropped": gaps - len(lines),
            "threshold_ns": 1000,
        },
    }
    run = f"{cell}-r{repeat}"
    fifo = "fifo" in str(mode.get("sched"))
    start = {"affinity": "0-3" if cpu is None else str(cpu), "policy": "fifo" if fifo else "other", "cpu": cpu or 2}
    effective = {"start": {**start, "priority": int(fifo)}, "end": start, "memory_locked": True, "memory_error": None}
    kernel = facts["kernel"]
    snapshot = {
        "kernel": kernel["release"],
        "kernel_version": kernel["version"],
        "clocksource": "tsc",
        "boot_id": "b-1",
    }
    return {
        "run": run,
        "status": "ok",
        "schema": 1,
        "agent_version": "0.1.0",
        "sequence": repeat,
        "spec": {
            "run": run,
            "cell": cell,
            "repeat": repeat,
            "attempt": 1,
            "bench": "gap",
            "probe": {"name": "gap", "sha256": "ab" * 32, "params": dict(params)},
            "mode": dict(mode),
            "load": {"name": load, "kind": "idle" if load == "idle" else "spin", "argv": []},
            "cpus": [3 if cpu is None else cpu],
            "housekeeping": [each for each in (0, 1) if each != cpu],
            "settle_ns": settle_ns,
            "duration_ns": duration_ns,
        },
        "started": {"realtime_ns": started_ns, "boottime_ns": 1},
        "elapsed_ns": duration_ns + 50_000_000,
        "effective": {"provider": "scheduler", "tasks": {tag.removeprefix("cpu"): effective}},
        "knobs": [{"name": "irq-affinity", "requested": "0-2", "effective": "0-2", "reason": None, "needed": True}],
        "load": {"cpu_share": 0.99},
        "facts_before": snapshot,
        "facts_after": dict(snapshot),
        "validity": {"state": state, "reasons": [dict(reason) for reason in reasons]},
        "results": [result],
        "files": [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ],
    }, files


OFFSET = {"before": {"low": -70.10391868208903, "high": 70.1}, "synchronised": True}


def wake_run(
    execution: Path,
    *,
    missed: int = 0,
    awake: int = 0,
    late: int | None = 0,
    value: int = 60_000,
    spread: float | None = None,
    **options: Any,
) -> Path:
    """A run of a probe that is not ``gap``, as ``wake`` describes itself: 10,000 periods, of which some are lost.

    ``late`` ``None`` is a probe without events; ``spread`` gives it a ratio as a scalar.
    """
    name = options.get("cell", "wake").partition(".")[0]
    metric = f"{name}_ns"
    values = np.zeros(GEOMETRY.length, dtype=np.int64)
    values[GEOMETRY.index(value)] = 10_000 - missed - awake
    options.setdefault("cell", "wake.shared.idle-000000000001")
    made, files = record(
        histogram=Counts(GEOMETRY, values), params=options.pop("params", {"interval": "1ms"}), **options
    )
    (result,) = made["results"]
    files = {key.replace("gap_ns", metric): data for key, data in files.items() if not key.startswith("gaps.")}
    made["files"] = [{"name": key, "sha256": hashlib.sha256(data).hexdigest()} for key, data in files.items()]
    made["spec"].update(
        bench=name, probe={**made["spec"]["probe"], "name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()}
    )
    about = result["histograms"].pop("gap_ns")
    result["histograms"][metric] = {**about, "file": f"{metric}.hdr", "missed": missed}
    result.update(probe=name, scalars={}, detail={"periods": 10_000, "woke_elsewhere": 7, "offset": OFFSET}, params={})
    del result["gaps"]
    if late is not None:
        result["scalars"]["late_rate_hz"] = {"value": late / 10, "upper": 1.0, "count": late, "unit": "Hz"}
        result["late"] = {"count": late, "stored": late, "dropped": 0, "threshold_ns": 100_000}
    if spread is not None:
        result["scalars"][f"{name}_spread"] = {"value": spread, "unit": "p99/p50"}
    asked = {metric: {"better": "lower", "gate": "p99.99", "sample": "wake-up"}}
    return write_run(execution, "nuc", made, files, RunContext("nightly", execution.name, 1, asked, "cd" * 32, FACTS))


def simple_run(execution: Path, target: str = "nuc", *, seed: int = 1, **options: Any) -> Path:
    """One small run, quickly."""
    rng = np.random.default_rng(seed)
    options.setdefault("histogram", counts(rng, quiet=40, noise=[(2_500, 0.4, 0, 400)]))
    facts = options.pop("facts", FACTS)
    made, files = record(**options, facts=facts or FACTS)
    return write_run(execution, target, made, files, context(execution.name, facts))


def run_on_two_cpus(execution: Path) -> Path:
    """One run of CPUs 3 and 2, of which 2 is the noisy one."""
    made, files = record(histogram=counts(np.random.default_rng(1), quiet=40, noise=[]), cpu=3)
    noise = [(900_000.0, 0.1, 0.0, 40)]
    other, its = record(histogram=counts(np.random.default_rng(2), quiet=90, noise=noise), cpu=2)
    files |= {name: data for name, data in its.items() if name != "log.txt"}
    made["results"] += other["results"]
    made["files"] = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
    return write_run(execution, "nuc", made, files, context())


def with_control(folder: Path, *, cpu: int, worse: int = 1) -> None:
    """Give a run that is kept a control on ``cpu``: the metrics of the measured task again, ``worse`` times as long."""
    document = json.loads((folder / "run.json").read_text())
    for metric in [each for each in document["metrics"] if "role" not in each]:
        more = {key: metric[key] * worse for key in ("max",) if metric.get(key) is not None}
        if "quantiles" in metric:
            more["quantiles"] = {name: value and value * worse for name, value in metric["quantiles"].items()}
            more["gate"] = None
        own = {"metric": f"control.{metric['metric']}", "cpu": cpu, "role": "control"}
        document["metrics"].append({**metric, **more, **own})
    document["control"] = {"cpu": cpu, "status": "ok", "validity": {"state": "valid", "reasons": []}, "result": {}}
    (folder / "run.json").write_text(json.dumps(document))
    log = (folder / "histograms.hlog").read_text()
    line = next(line for line in log.splitlines() if line.startswith("Tag="))
    (folder / "histograms.hlog").write_text(f"{log}Tag=control.gap_ns.cpu{cpu},{line.partition(',')[2]}\n")


def context(execution: str = EXECUTION, facts: Mapping[str, Any] | None = FACTS) -> RunContext:
    return RunContext("nightly", execution, 1, METRICS, "cd" * 32, facts or {})


def plan(
    execution: Path,
    targets: Sequence[str],
    cells: Sequence[Mapping[str, Any]],
    repeat: int,
    budgets: Sequence[Mapping[str, Any]] = (),
) -> None:
    document = {
        "schema": 1,
        "version": "0.1.0",
        "campaign": "nightly",
        "execution": execution.name,
        "started": "2026-11-20T01:00:00Z",
        "config": {"campaign": "nightly", "repeat": repeat, "sessions": 1, "duration": "10s", "budgets": budgets},
        "benches": {"gap": {"params": {"threshold": {"type": "duration", "default": "1us"}}}},
        "targets": list(targets),
        "cells": list(cells),
        "inventory": {name: {} for name in targets},
    }
    write_file(execution / "plan.json", json.dumps(document).encode())


def plan_cell(cell: str, target: str, mode: str, load: str, **more: Any) -> dict[str, Any]:
    """A cell of a plan.json as :func:`record` asks for it."""
    asked = {"params": {"threshold": "1000ns"}, "settle_ns": 1_000_000_000, "duration_ns": 10_000_000_000}
    return {"cell": cell, "target": target, "bench": "gap", "mode": mode, "load": load, **asked, **more}


def lane(execution: Path, target: str, facts: Mapping[str, Any], unsupported: Sequence[Mapping[str, str]]) -> None:
    document = {"schema": 1, "target": target, "facts": facts, "placement": {"notes": []}, "unsupported": unsupported}
    write_file(execution / "lanes" / f"{target}.json", json.dumps(document).encode())


STEAL = {
    "rule": "steal",
    "state": "suspect",
    "text": "the hypervisor took CPU 1 for 120 ms of 10 s",
    "advice": "pin the virtual CPU on its host, or measure on bare metal",
}
THROTTLED = {
    "rule": "rt-throttling",
    "state": "invalid",
    "text": "the kernel's RT throttling stopped the task for 50 ms in every second",
    "advice": "set kernel.sched_rt_runtime_us to -1, or let isolbench do it as root",
}


def realistic(root: Path, repeat: int = 4) -> Path:
    """A night on two machines: metal and a virtual one, three modes, two loads, and what goes wrong in between."""
    execution = root / "nightly" / EXECUTION
    virtual = {
        **FACTS,
        "hostname": "box",
        "cpu_model": "Intel Xeon Processor (Cascadelake)",
        "firmware": "SeaBIOS 1.16.3",
        "virtual": "kvm",
        "kernel": {
            "release": "6.12.48+deb13-amd64",
            "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)",
            "preempt": "PREEMPT_DYNAMIC",
            "cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.12.48+deb13-amd64 root=UUID=6d1c ro quiet",
        },
        "cpus": {"online": [0, 1], "isolated": [], "nohz_full": [], "allowed": [0, 1]},
    }
    noises: dict[tuple[str, str], list[tuple[float, float, float, int]]] = {
        ("shared", "idle"): [(2_100, 0.35, 0, 9000), (28_000, 0.5, 0, 700), (380_000, 0.7, 0, 30)],
        ("shared", "spin"): [(2_300, 0.4, 0, 12000), (60_000, 0.8, 0, 1600), (3_100_000, 0.5, 0, 45)],
        ("pinned", "idle"): [(1_900, 0.3, 0, 2600), (14_000, 0.5, 0, 90)],
        ("pinned", "spin"): [(2_000, 0.3, 0, 3100), (19_000, 0.6, 0, 420), (160_000, 0.4, 0, 12)],
        ("fifo", "idle"): [(1_300, 0.15, 0, 12)],
        ("fifo", "spin"): [(1_500, 0.25, 0, 160), (4_100, 0.3, 0, 9)],
    }
    cells = []
    number = 0
    for target, facts, factor, cpu in (("nuc", FACTS, 1.0, 3), ("box", virtual, 3.2, 1)):
        for (mode, load), noise in noises.items():
            number += 1
            cell = f"gap.{mode}.{load}-{number:012x}"
            cells.append(plan_cell(cell, target, mode, load))
            if (target, mode, load) == ("box", "fifo", "spin"):
                continue
            for index in range(1, repeat + 1):
                rng = np.random.default_rng(1000 * number + index)
                scaled = [
                    (m * factor * rng.uniform(0.9, 1.15), s, 0.0, max(1, int(n * rng.uniform(0.7, 1.3))))
                    for m, s, _, n in noise
                ]
                state, reasons = "valid", []
                if target == "box" and mode == "shared":
                    state, reasons = "suspect", [STEAL]
                if (target, mode, load, index) == ("nuc", "fifo", "spin", 2):
                    state, reasons = "invalid", [THROTTLED]
                    scaled.append((50_000_000, 0.01, 0, 10))
                if (target, mode, load) == ("nuc", "fifo", "idle"):
                    scaled = []
                made, files = record(
                    cell=cell,
                    repeat=index,
                    mode=MODES[mode],
                    load=load,
                    cpu=None if mode == "shared" else cpu,
                    histogram=counts(rng, quiet=38 * (1 if factor == 1 else 1.3), noise=scaled),
                    state=state,
                    reasons=reasons,
                    facts=facts,
                    started_ns=1_795_136_400_250_000_000 + (number * repeat + index) * 11_000_000_000,
                )
                write_run(execution, target, made, files, context(facts=facts))
        lane(
            execution,
            target,
            facts,
            []
            if target == "nuc"
            else [
                {
                    "cell": cells[-1]["cell"],
                    "bench": "gap",
                    "mode": "fifo",
                    "load": "spin",
                    "reason": "SCHED_FIFO was refused (EPERM): the agent has no CAP_SYS_NICE; become: sudo gives it",
                }
            ],
        )
    budgets = [
        {"bench": "gap", "metric": "gap_ns", "quantile": "p99.9999", "at_most": "20us"},
        {"bench": "gap", "metric": "stolen_ppm", "at_most": "100"},
    ]
    plan(execution, ["nuc", "box"], cells, repeat, budgets)
    write_attempt(
        execution,
        "nuc",
        cell=cells[3]["cell"],
        repeat=2,
        attempt=1,
        reason="the probe was killed: no progress for 16 s",
        fault="environment",
        advice="look at log.txt of the attempt; a hung disk or an exhausted RT runtime does this",
        context=RunContext("nightly", EXECUTION, 1),
        log=b"gap: armed on CPU 3\nthe last words\n",
    )
    return execution


if __name__ == "__main__":
    print(realistic(Path(sys.argv[1])))
