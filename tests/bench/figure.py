# SPDX-License-Identifier: Apache-2.0
"""A figure with its bar, and what the benchmarks share."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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
        bar = "" if self.bar is None else f" (bar {self.bar:.3g})"
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
