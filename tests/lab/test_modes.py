# SPDX-License-Identifier: Apache-2.0
"""Modes on real kernels: what was asked for is what the kernel says, and what it took from the machine comes back.

6.1 has no ``cpuset.cpus.isolated``, and forgets every task's affinity when a partition begins or ends; 6.12 keeps
such a list, refuses a partition of CPUs of isolcpus, and has a fair server; here it is a real-time kernel. Each boots
once, and is asked in one batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.agent import modes
from harness.agent.modes import Mode
from harness.agent.spec import ControlSpec, ProbeSpec, RunRecord, RunSpec
from harness.agent.system import parse_cpus
from harness.build import Built, build_probe
from harness.config.targets import Target, Virtual
from harness.deadline import Deadline
from harness.errors import ConnectionLost
from harness.lab import boards
from harness.lab.images import Image
from harness.target.client import AgentClient
from harness.target.session import open_session
from harness.target.transport import Transport, open_transport

from ..loopback.agent_kit import listen, run_spec, soon, submit
from .conftest import PATIENCE_S, Board

#: Of a board with three CPUs the last is isolated by boot parameters, and the one before it is not.
ISOLATED = ["isolcpus=managed_irq,domain,2", "nohz_full=2", "rcu_nocbs=2"]
ON_BOARD = Path(__file__).with_name("on_board.py").read_text()
#: Of a task for each CPU, pinned there by its owner: what a kernel forgets is missed by somebody.
OWNERS = "for cpu in 0 1; do taskset -c $cpu sleep 98765 </dev/null >/dev/null 2>&1 & done"
PINNED_DEADLINE = modes.resolve("pinned", "deadline")

#: The first test of a board has it booted and asked.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def probes() -> dict[str, Built]:
    return {name: build_probe(name, "x86_64") for name in ("gap", "wake")}


@dataclass(frozen=True)
class Asked:
    """What a batch left: a record for each run by a word for it, and how the board looked before, meanwhile and after.

    ``during`` is of a second batch, whose agent was killed over it, and ``recovered`` how the board looked after that.
    """

    hz: int
    preempt: str
    records: Mapping[str, RunRecord]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    during: Mapping[str, Any]
    recovered: Mapping[str, Any]
    refusal: str | None = None

    def ticks(self, name: str, cpu: int) -> int:
        record = self.records[name]
        return int(
            record.facts_after["interrupts"][str(cpu)]["LOC"] - record.facts_before["interrupts"][str(cpu)]["LOC"]
        )

    def enough(self, result: Mapping[str, Any]) -> float:
        """Ticks of a CPU that has them all, but for the time in which the host had the machine stand still."""
        there = 1 - result["scalars"]["stolen_ppm"]["value"] / 1e6
        return float(0.95 * self.hz * there * result["duration_ns"] / 1e9)


class Asking:
    """Batches for one board."""

    def __init__(self, target: Target, probes: Mapping[str, Built], housekeeping: list[int]) -> None:
        self._target = target
        self._probes = probes
        self._housekeeping = housekeeping
        self._runs = 0

    def run(self, bench: str, mode: str | Mode, cpu: int, *, seconds: int = 1) -> RunSpec:
        """A gap that is shorter than any tick's handling is of no interest, and under emulation there are many."""
        self._runs += 1
        probe = ProbeSpec(bench, self._probes[bench].sha256, {"threshold": "1ms"} if bench == "gap" else {})
        plain = run_spec(self._runs, probe.sha256, cpus=[cpu], housekeeping=self._housekeeping)
        return replace(
            plain,
            bench=bench,
            probe=probe,
            mode=(mode if isinstance(mode, Mode) else modes.from_name(mode)).to_spec(),
            duration_ns=seconds * 10**9,
            control=ControlSpec(probe, self._housekeeping[0]) if bench == "gap" else None,
        )

    def ask(
        self,
        hz: int,
        runs: Mapping[str, RunSpec],
        killed: RunSpec,
        *,
        without_debugfs: Mapping[str, RunSpec] | None = None,
        refused: str = "",
    ) -> Asked:
        """``killed`` is a run in a partition; of the CPUs ``refused`` the kernel is asked what it says to one."""
        transport = open_transport(self._target)
        try:
            with open_session(self._target, "me") as session:
                preempt = session.welcome["facts"]["kernel"]["preempt"]
                said(transport, "sh", "-c", OWNERS)
                before = on_board(transport, "look")
                records = self._batch(session.client, runs)
                if without_debugfs:
                    said(transport, "umount", "/sys/kernel/debug")
                    records |= self._batch(session.client, without_debugfs)
                    said(transport, "mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug")
                after = on_board(transport, "look")
                submit(session.client, [killed])
                seen = on_board(transport, "kill", refused)
                with pytest.raises(ConnectionLost):
                    listen(session.client, patience_s=PATIENCE_S)
            said(transport, "pkill", "-x", "-f", "sleep 98765")
        finally:
            transport.close()
        return Asked(hz, preempt, records, before, after, seen["during"], seen["after"], seen["refusal"])

    def _batch(self, client: AgentClient, runs: Mapping[str, RunSpec]) -> dict[str, RunRecord]:
        for name, probe in self._probes.items():
            client.put(name, probe.path.read_bytes(), soon())
        submit(client, list(runs.values()))
        heard = listen(client, patience_s=PATIENCE_S)
        assert heard.last["restored"] == []
        return {
            name: RunRecord.from_json(json.loads(heard.runs[spec.run]["record.json"])) for name, spec in runs.items()
        }


def said(transport: Transport, *argv: str) -> bytes:
    done = transport.run(["sudo", *argv], deadline=Deadline.after(PATIENCE_S))
    assert done.ok, done.last_words()
    return done.stdout


def on_board(transport: Transport, *words: str) -> Any:
    return json.loads(said(transport, "python3", "-I", "-S", "-B", "-c", ON_BOARD, *words))


@pytest.fixture(scope="module")
def trixie(image: Callable[[str], Image], state: Path, one_at_a_time: None) -> Iterator[Future[Target]]:
    """A board of 6.12 with PREEMPT_RT, its last CPU isolated by boot parameters. It comes up while the other one is
    asked."""
    image("trixie-x86_64")
    virtual = Virtual(arch="x86_64", image="trixie", kernel="rt", cpus=3)

    def up() -> Target:
        boards.up("trixie", virtual, print, append=ISOLATED)
        return Target(name="trixie", virtual=virtual)

    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(up)
    boards.down("trixie")


@pytest.fixture(scope="module")
def old(image: Callable[[str], Image], box: Board, trixie: Future[Target], probes: dict[str, Built]) -> Asked:
    """6.1, booted without parameters."""
    asking = Asking(box.target, probes, [0])
    runs = {
        "gap in a partition": asking.run("gap", "partition", 1),
        "wake by deadline": asking.run("wake", "deadline", 1),
        "gap by fifo": asking.run("gap", "fifo", 1),
        "gap without a tick": asking.run("gap", "nohz-full", 1),
        "deadline, pinned": asking.run("wake", PINNED_DEADLINE, 1),
    }
    hz = image("bookworm-x86_64").kernels["stock"].hz
    return asking.ask(hz, runs, asking.run("gap", "partition", 1, seconds=60))


@pytest.fixture(scope="module")
def new(image: Callable[[str], Image], trixie: Future[Target], probes: dict[str, Built]) -> Asked:
    """6.12 with PREEMPT_RT."""
    asking = Asking(trixie.result(), probes, [0])
    runs = {
        "gap in a partition": asking.run("gap", "partition", 1),
        "gap, pinned": asking.run("gap", "pinned", 1, seconds=2),
        "gap without a tick": asking.run("gap", "nohz-full", 2, seconds=2),
        "gap with a tick": asking.run("gap", "nohz-full", 1),
        "a partition of isolcpus": asking.run("gap", "partition", 2),
        "wake by deadline": asking.run("wake", "deadline", 1),
        "deadline, pinned": asking.run("wake", PINNED_DEADLINE, 2),
        "gap by fifo": asking.run("gap", "fifo", 1),
    }
    bare = {"gap by fifo, without debugfs": asking.run("gap", "fifo", 1)}
    killed = asking.run("gap", "partition", 1, seconds=60)
    hz = image("trixie-x86_64").kernels["rt"].hz
    return asking.ask(hz, runs, killed, without_debugfs=bare, refused="2")


@pytest.fixture(params=["old", "new"], ids=["6.1", "6.12"])
def either(request: pytest.FixtureRequest) -> Asked:
    found: Asked = request.getfixturevalue(request.param)
    return found


def task_of(record: RunRecord, cpu: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the task read back of itself, at its start and at its end. The run was measured, and it kept its place."""
    assert record.status == "ok", record.reason
    lost = {"affinity-lost", "affinity-changed", "wrong-cpu", "policy-lost", "partition-lost", "unknown-placement"}
    assert not lost & {reason["rule"] for reason in record.validity["reasons"]}
    task = record.effective["tasks"][str(cpu)]
    return task["start"], task["end"]


def knob(record: RunRecord, name: str) -> dict[str, Any]:
    return next(each for each in record.knobs if each["name"] == name)


def movable(looked: Mapping[str, Any]) -> set[str]:
    """Tasks that may be on more than one CPU."""
    return {name for name, cpus in looked["tasks"].items() if len(cpus) > 1}


def test_a_partition_is_one_by_the_kernels_word_and_the_task_is_in_it(either: Asked) -> None:
    record = either.records["gap in a partition"]
    for when in task_of(record, 1):
        assert (when["affinity"], when["cpu"], when["cgroup"]) == ("1", 1, "/isolbench")
    assert record.effective["provider"] == "cgroup"
    assert knob(record, "partition")["effective"] == "isolated"
    assert (record.facts_before["partition"], record.facts_after["partition"]) == ("isolated", "isolated")
    # The same, seen from outside.
    assert (either.during["partition"], either.during["inside"]) == ("isolated", ["gap"])
    away = {name for name in movable(either.before) if 1 not in either.during["tasks"].get(name, ())}
    assert movable(either.before) <= away
    assert 1 not in parse_cpus(either.during["effective"])


def test_which_of_them_is_a_real_time_kernel(old: Asked, new: Asked) -> None:
    assert (old.preempt, new.preempt) == ("PREEMPT_DYNAMIC", "PREEMPT_RT")


def test_what_6_1_keeps_no_list_of_6_12_lists(old: Asked, new: Asked) -> None:
    assert (old.before["isolated"], old.during["isolated"]) == (None, None)
    assert (new.before["isolated"], new.during["isolated"]) == ("2", "1-2")


@pytest.mark.parametrize("when", ["after", "recovered"], ids=["after a batch", "after SIGKILL of its agent"])
def test_all_is_put_back(either: Asked, when: str) -> None:
    before, now = dict(either.before), dict(getattr(either, when))
    had, have = before.pop("tasks"), now.pop("tasks")
    assert now == before
    both = had.keys() & have.keys()
    assert {name: have[name] for name in both} == {name: had[name] for name in both}
    assert sorted(had[name] for name in both if name.endswith(" sleep")) == [[0], [1]]


def test_interrupts_leave_the_measured_cpu(either: Asked) -> None:
    moved = parse_cpus(knob(either.records["gap in a partition"], "irq-affinity")["detail"]["moved_irqs"])
    assert moved
    for irq in moved:
        path = f"/proc/irq/{irq}/smp_affinity_list"
        assert 1 in parse_cpus(either.before["irqs"][path])
        assert 1 not in parse_cpus(either.during["irqs"][path])
    default = "/proc/irq/default_smp_affinity"
    assert [int(look["irqs"][default], 16) & 2 for look in (either.before, either.during)] == [2, 0]


def test_deadline_has_the_root_domain_of_its_partition(old: Asked) -> None:
    for when in task_of(old.records["wake by deadline"], 1):
        assert (when["policy"], when["runtime_ns"], when["period_ns"]) == ("deadline", 500_000, 1_000_000)
        assert when["cgroup"] == "/isolbench"
    refused = old.records["deadline, pinned"]
    assert (refused.status, refused.fault) == ("failed", "environment")
    assert "CPU 1 is in that of the whole machine" in refused.reason


def test_deadline_has_that_of_isolcpus_where_it_is_one_cpu(new: Asked) -> None:
    for when in task_of(new.records["deadline, pinned"], 2):
        assert (when["policy"], when["runtime_ns"], when["period_ns"]) == ("deadline", 500_000, 1_000_000)
    # A partition beside it would be in the same one.
    assert "CPU 1 shares one with CPU 2" in new.records["wake by deadline"].reason


def test_fifo_is_held_off_by_neither_throttling_nor_fair_server(old: Asked, new: Asked) -> None:
    for asked in (old, new):
        record = asked.records["gap by fifo"]
        for when in task_of(record, 1):
            assert (when["policy"], when["priority"]) == ("fifo", 1)
        assert knob(record, "rt-throttling")["effective"] == "-1"
        assert "fifo-throttled" not in {reason["rule"] for reason in record.validity["reasons"]}
    server = [knob(asked.records["gap by fifo"], "fair-server") for asked in (old, new)]
    assert [each["needed"] for each in server] == [False, True]
    assert server[1]["effective"] == {"1": "0"}


def test_a_fair_server_that_cannot_be_switched_off_is_a_cause_of_its_own(new: Asked) -> None:
    reasons = new.records["gap by fifo, without debugfs"].validity["reasons"]
    [told] = [reason for reason in reasons if reason["rule"] == "fifo-throttled"]
    assert "debugfs is not mounted" in told["text"]


def test_a_cpu_of_nohz_full_has_no_tick_and_others_have_them_all(new: Asked) -> None:
    quiet, plain = new.records["gap without a tick"], new.records["gap, pinned"]
    task_of(quiet, 2)
    task_of(plain, 1)
    assert new.ticks("gap without a tick", 2) <= 2 * quiet.elapsed_ns / 1e9
    assert new.ticks("gap, pinned", 1) >= new.enough(plain.results[0])
    assert quiet.control["status"] == "ok"
    assert new.ticks("gap without a tick", 0) >= new.enough(quiet.control["result"])


def test_nohz_full_is_refused_where_it_was_not_booted_so(old: Asked, new: Asked) -> None:
    for record in (old.records["gap without a tick"], new.records["gap with a tick"]):
        assert (record.status, record.fault) == ("failed", "environment")
        assert "the tick of CPU 1 cannot stop: boot with nohz_full=1 rcu_nocbs=1" in record.reason
        assert "CPU 1 is not in isolcpus" in record.reason


def test_a_partition_of_isolcpus_is_refused_as_6_12_itself_would(new: Asked) -> None:
    record = new.records["a partition of isolcpus"]
    assert (record.status, record.fault) == ("failed", "environment")
    assert "CPU 2 is in isolcpus, and the kernel makes no partition of it" in record.reason
    assert new.refusal == "isolated invalid (partition config conflicts with housekeeping setup)"
