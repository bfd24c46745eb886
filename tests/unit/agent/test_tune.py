# SPDX-License-Identifier: Apache-2.0
"""A batch sets what modes need and campaigns ask for: once for runs that have it in common, as a stack."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.agent import modes
from harness.agent.batch import Runner
from harness.agent.knobs import NAMES
from harness.agent.paths import Paths
from harness.agent.spec import Batch, ProbeSpec, RunSpec
from harness.agent.spool import Spool
from harness.agent.system import AgentError
from harness.agent.undo import Undo
from harness.agent.validity import judge

from .invented import CPU, FAIR, RESUME, Invented
from .partitions import FIRST, LAST, OURS, Kernel, Whole
from .specs import spec_of
from .test_validity import evidence

OWN = ("irq-affinity", "cpu-dma-latency")


def spec_with(mode: str, *tune: str, cpu: int = 3) -> RunSpec:
    others = [each for each in range(4) if each != cpu]
    return spec_of(mode, tune=list(tune), cpus=[cpu], housekeeping=others)


class Machine:
    """A runner without a batch on an invented machine; ``changed`` is what the last step wrote or commanded."""

    def __init__(self, folder: Path, kernel: Kernel | None = None) -> None:
        (folder / "dev").mkdir()
        (folder / "dev/cpu_dma_latency").write_bytes(bytes(4))
        self.tree = Invented(str(folder)) if kernel is None else Whole(str(folder), kernel)
        self.found = self.tree.everything()
        self.changed: list[str] = []
        self.tree.before_change = self.changed.append
        self.undo = Undo(str(folder), self.tree)
        self.undo.record([{"kind": "processes", "marker": "of the batch"}])
        self.runner = Runner(
            Batch("x", "x", 1, 1, []),
            Paths(str(folder), str(folder), str(folder)),
            self.tree,
            Spool(str(folder)),
            self.undo,
            facts={},
            marker="of the batch",
            spare=frozenset({os.getpid()}),
            wait=lambda until_s, fds: set(),
            publisher=None,  # type: ignore[arg-type]
        )

    def step(self, spec: RunSpec) -> list[str]:
        """The names of what is set for this run then."""
        self.changed.clear()
        self.runner._set_knobs(spec, modes.from_spec(spec.mode))
        return [outcome.name for _, outcome in self.runner._knobs]

    def leave(self) -> None:
        self.runner._restore_knobs()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_by_default_a_mode_sets_its_own_few(machine: Machine) -> None:
    assert machine.step(spec_with("shared")) == []
    assert machine.changed == []
    assert machine.step(spec_with("pinned")) == list(OWN)
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_what_is_asked_for_is_set_beside_them_services_first(machine: Machine) -> None:
    assert machine.step(spec_with("pinned", "thp", "services")) == ["services", "thp", *OWN]
    assert machine.changed[0].endswith(".timer")
    assert machine.step(spec_with("pinned", "irq-affinity")) == list(OWN)  # asked for twice is set once
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_what_runs_have_in_common_stays_while_the_mode_changes(machine: Machine) -> None:
    """Services are not started and stopped again between runs; what a mode adds lies on top, and goes first."""
    tune = ("services", "thp")
    machine.step(spec_with("shared", *tune))
    assert len(machine.tree.commands) == 1
    assert machine.step(spec_with("pinned", *tune)) == [*tune, *OWN]
    own = {path for path in machine.changed if "/irq/" not in path}
    assert own == {f"{CPU}/cpu3/{RESUME}"}
    assert machine.step(spec_with("pinned", *tune)) == [*tune, *OWN]
    assert machine.changed == []
    assert machine.step(spec_with("shared", *tune)) == list(tune)
    assert {path for path in machine.changed if "/irq/" not in path} == own
    assert len(machine.tree.commands) == 1
    assert machine.undo.entries()[0]["kind"] == "processes"  # not ours to play
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_another_cpu_is_another_setting(machine: Machine) -> None:
    machine.step(spec_with("pinned", "watchdog"))
    machine.step(spec_with("pinned", "watchdog", cpu=2))
    assert machine.tree.read("/proc/sys/kernel/watchdog_cpumask") == "0-1,3"
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_a_task_that_is_not_pinned_has_its_speed_fixed_wherever_it_may_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.runner._affinity = [0, 1, 3]
    machine.step(spec_with("pinned", "governor", cpu=3))
    governors = [machine.tree.read(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor") for cpu in range(4)]
    assert governors == ["schedutil", "schedutil", "schedutil", "performance"]
    machine.step(spec_with("shared", "governor", cpu=3))
    governors = [machine.tree.read(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor") for cpu in range(4)]
    assert governors == ["performance", "performance", "schedutil", "performance"]


def test_a_fifo_task_that_is_not_pinned_has_no_fair_server_wherever_it_may_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.runner._affinity = [0, 1, 3]
    free = modes.resolve("shared", "fifo:50")
    machine.runner._set_knobs(replace(spec_with("shared"), mode=free.to_spec()), free)
    assert [machine.tree.read(f"{FAIR}/cpu{cpu}/runtime") for cpu in range(4)] == ["0", "0", "50000000", "0"]


def test_the_cpu_of_a_helper_stays_awake_as_well_and_no_other(machine: Machine) -> None:
    spec = replace(spec_with("pinned"), probe=ProbeSpec("xwake", "a" * 64, {}, "waker-cpu"), helpers=[1])
    machine.step(spec)
    assert [machine.tree.read(f"{CPU}/cpu{cpu}/{RESUME}") for cpu in range(4)] == ["0", "n/a", "0", "n/a"]
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_a_name_that_this_agent_does_not_know_is_the_askers_fault(machine: Machine) -> None:
    with pytest.raises(AgentError, match="no knob magic") as raised:
        machine.step(spec_with("shared", "magic"))
    assert raised.value.fault == "user"


@pytest.mark.parametrize("old", [True, False], ids=["6.1", "6.12"])
def test_a_partition_is_made_last_stays_for_runs_that_ask_for_it_and_goes_first(tmp_path: Path, *, old: bool) -> None:
    kernel = Kernel(str(tmp_path), old=old)
    machine = Machine(tmp_path, kernel)
    assert machine.step(spec_with("partition", "thp")) == ["thp", *OWN, "partition"]
    assert kernel.groups[OURS].state == "isolated"
    assert machine.step(spec_with("partition", "thp")) == ["thp", *OWN, "partition"]
    assert machine.changed == []
    assert machine.step(spec_with("pinned", "thp")) == ["thp", *OWN]
    assert OURS not in kernel.groups
    assert not [path for path in machine.changed if "/irq/" in path]
    assert (kernel.tasks[FIRST].now, kernel.tasks[LAST].now) == ({0}, {3})
    machine.step(spec_with("deadline"))
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_a_run_whose_partition_the_kernel_rejects_is_not_measured_and_nor_is_the_next(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False, isolcpus={3})
    machine = Machine(tmp_path, kernel)
    for _ in range(2):  # what was rejected is not taken for set
        with pytest.raises(
            AgentError, match=r"no partition: the kernel says 'isolated invalid \(.*housekeeping"
        ) as raised:
            machine.step(spec_with("partition"))
        assert (raised.value.fault, raised.value.kind) == ("environment", "partition")
        assert "without isolcpus" in str(raised.value.advice)
        assert OURS not in kernel.groups
    assert machine.step(spec_with("pinned")) == list(OWN)
    machine.leave()
    assert machine.tree.everything() == machine.found


def test_a_partition_is_nothing_to_ask_for_by_tune(machine: Machine) -> None:
    with pytest.raises(AgentError, match="no knob partition"):
        machine.step(spec_with("pinned", "partition"))


def reasons(*tune: str, **outcome: Any) -> list[dict[str, str]]:
    seen = evidence()
    knob = {"name": "irq-affinity", "meanwhile": None, **outcome}
    return judge(replace(seen, knobs=[knob], spec=replace(seen.spec, tune=list(tune)))).reasons


@pytest.mark.parametrize("name", [name for name in NAMES if name != "irq-affinity"])
def test_what_was_asked_for_and_is_not_in_effect_makes_a_run_suspect(name: str) -> None:
    bad = {"name": name, "ok": False, "reason": "no cpufreq here", "advice": "set it on the host"}
    [found] = reasons(name, **bad)
    assert (found["rule"], found["state"], found["advice"]) == ("knob-ineffective", "suspect", "set it on the host")
    assert found["text"] == f"{name} was asked for (tune) and is not in effect: no cpufreq here"
    if name not in ("rt-throttling", "fair-server"):
        assert reasons(**bad) == []  # of itself a mode sets nothing that could matter here
    assert reasons(name, name=name, ok=True) == []


def test_an_interrupt_that_stayed_and_never_came_is_no_harm_even_if_asked_for() -> None:
    assert reasons("irq-affinity", ok=False, reason="not movable: 7 (EIO)") == []
