# SPDX-License-Identifier: Apache-2.0
"""Attributed runs out of thin air: gaps with classes and causes, as a probe with ``--attribution perf`` leaves them.

``python -m tests.unit.report.fake_causes DIR`` makes an execution to look at.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.store.hdr import GEOMETRY, Counts
from harness.store.runs import RunContext, write_run

from . import fake_execution as fake

TIMER, RESCHEDULE = "vector:local_timer", "vector:reschedule"
TICK = "hrtimer:tick_nohz_handler"
#: Class, entry, cause, how many a run, and the median of their lengths (ns).
Cause = tuple[str, str | None, str | None, int, float]
NOISY: tuple[Cause, ...] = (
    ("interrupt", TIMER, TICK, 2500, 5_200),
    ("interrupt", "irq:nvme0q4", "irq:nvme0q4", 700, 6_800),
    ("interrupt", RESCHEDULE, "task:rcu_preempt", 160, 14_000),
    ("interrupt", TIMER, "work:vmstat_update", 10, 42_000),
    ("interrupt", "vector:call_function_single", "call:flush_tlb_func", 40, 3_100),
    ("exception", "fault:user", "fault:user", 12, 2_400),
    ("syscall", "syscall:getppid", "syscall:getppid", 3, 1_300),
    ("unexplained", None, None, 35, 21_000),
)
QUIET: tuple[Cause, ...] = (
    ("interrupt", TIMER, TICK, 10, 5_900),
    ("interrupt", TIMER, "timer:clocksource_watchdog", 4, 9_000),
    ("unexplained", None, None, 30, 20_000),
)


def told(
    gaps: Mapping[tuple[str, str | None, str | None], Sequence[int]], level: str = "tracepoints", **more: Any
) -> dict[str, Any]:
    """``attribution`` of a result, of gaps (ns) by class, entry and cause."""
    if level == "nothing":
        return {"requested": "perf", "level": level, "reason": "perf_event_paranoid is 3, and no CAP_PERFMON", **more}
    causes = []
    classes = {name: {"count": 0, "stolen_ns": 0} for name in ("syscall", "exception", "interrupt", "unexplained")}
    low, _ = GEOMETRY.bounds
    for (class_, entry, cause), lengths in gaps.items():
        places, counts = np.unique([GEOMETRY.index(length) for length in lengths], return_counts=True)
        causes.append(
            {
                "class": class_,
                "entry": entry,
                "cause": cause,
                **({"irq": 36} if str(entry).startswith("irq:") else {}),
                "count": len(lengths),
                "stolen_ns": int(sum(lengths)),
                "max_ns": int(max(lengths)),
                "buckets": [[int(low[place]), int(count)] for place, count in zip(places, counts, strict=True)],
            }
        )
        classes[class_]["count"] += len(lengths)
        classes[class_]["stolen_ns"] += int(sum(lengths))
    causes.sort(key=lambda each: -each["stolen_ns"])
    number = sum(len(lengths) for lengths in gaps.values())
    return {
        "requested": "perf",
        "level": level,
        "reason": None if level == "tracepoints" else "perf_event_paranoid is 2",
        "scope": "cpu" if level == "tracepoints" else "task",
        "events": {"open": ["raw_syscalls/sys_enter"], "absent": [], "refused": []},
        "ring": {"bytes": 8388608, "peak_bytes": 1456, "records": 3 * number, "lost": 0, "missing": 0, "unknown": 0},
        "placed": {"inside": 3 * number, "outside": 0, "before": 9, "after": 4, "foreign": 0},
        "gaps": number,
        "gaps_dropped": 0,
        "clock_error_ns": 52.1,
        "sample_ns": 340,
        "steal_ns": 0,
        "instruments": {
            "events": 3 * number,
            "cost_ns": 3 * number * 340.0,
            "interrupts": {"opening": 19, "enabling": 2, "within": 1, "closing": 9, "own": 0, "wakeups": 0},
            "opened_by_others": 0,
        },
        "classes": classes,
        "causes": causes,
        "conservation": {"holds": True, "rows": {"LOC": {"events": 9, "edge": 0, "interrupts": 9}}, "unseen": {}},
        "tracer": None,
        "other_events": False,
        **more,
    }


def attributed(
    execution: Path,
    target: str = "nuc",
    *,
    causes: Sequence[Cause] = NOISY,
    level: str = "tracepoints",
    seed: int = 1,
    kernel: str = "default",
    boot: str = "plain",
    told_more: Mapping[str, Any] = {},
    **options: Any,
) -> Path:
    """One run whose gaps have causes."""
    rng = np.random.default_rng(seed)
    gaps: dict[tuple[str, str | None, str | None], list[int]] = {}
    lines: list[tuple[int, int, str, str | None]] = []
    cpu = options.setdefault("cpu", 3)
    duration_ns = options.setdefault("duration_ns", 10_000_000_000)
    for class_, entry, cause, number, median in causes:
        many = max(1, int(number * rng.uniform(0.95, 1.05)))
        lengths = np.maximum(1_000, rng.lognormal(np.log(median), 0.25, many)).astype(np.int64).tolist()
        gaps[class_, entry, cause] = lengths
        times = np.sort(rng.integers(0, duration_ns, many)).tolist()
        lines += [(at, length, class_, cause) for at, length in zip(times, lengths, strict=True)]
    histogram = fake.counts(rng, quiet=38, noise=[])
    values = histogram.counts.copy()
    for lengths in gaps.values():
        np.add.at(values, [GEOMETRY.index(length) for length in lengths], 1)
    options.setdefault("cell", "gap.pinned.idle-000000000001")
    facts = options.pop("facts", fake.FACTS)
    made, files = fake.record(
        histogram=Counts(GEOMETRY, values), facts=facts, gaps=len(lines), **{"mode": fake.MODES["pinned"], **options}
    )
    [result] = made["results"]
    made["spec"]["attribution"] = "perf"
    result["attribution"] = told(gaps, level, **told_more)
    result["identity"] = {"attribution": level}
    name = f"gaps.{'any' if cpu is None else f'cpu{cpu}'}.jsonl"
    known = level != "nothing"
    files[name] = b"".join(
        json.dumps(
            {"at_ns": at, "gap_ns": length, **(_told_of(class_, cause) if known else {})},
            separators=(",", ":"),
        ).encode()
        + b"\n"
        for at, length, class_, cause in sorted(lines, key=lambda each: each[0])
    )
    made["files"] = [{"name": key, "sha256": hashlib.sha256(data).hexdigest()} for key, data in files.items()]
    own = RunContext("nightly", execution.name, 1, fake.METRICS, "cd" * 32, facts, kernel=kernel, boot=boot)
    return write_run(execution, target, made, files, own)


def _told_of(class_: str, cause: str | None) -> dict[str, Any]:
    """What a line of the list says beside the time: of the tick what it was needed for, of calls who sent them."""
    chain = [[900, TIMER], [1100, "tick:POSIX_TIMER"]] if cause == TICK else []
    calls = str(cause).startswith("call:")
    sender = {"sender": {"cpu": 0, "tid": 77, "task": "munmapper", "site": "smp_call_function"}} if calls else {}
    return {"class": class_, "cause": cause, "chain": chain, **sender}


def realistic(root: Path, repeat: int = 3) -> Path:
    """A night that asks for causes: on a busy CPU and a quiet one, and on a machine that shows nobody its events."""
    execution = root / "nightly" / fake.EXECUTION
    cells = []
    for place, (target, mode, causes, level) in enumerate(
        (
            ("nuc", "shared", NOISY, "tracepoints"),
            ("nuc", "fifo", QUIET, "tracepoints"),
            ("box", "pinned", NOISY, "nothing"),
        ),
        1,
    ):
        cell = f"gap.{mode}.idle-{place:012x}"
        cells.append(fake.plan_cell(cell, target, mode, "idle", attribution="perf"))
        for number in range(1, repeat + 1):
            attributed(
                execution, target, causes=causes, level=level, seed=10 * place + number, cell=cell, repeat=number,
                mode=fake.MODES[mode],
            )  # fmt: skip
        fake.lane(execution, target, fake.FACTS, [])
    fake.plan(execution, ["nuc", "box"], cells, repeat)
    return execution


def late(root: Path, scopes: Mapping[str, str]) -> Path:
    """One run of each mode whose late wake-ups have causes, with the ``scope`` that its events had."""
    execution = root / "nightly" / fake.EXECUTION
    for place, (mode, scope) in enumerate(scopes.items(), 1):
        cell, options = f"gap.{mode}.idle-{place:012x}", {"mode": fake.MODES[mode], "told_more": {"scope": scope}}
        file = attributed(execution, causes=QUIET, cell=cell, **options) / "run.json"
        document = json.loads(file.read_bytes())
        [result] = document["results"]
        result["late"] = result.pop("gaps")
        file.write_text(json.dumps(document))
    return execution


def kernels(root: Path, repeat: int = 2, next_level: str = "tracepoints") -> Path:
    """The same CPU under two kernels; ``next_level``: what the second one lets be seen."""
    execution = root / "nightly" / fake.EXECUTION
    cells = []
    for place, (kernel, causes, level) in enumerate(
        (("default", NOISY, "tracepoints"), ("next", QUIET, next_level)), 1
    ):
        cell = f"gap.pinned.idle-{place:012x}"
        cells.append(fake.plan_cell(cell, "nuc", "pinned", "idle", attribution="perf", kernel=kernel, boot="plain"))
        facts = {**fake.FACTS, "kernel": {**fake.FACTS["kernel"], "release": f"6.{place}", "build_id": f"b{place}"}}
        for number in range(1, repeat + 1):
            attributed(
                execution, causes=causes, level=level, seed=10 * place + number, cell=cell, repeat=number,
                kernel=kernel, facts=facts,
            )  # fmt: skip
    fake.lane(execution, "nuc", fake.FACTS, [])
    fake.plan(execution, ["nuc"], cells, repeat)
    return execution


if __name__ == "__main__":
    print(realistic(Path(sys.argv[1]) / "modes"))
    print(kernels(Path(sys.argv[1]) / "kernels"))
