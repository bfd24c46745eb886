# SPDX-License-Identifier: Apache-2.0
"""How a probe is called, how long it may take, what is kept of what it says; and loads and left-over processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import loads, modes
from harness.agent.probe import BoundedLog, allowance_ns, command, result_files, spooled_name
from harness.agent.processes import MARKER, kill_marked, marked, read_stat, running_ns, session_ticks
from harness.agent.spec import LoadSpec, ProbeSpec, RunSpec, SpecError
from harness.agent.system import AgentError, Tree

S = 10**9


def spec_of(mode: str) -> RunSpec:
    return RunSpec(
        run="c-r1",
        cell="c",
        repeat=1,
        attempt=1,
        bench="gap",
        probe=ProbeSpec("gap", "a" * 64, {"threshold": "1000ns", "digits": "2"}),
        mode=modes.from_name(mode).to_spec(),
        load=LoadSpec("idle"),
        cpus=[3],
        housekeeping=[0],
        settle_ns=0,
        duration_ns=5,
    )


@pytest.mark.parametrize(
    ("mode", "cpu", "place"),
    [
        ("shared", None, ["--sched", "other"]),
        ("pinned", 3, ["--cpu", "3", "--sched", "other"]),
        ("fifo", 3, ["--cpu", "3", "--sched", "fifo:1"]),
    ],
)
def test_the_probes_command_line(mode: str, cpu: int | None, place: list[str]) -> None:
    argv = command("/b/gap", spec_of(mode), modes.from_name(mode), cpu, "/out")
    options = ["--duration", "5ns", "--digits", "2", "--threshold", "1000ns", "--out", "/out"]
    assert argv == ["/b/gap", *place, *options]


@pytest.mark.parametrize(("duration_s", "allowed_s"), [(1, 6), (50, 55), (100, 110), (3600, 3960)])
def test_how_long_it_may_take(duration_s: int, allowed_s: int) -> None:
    assert allowance_ns(duration_s * S) == allowed_s * S


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_the_log_keeps_first_and_last(pieces: list[bytes], half: int) -> None:
    log = BoundedLog(half)
    for piece in pieces:
        log.feed(piece)
    whole, kept = b"".join(pieces), log.bytes()
    if len(whole) <= 2 * half:
        assert kept == whole
    else:
        assert kept == whole[:half] + b"\n[... %d bytes left out ...]\n" % (len(whole) - 2 * half) + whole[-half:]


def test_names_in_the_spool() -> None:
    assert spooled_name("gap_ns.hdr", "gap_ns", 1) == "gap_ns.cpu1.hdr"
    assert spooled_name("gap_ns.hdr", "gap_ns", None) == "gap_ns.any.hdr"
    assert spooled_name("gaps.jsonl", "gaps", 12) == "gaps.cpu12.jsonl"


def test_every_file_that_a_result_names_is_taken() -> None:
    result = {
        "histograms": {"wake_ns": {"file": "wake_ns.hdr"}},
        "late": {"file": "late.jsonl", "count": 1, "stored": 1, "dropped": 0},
        "loop": {"iterations": 3},
    }
    assert result_files(result) == {"wake_ns.hdr": "wake_ns", "late.jsonl": "late"}
    with pytest.raises(SpecError):
        result_files({"late": {"file": "../late.jsonl", "stored": 0}})


CPU = max(os.sched_getaffinity(0))


def test_spin_is_busy_where_it_was_put_and_gone_when_stopped() -> None:
    load = loads.make(LoadSpec("spin", "spin"), [CPU])
    load.start()
    try:
        [child] = load.children  # type: ignore[attr-defined]
        load.begin()
        while not (running_ns(Tree(), child.pid) or 0) > 50_000_000:
            time.sleep(0.01)
        assert os.sched_getaffinity(child.pid) == {CPU}
        proof = load.end()
        assert proof["cpu_time_ns"] > 0
        assert proof["due_ns"] > 0
        assert proof["share"] == round(proof["cpu_time_ns"] / proof["due_ns"], 4)
        assert proof["ended"] is None
    finally:
        load.stop()
    assert read_stat(Tree(), child.pid) is None


def test_spin_ends_when_its_parent_is_gone() -> None:
    script = (
        "from harness.agent import loads; from harness.agent.spec import LoadSpec\n"
        f"load = loads.make(LoadSpec('spin', 'spin'), [{CPU}]); load.start()\n"
        "print(load.children[0].pid, flush=True); import os; os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    pid = int(done.stdout)
    while (stat := read_stat(Tree(), pid)) is not None and stat.state != "Z":
        time.sleep(0.01)


def test_an_argv_load_counts_its_whole_session() -> None:
    busy = f"{sys.executable} -c 'while True: pass'"
    load = loads.make(LoadSpec("busy", "argv", ["/bin/sh", "-c", f"{busy} & wait"]), [CPU])
    load.start()
    try:
        [child] = load.children  # type: ignore[attr-defined]
        load.begin()
        while not session_ticks(Tree(), child.pid):
            time.sleep(0.01)
        proof = load.end()
        assert proof["cpu_time_ns"] > 0
        assert proof["share"] is None
    finally:
        load.stop()


def test_a_load_that_ended_early_says_so() -> None:
    load = loads.make(LoadSpec("short", "argv", ["/bin/sh", "-c", "exit 3"]), [CPU])
    load.start()
    load.begin()
    while load.end()["ended"] is None:
        time.sleep(0.01)
    assert load.end()["ended"] == "exit status 3"
    load.stop()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (LoadSpec("spin", "spin"), "no housekeeping CPU"),
        (LoadSpec("x", "argv", ["/bin/true"]), "no housekeeping CPU"),
    ],
)
def test_a_load_needs_a_cpu(spec: LoadSpec, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        loads.make(spec, []).start()


def test_a_load_that_cannot_be_started() -> None:
    with pytest.raises(AgentError, match="cannot run /no/such"):
        loads.make(LoadSpec("x", "argv", ["/no/such"]), [CPU]).start()
    with pytest.raises(AgentError, match="on CPU 4095"):
        loads.make(LoadSpec("spin", "spin"), [4095]).start()
    with pytest.raises(SpecError, match="none of idle, spin, argv"):
        loads.make(LoadSpec("x", "dance"), [CPU])


def test_idle_is_idle() -> None:
    load = loads.make(LoadSpec("idle"), [])
    load.start()
    load.begin()
    assert load.end()["share"] is None
    load.stop()


def test_all_that_carry_the_marker_are_killed_and_nobody_else() -> None:
    marker = os.urandom(8).hex()
    script = "setsid sleep 1000 & sleep 1000 & exec sleep 1000"
    environment = {**os.environ, MARKER: marker}
    with subprocess.Popen(["/bin/sh", "-c", script], env=environment) as child:
        other = subprocess.Popen(["sleep", "1000"], env={**os.environ, MARKER: marker + "x"})
        while len(marked(Tree(), marker, spare=frozenset())) < 3:
            time.sleep(0.01)
        spared = kill_marked(marker, spare=frozenset({child.pid}))
        assert child.pid not in spared
        assert len(spared) == 2
        assert child.poll() is None
        assert kill_marked(marker, spare=frozenset()) == [child.pid]
    assert other.poll() is None
    other.kill()
    other.wait()
    assert marked(Tree(), marker, spare=frozenset()) == []


def test_a_process_whose_name_tries_to_fool_us(tmp_path: Path) -> None:
    (tmp_path / "proc/5").mkdir(parents=True)
    numbers = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "proc/5/stat").write_text(f"5 (a) S 1 (b) R 2 3 {numbers}")
    stat = read_stat(Tree(str(tmp_path)), 5)
    assert stat is not None
    assert (stat.state, stat.parent, stat.group, stat.session) == ("R", 2, 3, 4)
