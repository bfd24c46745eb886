# SPDX-License-Identifier: Apache-2.0
"""What the controller needs for an execution of 10,000 runs: the peak of its resident memory, by command.

``python -m tests.bench.controller_memory [RUNS]`` measures one run of 50 ms on this machine, and keeps it 10,000 times
by the real ``write_run``, under other numbers. Prints one line of JSON: ``peak_mb`` is the largest of the ``commands``,
child processes: `resume` of what is finished, `resume` of what lacks ten runs (its lane's bookkeeping, and ten real
runs), `status`, `report` and `trend` (all runs into a catalogue that is not there yet).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.execution import Execution
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.store.record import RunContext
from harness.store.runs import write_run
from tests.loopback.campaign_kit import own_namespaces

ROOT = Path(__file__).parents[2]
BAR_MB = 300
CELLS = 10
LACKING = 10


def new_execution(folder: Path, name: str, repeat: int, cells: int) -> Execution:
    loads = ["idle", *({f"load{n}": ["sleep", str(60 + n)]} for n in range(1, cells))]
    campaign = {
        "campaign": name,
        "targets": ["local"],
        "benches": ["gap"],
        "axes": {"mode": ["pinned"], "load": loads},
        "settle": "0s",
        "duration": "50ms",
        "repeat": repeat,
        "retry": {"invalid": 0},
    }
    (folder / f"{name}.yaml").write_text(json.dumps(campaign))
    plan = build_plan(load_campaign(folder / f"{name}.yaml"), load_inventory(None))
    return executions.create(plan, folder / "results", None)


def one_run(folder: Path) -> tuple[dict[str, Any], dict[str, bytes], RunContext, Path]:
    """What an agent sent for one run, what the controller added, and the execution's folder."""
    caught: list[tuple[Any, ...]] = []

    def catch(*arguments: Any) -> Path:
        caught.append(arguments)
        return write_run(*arguments)

    execution = new_execution(folder, "one", 1, 1)
    with mock.patch("harness.campaign.ledger.write_run", catch):
        outcome = carry_out(execution, load_inventory(None))
    if not caught:
        raise SystemExit(f"controller_memory: {outcome.sentence}: {outcome.lanes[0].failure}")
    _, _, record, files, context = caught[0]
    return record, files, context, execution.path


def fabricate(
    execution: Execution, record: Mapping[str, Any], files: Mapping[str, bytes], context: RunContext, lacking: int
) -> None:
    """Keep that run as every run of ``execution`` but the last few."""
    wanted = [(cell, repeat) for cell in execution.plan.cells for repeat in range(1, execution.plan.repeat + 1)]
    for cell, repeat in wanted[lacking:]:
        run = f"{cell.id}-r{repeat}"
        load = {"name": cell.load.name, "kind": cell.load.kind, "argv": cell.load.argv}
        spec = {**record["spec"], "run": run, "cell": cell.id, "repeat": repeat, "load": load}
        write_run(execution.path, "local", {**record, "run": run, "spec": spec}, files, context)


def peak_mb(*words: str, cwd: Path) -> tuple[float, float]:
    """A command's peak of resident memory in MB, and the seconds that it took."""
    started_s = time.monotonic()
    with (cwd / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-m", "harness", *words], cwd=cwd, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"controller_memory: {' '.join(words)}: {(cwd / 'said').read_text()[-2000:]}")
    return usage.ru_maxrss / 1024, time.monotonic() - started_s


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(own_namespaces())  # beside whatever agent this machine has
        # In memory where there is room: each run is synced, and a disk is not what is measured here.
        roomy = Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > runs * 200_000
        place = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if roomy else None))
        folder = Path(place)
        os.environ["PYTHONPATH"] = str(ROOT)
        record, files, context, one = one_run(folder)
        repeat = runs // CELLS
        big, holed = (new_execution(folder, name, repeat, CELLS) for name in ("big", "holed"))
        for execution, lacking in ((big, 0), (holed, LACKING)):
            fabricate(execution, record, files, context, lacking)
            shutil.copytree(one / "lanes", execution.path / "lanes")
        commands = {
            "resume finished": ("resume", "big", "--no-report"),
            "resume lacking": ("resume", "holed", "--no-report"),
            "status": ("status", "big"),
            "report": ("report", "big"),
            "trend": ("trend", "big"),
        }
        found = {name: peak_mb(*words, cwd=folder) for name, words in commands.items()}
    peak = max(mb for mb, _ in found.values())
    figures = {
        "name": "controller_memory",
        "runs": repeat * CELLS,
        "peak_mb": round(peak, 1),
        "bar": BAR_MB,
        "within": peak <= BAR_MB,
        "commands": {name: {"mb": round(mb, 1), "seconds": round(s, 1)} for name, (mb, s) in found.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
