# SPDX-License-Identifier: Apache-2.0
"""Whatever dies at whatever moment: the machine is put back as it was found, and no finished run is lost."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.processes import read_stat
from harness.agent.spec import LoadSpec
from harness.agent.system import Tree
from harness.build import build_probe
from harness.deadline import Deadline
from harness.errors import BuildError, ConnectionLost
from harness.target.client import AgentClient, split_files

from .agent_kit import (
    EXECUTION,
    Agent,
    agent_in,
    carrying,
    listen,
    moved_irqs,
    run_spec,
    settings,
    soon,
    submit,
    until,
    without_measured,
)

pytestmark = [
    pytest.mark.skipif(without_measured() is not None, reason=str(without_measured())),
    pytest.mark.skipif(os.geteuid() != 0, reason="knobs are root's: there would be nothing to put back"),
]
#: A load that does what it can to outlive us: its own session, several generations.
LEAVER = LoadSpec("leaver", "argv", ["/bin/sh", "-c", "setsid sh -c 'sleep 1000 & sleep 1000' & while :; do :; done"])


@pytest.fixture(scope="module")
def gap() -> bytes:
    try:
        return build_probe("gap", platform.machine()).path.read_bytes()
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        yield agent


def probes_of(marker: str) -> list[int]:
    found = []
    for pid in carrying(marker):
        with contextlib.suppress(OSError):
            if b"--duration" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def victims(agent: Agent, worker: int, what: str, marker: str) -> list[int]:
    if what == "probe":
        return probes_of(marker)
    supervisor = [pid for pid in agent.daemons() if pid != worker]
    return {"worker": [worker], "supervisor": supervisor, "both": [*supervisor, worker]}[what]


def keepers(worker: int, marker: str) -> list[int]:
    """What the commands of loads run under."""
    probes = probes_of(marker)
    stats = {pid: read_stat(Tree(), pid) for pid in carrying(marker)}
    return [pid for pid, stat in stats.items() if stat is not None and stat.parent == worker and pid not in probes]


def finished_until_lost(client: AgentClient) -> set[str]:
    """The names of all runs that reached us, none acknowledged."""
    names = set()
    try:
        while (frame := client.next(Deadline.after(30))) is not None:
            if frame.type == "run":
                split_files(frame)
                names.add(str(frame.head["run"]))
            elif frame.head["kind"] == "batch-finished":
                return names
    except ConnectionLost:
        return names
    raise AssertionError("neither an end nor a loss")


@pytest.mark.parametrize("what", ["worker", "supervisor", "both", "probe"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(agent: Agent, gap: bytes, what: str, seed: int) -> None:
    dice = random.Random(f"{what}-{seed}")
    before = settings()
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker = client.welcome["pid"]
    marker = agent.marker()
    modes = ["fifo", "shared", "pinned", "fifo"]
    tune = ["workqueues", "stat-interval", "watchdog", "timer-migration", "thp"] if seed % 2 else []
    runs = [run_spec(n, sha256, mode=modes[n % 4], load=LEAVER, duration_ns=60_000_000, tune=tune) for n in range(1, 9)]
    submit(client, runs)
    time.sleep(dice.uniform(0.0, 0.6))
    for pid in victims(agent, worker, what, marker):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    seen = finished_until_lost(client)
    client.close()
    if what in ("worker", "supervisor"):  # the other of the two puts all back, without anybody's contact
        until(lambda: not carrying(marker), "something was left running")
        assert settings() == before
    client = agent.attach()
    if what == "both":
        assert client.welcome["pid"] != worker
        # Only the new agent carries a marker, and not the old one.
        assert not carrying(marker)
    assert settings() == before
    listed = {entry["run"]: entry["status"] for entry in client.list_runs(EXECUTION, soon())["runs"]}
    assert seen <= set(listed)
    assert client.list_runs(EXECUTION, soon())["batch"] is None
    for run, status in listed.items():
        record = split_files(client.fetch(EXECUTION, run, soon()))["record.json"]
        assert (b"died" in record or b"killed" in record or b"told to end" in record) == (status == "failed"), record
    # And it goes on from here: what is missing is measured, what failed is tried again.
    again = [
        run_spec(n, sha256, mode="fifo", duration_ns=1_000_000, attempt=2 if listed.get(run.run) == "failed" else 1)
        for n, run in enumerate(runs, 1)
    ]
    submit(client, again)
    heard = listen(client)
    assert (heard.last["done"], heard.last["failed"]) == (len(runs), 0)
    assert settings() == before


def test_both_dead_leaves_traces_that_restore_removes(agent: Agent, gap: bytes) -> None:
    before = settings()
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker, marker = client.welcome["pid"], agent.marker()
    submit(client, [run_spec(1, sha256, mode="fifo", load=LEAVER, duration_ns=3600 * 10**9)])
    until(lambda: victims(agent, worker, "probe", marker), "the probe did not start")
    for pid in keepers(worker, marker):
        os.kill(pid, signal.SIGSTOP)  # else it would end the load by itself
    for pid in victims(agent, worker, "both", marker):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not agent.daemons(), "they did not die")
    until(lambda: not victims(agent, worker, "probe", marker), "the probe outlived its parent")
    assert moved_irqs()  # else this test tests nothing
    assert Path("/proc/sys/kernel/sched_rt_runtime_us").read_text() == "-1\n"
    assert carrying(marker)
    done = agent.command("restore")
    assert done.returncode == 0, done.stderr
    assert "/proc/sys/kernel/sched_rt_runtime_us: -1 -> 950000: put back" in done.stdout
    assert "processes left over: killed [" in done.stdout
    assert settings() == before
    assert not carrying(marker)
    assert agent.command("restore").stdout == "nothing to put back\n"
    [entry] = agent.attach().list_runs(EXECUTION, soon())["runs"]
    assert entry["status"] == "failed"


def test_the_next_contact_tells_what_was_put_back(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker, marker = client.welcome["pid"], agent.marker()
    submit(client, [run_spec(1, sha256, mode="fifo", duration_ns=3600 * 10**9)])
    until(lambda: victims(agent, worker, "probe", marker), "the probe did not start")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not agent.daemons(), "the supervisor did not end")
    restored = agent.attach().welcome["restored"]
    assert "/proc/sys/kernel/sched_rt_runtime_us" in {entry.get("path") for entry in restored}
    assert all(entry["ok"] for entry in restored)
    assert agent.attach("other").welcome["restored"] == []  # told once


def test_sigterm_ends_it_in_order(agent: Agent, gap: bytes) -> None:
    before = settings()
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker, marker = client.welcome["pid"], agent.marker()
    submit(client, [run_spec(1, sha256, mode="fifo", load=LEAVER, duration_ns=3600 * 10**9)])
    until(lambda: victims(agent, worker, "probe", marker), "the probe did not start")
    for pid in victims(agent, worker, "supervisor", marker):
        os.kill(pid, signal.SIGTERM)
    until(lambda: not carrying(marker), "something was left running")
    assert settings() == before
    [entry] = agent.attach().list_runs(EXECUTION, soon())["runs"]
    assert entry["status"] == "failed"


def test_a_setting_that_cannot_be_put_back_is_kept_and_told(agent: Agent, tmp_path: Path) -> None:
    agent.attach().bye(soon())
    (tmp_path / "knob").mkdir()  # cannot be written, by nobody
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    entry = f'{{"boot_id": "{boot_id}", "kind": "file", "name": "x", "path": "{tmp_path}/knob", "before": "1"}}\n'
    (tmp_path / "runtime/undo.jsonl").write_text(entry)
    for _ in range(2):
        done = agent.command("restore")
        assert done.returncode == 1
        assert "NOT put back" in done.stdout
    (tmp_path / "knob").rmdir()
    (tmp_path / "knob").write_text("0")
    assert agent.command("restore").returncode == 0
    assert (tmp_path / "knob").read_text() == "1"


def test_a_setting_that_cannot_be_put_back_yet_is_tried_until_it_can(agent: Agent, tmp_path: Path) -> None:
    """By the daemon that lives, which nobody has to end or to ask; and then it ends as ever."""
    (tmp_path / "knob").mkdir()  # cannot be written, by nobody
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    entry = f'{{"boot_id": "{boot_id}", "kind": "file", "name": "x", "path": "{tmp_path}/knob", "before": "1"}}\n'
    (tmp_path / "runtime").mkdir(mode=0o700)
    (tmp_path / "runtime/undo.jsonl").write_text(entry)
    for _ in range(2):
        client = agent.attach()
        assert [each["ok"] for each in client.welcome["restored"]] == [False]
        client.bye(soon())
    (tmp_path / "knob").rmdir()
    (tmp_path / "knob").write_text("0")
    until(lambda: (tmp_path / "knob").read_text() == "1", "it was not tried again")
    client = agent.attach()
    assert [each["ok"] for each in client.welcome["restored"]] == [True]
    client.bye(soon())
    until(lambda: not agent.daemons(), "the daemon did not end")
