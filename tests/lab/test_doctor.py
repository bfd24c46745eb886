# SPDX-License-Identifier: Apache-2.0
"""Why a core of a plain kernel is not quiet: asked of a board, by who may see everything and by who may see nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from harness.build import build_probe
from harness.deadline import Deadline
from harness.target.transport import open_transport

from .conftest import PATIENCE_S, Board

#: The function of the tick's timer in 6.1.
TICK = "hrtimer:tick_sched_timer"
INVENTORY = "targets: {box: {virtual: {arch: x86_64}, isolated: 1}}\n"
#: The probe comes by its standard input; its result goes to its standard output.
GAP = """
set -e
cd "$(mktemp -d)"
cat >gap
chmod 0700 gap
./gap --cpu 1 --duration 500ms --threshold 10us --attribution perf --out . >&2
cat result.json
rm -r "$PWD"
"""


def test_the_tick_is_named_with_what_stops_it(box: Board, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(INVENTORY)
    words = ["doctor", "box", "--inventory", tmp_path / "lab.yaml", "--results", tmp_path / "results"]
    call = [sys.executable, "-m", "harness", *map(str, words), "--mode", "pinned", "--duration", "2s", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["measured"]
    assert (found["target"], found["mode"], found["cpu"]) == ("box", "pinned", 1)
    assert (found["level"], found["conserved"]) == ("tracepoints", True), found["why"]
    # What nothing explains is the emulator's, and of that there is much.
    named = [each for each in found["causes"] if each["cause"] != "unexplained"]
    assert named[0]["cause"] == TICK
    assert named[0]["count"] > 100
    (advice,) = (each for each in named[0]["remedies"] if each["parameter"] == "nohz_full={isolated}")
    assert (advice["kind"], advice["in_effect"]) == ("boot", False)
    assert "nohz_full={isolated}" in found["boots"]


def test_who_may_see_no_event_is_told_why(box: Board) -> None:
    """Debian's kernels let nobody but root open one (perf_event_paranoid 3)."""
    probe = build_probe("gap", "x86_64").path.read_bytes()
    with closing(open_transport(box.target.model_copy(update={"user": "guest"}))) as transport:
        done = transport.run(["sh", "-c", GAP], stdin=probe, deadline=Deadline.after(PATIENCE_S))
    assert done.ok, done.last_words()
    result = json.loads(done.stdout)
    told = result["attribution"]
    assert (told["requested"], told["level"]) == ("perf", "nothing")
    assert told["reason"].count("Permission denied") == 2  # tracepoints, and software events
    assert result["gaps"]["count"] > 0
