# SPDX-License-Identifier: Apache-2.0
"""Executions of the bench `sense` out of thin air: as many disturbances as are asked for, found or not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.campaign import execution as executions
from harness.campaign.execution import Execution
from harness.campaign.sensitivity import BENCH, plan_of
from harness.config.inventory import load_inventory
from harness.store.hdr import GEOMETRY, Counts
from harness.store.runs import RunContext, write_run

from ..report import fake_execution as fake

INJECTOR = 777
EVENTS = ("csd/csd_function_entry", "csd/csd_queue_cpu", "signal/signal_deliver", "raw_syscalls/sys_enter")
#: By kind, how its gap looks.
_LOOKS = {"membarrier": ("interrupt", "call:ipi_mb"), "signal": ("interrupt", "signal:SIGUSR1"),
          "syscall": ("syscall", "syscall:getppid"), "tlb": ("interrupt", "call:flush_tlb_func")}  # fmt: skip


def execution(root: Path, targets: Sequence[str] = ("local",), mode: str = "pinned") -> Execution:
    """A new one, with nothing in it. More targets than this machine are those of an inventory."""
    (root / "lab.yaml").write_text(json.dumps({"targets": {name: {"address": name} for name in targets[1:]}}))
    inventory = load_inventory(root / "lab.yaml")
    return executions.create(plan_of(dict.fromkeys(targets, mode), inventory), root / "results", root / "lab.yaml")


def run(
    into: Execution,
    repeat: int = 1,
    *,
    target: str = "local",
    kinds: Mapping[str, int] = {"membarrier": 300},
    missed: Mapping[str, int] = {},
    false: int = 0,
    holds: bool | None = True,
    state: str = "valid",
    facts: Mapping[str, Any] = fake.FACTS,
    level: str = "tracepoints",
    events: Sequence[str] = EVENTS,
    unavailable: Mapping[str, str] = {},
) -> Path:
    """A run on CPU 3, ten disturbances a millisecond; the first ``missed`` of a kind make a gap without a cause, and
    ``false`` gaps name a membarrier that was not."""
    gaps, disturbances = [], []
    earlier: Counter[str] = Counter()
    for number, kind in enumerate([kind for kind, made in kinds.items() for _ in range(made)]):
        at = 10**6 + 100_000 * number
        disturbances.append({"kind": kind, "at_ns": at, "end_ns": at + 4_000})
        if kind == "none":
            continue
        class_, cause = _LOOKS[kind]
        if kind == "signal":
            disturbances[-1]["effect_ns"] = at + 3_000
        if kind == "syscall":
            disturbances[-1]["name"] = "getppid"
        gaps.append(_gap(at if kind == "syscall" else at + 500, class_, cause))
        earlier[kind] += 1
        if earlier[kind] <= missed.get(kind, 0):
            gaps[-1].update({"class": "unexplained", "cause": None, "chain": []})
    gaps += [_gap(4 * 10**9 + 10**6 * number, *_LOOKS["membarrier"]) for number in range(false)]
    cell = into.plan.cells_of(target)[0]
    values = np.zeros(GEOMETRY.length, dtype=np.int64)
    values[GEOMETRY.index(3_000)] = max(1, len(gaps))
    made, files = fake.record(
        cell=cell.id, repeat=repeat, histogram=Counts(GEOMETRY, values), duration_ns=5 * 10**9, state=state,
        mode=fake.MODES["pinned"], facts=facts,
    )  # fmt: skip
    files["gaps.cpu3.jsonl"] = _lines(gaps)
    files["disturbances.cpu3.jsonl"] = _lines(disturbances)
    made["files"] = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
    made["spec"].update(bench=BENCH, probe={**made["spec"]["probe"], "name": BENCH})
    told = {
        "requested": "perf", "level": level, "reason": None if level == "tracepoints" else "no tracefs",
        "events": {"open": list(events), "absent": [], "refused": []},
        "ring": {"lost": 0, "missing": 0 if holds else 3}, "clock_error_ns": 50.0, "conservation": {"holds": holds},
    }  # fmt: skip
    made["results"][0].update(
        probe=BENCH,
        gaps={"count": len(gaps), "stored": len(gaps), "dropped": 0, "threshold_ns": 300},
        attribution=told,
        disturbances={"made": dict(kinds), "unavailable": dict(unavailable), "dropped": 0, "threshold_ns": 300},
        detail={"injector": {"cpu": 0, "tid": INJECTOR}},
    )
    context = RunContext("sensitivity", into.id, 1, {}, "cd" * 32, facts)
    return write_run(into.path, target, made, files, context)


def _gap(at: int, class_: str, cause: str) -> dict[str, Any]:
    line = {"at_ns": at, "gap_ns": 3_000, "class": class_, "cause": cause, "chain": [[0, cause]]}
    return (
        {**line, "sender": {"cpu": 0, "tid": INJECTOR, "task": "sense", "site": "x"}} if class_ != "syscall" else line
    )


def _lines(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
