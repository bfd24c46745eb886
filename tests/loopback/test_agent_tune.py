# SPDX-License-Identifier: Apache-2.0
"""The knobs of this machine itself: set by real batches, and killed and restored in random sequences."""

from __future__ import annotations

import os
import platform
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.knobs import NAMES, all_knobs, show_all
from harness.agent.system import Tree
from harness.agent.undo import Undo
from harness.build import build_probe
from harness.errors import BuildError

from ..unit.agent.mortal import Killed, Life, MortalUndo
from .agent_kit import (
    HOUSEKEEPING,
    MEASURED,
    Agent,
    agent_in,
    listen,
    run_spec,
    settings,
    soon,
    submit,
    without_measured,
)
from .test_agent_batch import record_of

pytestmark = [
    pytest.mark.skipif(without_measured() is not None, reason=str(without_measured())),
    pytest.mark.skipif(os.geteuid() != 0, reason="knobs are root's: there would be nothing to put back"),
]
#: Those that are values in files of the kernel, or may be.
FILES = [name for name in NAMES if name != "services"]


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


def test_what_is_asked_for_is_set_for_its_runs_and_put_back(agent: Agent, gap: bytes) -> None:
    before = settings()
    here = {name for name, shown in show_all(Tree()).items() if shown["available"]}
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    runs = [
        run_spec(1, sha256, mode="shared"),
        run_spec(2, sha256, mode="shared", tune=NAMES),
        run_spec(3, sha256, mode="pinned", tune=["stat-interval"]),
    ]
    submit(client, runs)
    heard = listen(client)
    plain, all_of_them, one = (record_of(heard.runs[run.run]) for run in runs)
    assert plain.knobs == []
    assert [knob["name"] for knob in all_of_them.knobs] == list(NAMES)
    assert [knob["name"] for knob in one.knobs] == ["stat-interval", "irq-affinity", "cpu-dma-latency"]
    assert one.knobs[0]["effective"] == "120"
    for knob in all_of_them.knobs:
        if knob["name"] in here - {"irq-affinity"}:
            assert knob["ok"], knob
    said = {reason["text"].split()[0]: reason for reason in all_of_them.validity["reasons"]}
    for knob in all_of_them.knobs:
        if knob["ok"] or knob["name"] == "irq-affinity":
            assert knob["name"] not in said
        else:  # asked for, and not to be had here: the run says so, and what would help
            assert said[knob["name"]]["rule"] == "knob-ineffective"
            assert said[knob["name"]]["advice"] == knob["advice"]
    assert all_of_them.spec["tune"] == list(NAMES)
    assert settings() == before
    assert heard.last["restored"] == []


def test_a_knob_that_this_agent_does_not_know(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    run = run_spec(1, sha256, mode="shared", tune=["magic"])
    submit(client, [run])
    record = record_of(listen(client).runs[run.run])
    assert (record.status, record.fault) == ("failed", "user")
    assert "no knob magic" in str(record.reason)


class MortalTree(Tree):
    """This machine, as seen by a process that may be killed before and after each change."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life

    def write(self, path: str, value: str) -> int:
        self._life.step()
        number = super().write(path, value)
        self._life.step()
        return number


def carry_out(folder: str, names: list[str], life: Life) -> None:
    """In a process of its own: set knobs, or put them back where none is named, until it is killed or done."""
    pid = os.fork()
    if pid == 0:
        try:
            tree = MortalTree(life)
            undo = MortalUndo(folder, tree, life)
            for name, knob in all_knobs(tree).items():
                if name in names:
                    knob.set([MEASURED], HOUSEKEEPING, undo)
            if not names:
                undo.play()
            os._exit(0)
        except Killed:
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL)


def meddle(folder: str, rng: random.Random) -> None:
    """Somebody else changes what we have set."""
    foreign = {
        "/proc/sys/vm/stat_interval": "7",
        "/sys/kernel/mm/transparent_hugepage/enabled": "always",
        "/proc/sys/kernel/timer_migration": "1",
        "/proc/sys/kernel/watchdog_cpumask": str(MEASURED),
        "/proc/irq/default_smp_affinity": f"{1 << MEASURED:x}",
    }
    ours = sorted(foreign.keys() & {entry.get("path") for entry in Undo(folder).entries()})
    if ours:
        path = rng.choice(ours)
        Tree().write(path, foreign[path])


def test_random_sequences_leave_this_machine_as_it_was_found(tmp_path: Path) -> None:
    before = settings()
    rng = random.Random(20261120)
    changed: set[str] = set()
    try:
        for _ in range(25):
            for _ in range(rng.randint(1, 4)):
                names = rng.sample(FILES, rng.randint(0, len(FILES)))
                carry_out(str(tmp_path), names, Life(rng.randint(0, 40), rng.randrange(1 << 16)))
                changed |= {path for path, text in settings().items() if before.get(path) != text}
                if rng.random() < 0.3:
                    meddle(str(tmp_path), rng)
            undo = Undo(str(tmp_path))
            assert [each for each in undo.play() if not each["ok"]] == []
            assert undo.play() == []
            assert settings() == before
    finally:
        Undo(str(tmp_path)).play()
    assert len(changed) >= 5, f"only {sorted(changed)} was ever changed: is this a container?"


def test_the_command_puts_back_what_a_killed_process_left(agent: Agent) -> None:
    agent.attach()
    agent.end()
    before = settings()
    folder = agent.base / "runtime"
    carry_out(str(folder), FILES, Life(1000, 0))
    left = settings()
    assert left != before
    done = agent.command("restore")
    assert done.returncode == 0
    assert settings() == before
    assert "/proc/sys/vm/stat_interval: 120 -> 1: put back" in done.stdout or before == left
