# SPDX-License-Identifier: Apache-2.0
"""An execution that boots, out of thin air: kernels and boot profiles, sessions in turns, boots that fail.

``python -m tests.unit.report.fake_kernels DIR`` makes one to look at.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.store.files import write_file
from harness.store.runs import RunContext, write_attempt, write_run

from .fake_execution import EXECUTION, FACTS, METRICS, MODES, counts, lane, plan_cell, record

OWN = "BOOT_IMAGE=/vmlinuz-6.1.0-50-amd64 root=/dev/vda2 ro quiet splash console=ttyS0"
QUIET = "isolcpus=managed_irq,domain,3 nohz_full=3 rcu_nocbs=3"
KERNELS: dict[str, dict[str, Any]] = {
    "default": {
        "release": "6.1.0-50-amd64",
        "version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.150-1 (2025-08-24)",
        "build_id": "8f3b21aa5d0c4e7f8f3b21aa5d0c4e7f8f3b21aa",
        "preempt": "PREEMPT_DYNAMIC",
        "config_sha256": "c0" * 32,
    },
    "rt": {
        "release": "6.1.0-50-rt-amd64",
        "version": "#1 SMP PREEMPT_RT Debian 6.1.150-1 (2025-08-24)",
        "build_id": "77ac01e35d0c4e7f8f3b21aa5d0c4e7f8f3b21aa",
        "preempt": "PREEMPT_RT",
        "config_sha256": "d1" * 32,
    },
}
#: Of the kernel rt; the others lay there.
ARTEFACT = "5ca1ab1e" * 8
BOOTS = {"plain": ("", ()), "quiet": (QUIET, ("splash",))}
PANIC = (
    "came back with the kernel 6.1.0-50-amd64 instead of 6.18.0-next (next); its console said: "
    "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
)
NOHZ = "CPU 3 is not nohz_full: boot with nohz_full=3 (profile quiet)"
#: (median ns, sigma, -, how many) of what befalls a mode, for the kernel default as it boots by itself.
NOISE = {
    "shared": [(2_100, 0.35, 0, 9000), (28_000, 0.5, 0, 700), (380_000, 0.7, 0, 30)],
    "pinned": [(1_900, 0.3, 0, 2600), (14_000, 0.5, 0, 90)],
    "nohz-full": [(1_300, 0.15, 0, 12)],
}
WHAT: dict[str, Mapping[str, Any]] = {
    **{name: MODES[name] for name in ("shared", "pinned")},
    "nohz-full": {"name": "nohz-full", "where": "pinned", "sched": "other", "hold": "none"},
}


def cmdline(kernel: str, boot: str) -> str:
    add, remove = BOOTS[boot]
    line = " ".join(word for word in OWN.split() if word not in remove)
    return f"{line} {add}".strip() if kernel == "default" and boot == "plain" else f"{line} {add} panic=10".strip()


def facts(kernel: str, boot: str) -> dict[str, Any]:
    own = {**KERNELS[kernel], "cmdline": cmdline(kernel, boot)}
    isolated = [3] if boot == "quiet" else []
    return {**FACTS, "kernel": own, "cpus": {**FACTS["cpus"], "isolated": isolated, "nohz_full": isolated}}


def kernels(
    root: Path,
    *,
    kernels: Sequence[str] = ("default", "rt", "next"),
    boots: Sequence[str] = ("plain", "quiet"),
    modes: Sequence[str] = ("shared", "pinned", "nohz-full"),
    loads: Sequence[str] = ("idle",),
    sessions: int = 2,
    repeat: int = 2,
    target: str = "box",
) -> Path:
    """Kernels x boots x modes x loads on one board. ``next`` panics; ``nohz-full`` wants ``quiet``; rt is as rt is."""
    execution = root / "kernels" / EXECUTION
    cells: dict[tuple[str, str, str, str], str] = {}
    for kernel in kernels:
        for boot in boots:
            for mode in modes:
                for load in loads:
                    cells[kernel, boot, mode, load] = f"gap.{mode}.{load}-{len(cells) + 1:012x}"
    log: list[dict[str, Any]] = []
    clock = 1_795_136_400.0

    def tell(kind: str, **more: Any) -> None:
        nonlocal clock
        clock += 1
        at = datetime.fromtimestamp(clock, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log.append({"target": target, **more, "at": at, "kind": kind})

    turn = [(kernel, boot) for kernel in kernels for boot in boots]
    for session in range(1, sessions + 1):
        for kernel, boot in turn if session % 2 else reversed(turn):
            named = {"kernel": kernel, "boot": boot, "session": session}
            tell("booting", kernel=kernel, boot=boot, method="kexec")
            clock += 24 + session
            runs = range((session - 1) * repeat + 1, session * repeat + 1)
            if kernel == "next":
                tell("boot-failed", **named, message=PANIC, retried=session == 1)
                if session == 1:
                    tell("booting", kernel=kernel, boot=boot, method="kexec")
                    tell("boot-failed", **named, message=PANIC, retried=False)
                for mode in modes:
                    for load in loads:
                        for run in runs:
                            write_attempt(
                                execution, target, cell=cells[kernel, boot, mode, load], repeat=run, attempt=1,
                                reason=f"boot of next {boot}: {PANIC}", fault="infrastructure",
                                context=RunContext("kernels", EXECUTION, session, kernel=kernel, boot=boot),
                                log=b"Kernel panic",
                            )  # fmt: skip
                continue
            own = facts(kernel, boot)
            boot_id = f"boot-{kernel}-{boot}-{session}"
            proof = {key: own["kernel"][key] for key in ("release", "version", "build_id", "cmdline")}
            tell("booted", **named, proof={**proof, "boot_id": boot_id, "isolated": [], "nohz_full": []})
            for mode in modes:
                for load in loads:
                    if mode == "nohz-full" and boot == "plain":
                        continue
                    for run in runs:
                        _run(execution, target, cells[kernel, boot, mode, load], run, named, mode, load, own, boot_id)
    refused = [
        {"cell": cell, "bench": "gap", "mode": mode, "load": load, "reason": NOHZ}
        for (kernel, boot, mode, load), cell in cells.items()
        if mode == "nohz-full" and boot == "plain" and kernel != "next"
    ]
    lane(execution, target, facts("default", "plain"), refused)
    write_file(execution / "events.jsonl", "".join(json.dumps(event) + "\n" for event in log).encode())
    document = {
        "schema": 1,
        "version": "0.1.0",
        "campaign": "kernels",
        "execution": EXECUTION,
        "started": "2026-11-20T01:00:00Z",
        "config": {
            "campaign": "kernels", "repeat": repeat, "sessions": sessions, "duration": "10s", "budgets": [],
            "axes": {"kernel": list(kernels), "boot": list(boots)},
        },
        "benches": {"gap": {"params": {"threshold": {"type": "duration", "default": "1us"}}}},
        "targets": [target],
        "cells": [
            plan_cell(cell, target, mode, load, kernel=kernel, boot=boot)
            for (kernel, boot, mode, load), cell in cells.items()
        ],
        "inventory": {target: {}},
    }  # fmt: skip
    write_file(execution / "plan.json", json.dumps(document).encode())
    return execution


def _run(
    execution: Path, target: str, cell: str, repeat: int, named: Mapping[str, Any], mode: str, load: str,
    own: Mapping[str, Any], boot_id: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng([*cell.encode(), repeat])
    kernel, boot = named["kernel"], named["boot"]
    less = (0.35 if boot == "quiet" else 1.0) * (0.6 if kernel == "rt" else 1.0) * (1.8 if load != "idle" else 1.0)
    noise = [
        (median * less**0.7 * rng.uniform(0.9, 1.12), sigma, 0.0, max(1, int(number * less * rng.uniform(0.8, 1.2))))
        for median, sigma, _, number in NOISE[mode]
    ]
    made, files = record(
        cell=cell, repeat=repeat, mode=WHAT[mode], load=load, cpu=None if mode == "shared" else 3,
        histogram=counts(rng, quiet=38, noise=noise), facts=own,
    )  # fmt: skip
    for key in ("facts_before", "facts_after"):
        ticks = 250 if boot == "plain" else 1
        made[key] = {**made[key], "boot_id": boot_id, "interrupts": {"3": {"LOC": ticks * (key == "facts_after")}}}
    seen = {**own, "boot_id": boot_id}
    proof = {"boot_id": boot_id, "artefact": {"sha256": ARTEFACT} if kernel == "rt" else None}
    about = RunContext(
        "kernels", EXECUTION, named["session"], METRICS, "cd" * 32, seen, kernel=kernel, boot=boot, proof=proof
    )
    write_run(execution, target, made, files, about)


if __name__ == "__main__":
    print(kernels(Path(sys.argv[1]), loads=("idle", "spin")))
