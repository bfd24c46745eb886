# SPDX-License-Identifier: Apache-2.0
"""A board takes a hundred times as long as this machine to read and compile a module: who connects loads few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_connecting_loads_no_more_of_the_agent_than_it_takes() -> None:
    script = "import sys, agent.__main__; print(*sorted(each for each in sys.modules if each.startswith('agent.')))"
    loaded = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=ROOT / "harness", capture_output=True, text=True, check=True
    )
    modules = {name.removeprefix("agent.") for name in loaded.stdout.split()}
    assert modules == {"__main__", "attach", "detach", "frames", "paths", "processes", "server", "system"}
