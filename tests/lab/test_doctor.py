# SPDX-License-Identifier: Apache-2.0
"""Why a core of a plain kernel is not quiet: asked of a board, by who may see everything and by who may see nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Board

#: The function of the tick's timer in 6.1.
TICK = "hrtimer:tick_sched_timer"
INVENTORY = "targets: {{box: {{virtual: {{arch: x86_64}}, user: {user}, isolated: 1}}}}\n"

pytestmark = pytest.mark.usefixtures("box")


def doctor(folder: Path, user: str) -> dict[str, Any]:
    """What a doctor says who logs in as ``user``."""
    (folder / "lab.yaml").write_text(INVENTORY.format(user=user))
    words = ["doctor", "box", "--inventory", folder / "lab.yaml", "--results", folder / "results"]
    call = [sys.executable, "-m", "harness", *map(str, words), "--mode", "pinned", "--duration", "2s", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["measured"]
    assert (found["target"], found["mode"], found["cpu"]) == ("box", "pinned", 1)
    return dict(found)


def test_the_tick_is_named_with_what_stops_it(tmp_path: Path) -> None:
    found = doctor(tmp_path, "lab")
    assert (found["level"], found["conserved"]) == ("tracepoints", True), found["why"]
    # What nothing explains is the emulator's, and of that there is much.
    named = [each for each in found["causes"] if each["cause"] != "unexplained"]
    assert named[0]["cause"] == TICK
    assert named[0]["count"] > 100
    (advice,) = (each for each in named[0]["remedies"] if each["parameter"] == "nohz_full={isolated}")
    assert (advice["kind"], advice["in_effect"]) == ("boot", False)
    assert "nohz_full={isolated}" in found["boots"]


def test_who_may_see_no_tracepoint_is_told_why(box: Board, tmp_path: Path) -> None:
    """Debian's kernels let nobody but root open an event (perf_event_paranoid 3)."""
    found = doctor(tmp_path, "guest")
    assert (found["level"], found["conserved"]) == ("nothing", None)
    assert found["count"] > 0
    assert "perf_event_paranoid" in " ".join(found["why"])
    assert found["advice"]
