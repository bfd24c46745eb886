# SPDX-License-Identifier: Apache-2.0
"""Rules of validity, broken on this very machine while the agent measures: each is seen, and nothing else is.

What cannot be had here without doing harm (heat, a suspend, a CPU that goes offline, machine checks) is left to the
invented evidence of tests/unit/agent/test_validity.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from harness.agent.processes import read_stat
from harness.agent.spec import LoadSpec
from harness.agent.system import Tree
from harness.target.client import AgentClient

from .agent_kit import (
    HOUSEKEEPING,
    MEASURED,
    Agent,
    agent_in,
    carrying,
    listen,
    run_spec,
    soon,
    submit,
    until,
    without_measured,
)

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change this")
#: What happens on a shared machine while a test runs, and is no fault of the rule under test.
NOISE = {"steal", "logged-in", "meddling-service", "knob-ineffective", "memory-unlocked", "load-short", "dmesg"}
#: Enough of its CPU time, in ticks of 10 ms, to have read back where it is.
ARMED_TICKS = 10


class Bench:
    """An agent with the probe uploaded, that measures once and says which rules were broken."""

    def __init__(self, agent: Agent, client: AgentClient, sha256: str) -> None:
        self.agent = agent
        self.client = client
        self.sha256 = sha256
        self._runs = 0

    def rules(self, act: Callable[[int], None] = lambda _: None, **options: Any) -> set[str]:
        """``act`` is called with the probe's pid in the middle of the measurement, which waits for it."""
        self._runs += 1
        submit(self.client, [run_spec(self._runs, self.sha256, **{"duration_ns": 10**9, **options})])
        pid = until(self._armed, "the probe does not run")
        os.kill(pid, signal.SIGSTOP)
        try:
            act(pid)
        finally:
            os.kill(pid, signal.SIGCONT)
        [files] = listen(self.client).runs.values()
        record = json.loads(files["record.json"])
        assert record["status"] == "ok", record["reason"]
        reasons = record["validity"]["reasons"]
        assert all(reason["text"] and reason["advice"] for reason in reasons)
        return {reason["rule"] for reason in reasons}

    def _armed(self) -> int | None:
        for pid in carrying(self.agent.marker()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                stat = read_stat(Tree(), pid)
                if b"--duration" in words and stat is not None and stat.ticks >= ARMED_TICKS:
                    return pid
        return None


@pytest.fixture(scope="module")
def bench(gap: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with agent_in(tmp_path_factory.mktemp("validity")) as agent:
        client = agent.attach()
        assert client.put("gap", gap, soon()) == hashlib.sha256(gap).hexdigest()
        yield Bench(agent, client, hashlib.sha256(gap).hexdigest())


@contextlib.contextmanager
def written(path: Path, value: str) -> Iterator[Callable[[int], None]]:
    """An act that writes to ``path``; afterwards it has what it had."""
    try:
        before = path.read_text()
    except OSError as error:
        pytest.skip(f"{path}: {error.strerror}")
    try:
        yield lambda _: write(path, value)
    finally:
        write(path, before)


def write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        pytest.skip(f"{path} does not take {value!r} here: {error.strerror}")


def test_a_still_world_breaks_no_rule(bench: Bench) -> None:
    assert bench.rules() <= NOISE


def test_a_task_that_is_moved(bench: Bench) -> None:
    assert bench.rules(lambda pid: os.sched_setaffinity(pid, HOUSEKEEPING)) - NOISE == {"affinity-lost"}


def test_a_task_whose_policy_is_changed(bench: Bench) -> None:
    def act(pid: int) -> None:
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))

    assert bench.rules(act) - NOISE == {"policy-lost"}


def test_a_load_that_goes_to_the_measured_cpu(bench: Bench) -> None:
    if shutil.which("taskset") is None:
        pytest.skip("no taskset (util-linux)")
    stray = LoadSpec("stray", "argv", ["taskset", "-c", str(MEASURED), "sleep", "1000"])
    assert "load-strayed" in bench.rules(load=stray)


def test_a_load_that_ends(bench: Bench) -> None:
    pipe = bench.agent.base / "end-of-load"
    os.mkfifo(pipe)
    # It reads until we write: so it ends in the middle of the measurement.
    load = LoadSpec("short", "argv", ["/bin/sh", "-c", f"read line <{pipe}"])

    def act(_: int) -> None:
        pipe.write_text("over\n")
        until(lambda: not readers(pipe), "the load did not end")

    assert bench.rules(act, load=load) - NOISE == {"load-ended"}


def readers(pipe: Path) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_a_load_that_does_nothing(bench: Bench) -> None:
    assert "load-short" in bench.rules(load=LoadSpec("lazy", "argv", ["/bin/sleep", "1000"]))


def test_a_service_that_meddles(bench: Bench, tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    shutil.copy(sleep, tmp_path / "irqbalance")
    service = subprocess.Popen([tmp_path / "irqbalance", "1000"])
    try:
        assert "meddling-service" in bench.rules()
    finally:
        service.kill()
        service.wait()


@needs_root
@pytest.mark.parametrize(
    ("rule", "path", "value"),
    [
        ("settings-changed", "/proc/sys/vm/stat_interval", "7"),
        ("tracing-changed", "/sys/kernel/tracing/events/oom/mark_victim/enable", "1"),
    ],
)
def test_a_setting_that_others_change(rule: str, path: str, value: str, bench: Bench) -> None:
    with written(Path(path), value) as act:
        assert bench.rules(act, mode="shared") - NOISE == {rule}


@needs_root
def test_an_interrupt_that_others_move(bench: Bench) -> None:
    with movable_interrupt() as act:
        assert bench.rules(act, mode="shared") - NOISE == {"irq-affinity-changed"}


def movable_interrupt() -> AbstractContextManager[Callable[[int], None]]:
    for path in sorted(Path("/proc/irq").glob("*/smp_affinity_list")):
        with contextlib.suppress(OSError):
            before = path.read_text()
            other = f"{HOUSEKEEPING[0]}\n" if before.strip() != str(HOUSEKEEPING[0]) else f"{MEASURED}\n"
            path.write_text(other)
            moved = path.read_text() == other
            path.write_text(before)
            if moved:
                return written(path, other)
    pytest.skip("no interrupt can be moved here")
