# SPDX-License-Identifier: Apache-2.0
"""Runs with causes, out of thin air: what a probe would have kept gap by gap."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.store.runs import Run, load_run

from ..report import fake_execution as fake

BEGIN = {
    "realtime_ns": 1_795_136_400_250_000_000,
    "boottime_ns": 5_000_000_000_000,
    "monotonic_raw_ns": 4_999_000_000_000,
}
TICK = {
    "at_ns": 1_000_000,
    "gap_ns": 20_000,
    "class": "interrupt",
    "cause": "hrtimer:tick_nohz_handler",
    "chain": [[600, "vector:local_timer"], [1_500, "hrtimer:tick_nohz_handler"]],
}
CALL = {
    "at_ns": 2_000_000,
    "gap_ns": 9_000,
    "class": "interrupt",
    "cause": "call:flush_tlb_func",
    "chain": [[700, "vector:call_function_single"], [1_700, "call:flush_tlb_func"]],
    "sender": {"cpu": 0, "tid": 4711, "task": "make", "site": "smp_call_function_many_cond"},
}
FAULT = {
    "at_ns": 3_000_000,
    "gap_ns": 2_000,
    "class": "exception",
    "cause": "fault:user",
    "chain": [[100, "fault:user"]],
    "address": "0x7f0012345678",
    "more": 3,
}
HOST = {"at_ns": 4_000_000, "gap_ns": 1_500, "class": "unexplained", "cause": None, "chain": []}
GAPS = (TICK, CALL, FAULT, HOST)


def attributed_run(
    execution: Path,
    lines: Iterable[Mapping[str, Any]] = GAPS,
    *,
    boot: str = "b-1",
    begin: Mapping[str, int] = BEGIN,
    attribution: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A run of CPU 3 that has these gaps; ``attribution`` of its result (by default the sums of ``lines``)."""
    lines = list(lines)
    folder = fake.simple_run(execution, duration_ns=10_000_000, **options)
    document = json.loads((folder / "run.json").read_text())
    document["facts_before"].update(boot_id=boot, boottime_ns=5_000_000, monotonic_ns=2_000_000)
    [result] = document["results"]
    result["started"] = dict(begin)
    result["gaps"] |= {"count": len(lines), "stored": len(lines)}
    result["attribution"] = attribution or {
        "requested": "perf",
        "level": "tracepoints",
        "reason": None,
        "causes": [
            {"class": each["class"], "cause": each["cause"], "count": 1, "stolen_ns": each["gap_ns"]}
            for each in lines
            if "class" in each
        ],
    }
    (folder / "run.json").write_text(json.dumps(document))
    write_list(folder, "gaps", [{"cpu": 3, **each} for each in lines])
    return folder


def write_list(folder: Path, name: str, lines: Iterable[Any]) -> None:
    text = "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines)
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def change(folder: Path, **changes: Any) -> Run:
    """Keys of its only result in the place of what they are; None takes one away."""
    document = json.loads((folder / "run.json").read_text())
    [result] = document["results"]
    result.update(changes)
    document["results"] = [{key: value for key, value in result.items() if value is not None}]
    (folder / "run.json").write_text(json.dumps(document))
    return load_run(folder)
