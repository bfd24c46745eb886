# SPDX-License-Identifier: Apache-2.0
"""How long planning takes: 100,000 cells over 1,000 targets. Prints one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from harness.config.campaign import load_campaign
from harness.config.inventory import read_inventory
from harness.config.yaml import parse
from harness.plan import build_plan

INVENTORY = 'targets:\n  "n[0001-1000]": {address: "{name}.lab"}\n'
LOADS = ", ".join(f"{{load{number}: [stress, '{number}']}}" for number in range(18))
CAMPAIGN = f"""
campaign: bench
targets: ["n*"]
benches: [gap]
axes:
  mode: [shared, pinned, fifo, "fifo:2", "fifo:3"]
  load: [idle, spin, {LOADS}]
exclude: [{{mode: shared, load: load17, target: n0001}}]
duration: 1s
repeat: 8
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(CAMPAIGN)
        before_s = time.process_time()
        inventory = read_inventory(parse(INVENTORY, "bench"), path)
        campaign = load_campaign(path)
        loaded_s = time.process_time()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan = build_plan(campaign, inventory)
        planned_s = time.process_time()
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        json.dumps(plan.to_json())
        written_s = time.process_time()
    figures = {
        "name": "plan_cells",
        "cells": len(plan.cells),
        "load_cpu_s": round(loaded_s - before_s, 3),
        "plan_cpu_s": round(planned_s - loaded_s, 3),
        "json_cpu_s": round(written_s - planned_s, 3),
        "plan_memory_kb": grown_kb,
        "within": planned_s - loaded_s < 2.0,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
