# SPDX-License-Identifier: Apache-2.0
"""Each knob on an invented machine: set, read back, refused, put back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.agent.knobs import KNOBS, all_knobs, show_all
from harness.agent.knobs.cpu_dma_latency import CpuDmaLatency
from harness.agent.knobs.fair_server import FairServer
from harness.agent.knobs.irq_affinity import IrqAffinity
from harness.agent.knobs.rt_throttling import RtThrottling
from harness.agent.system import Tree, errno_name
from harness.agent.undo import Undo

FILES = {
    "proc/sys/kernel/random/boot_id": "boot",
    "proc/sys/kernel/osrelease": "6.12.1-test",
    "proc/sys/kernel/sched_rt_runtime_us": "950000",
    "proc/irq/default_smp_affinity": "f",
    "proc/irq/1/smp_affinity_list": "0-3",
    "proc/irq/7/smp_affinity_list": "3",
    "proc/irq/9/smp_affinity_list": "0-1",
    "sys/kernel/debug/sched/fair_server/cpu3/runtime": "50000000",
    "sys/kernel/debug/sched/fair_server/cpu0/runtime": "50000000",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/cpu_dma_latency").write_bytes((2_000_000_000).to_bytes(4, "little"))
    return tmp_path


class Kernel(Tree):
    """A tree that refuses to write some files, as kernels do."""

    def __init__(self, root: Path, refuse: dict[str, int] | None = None) -> None:
        super().__init__(str(root))
        self.refuse = refuse or {}
        self.undo_entries: Callable[[], list[dict[str, Any]]] = list
        self.written: list[str] = []

    def write(self, path: str, value: str) -> int:
        # Whatever is changed must have been written down before.
        assert path in {entry["path"] for entry in self.undo_entries()}, path
        self.written.append(path)
        return self.refuse.get(path) or super().write(path, value)


def undo_of(tree: Kernel) -> Undo:
    undo = Undo(tree.root, tree)
    tree.undo_entries = undo.entries
    return undo


def read_all(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text().strip() for name in FILES}


@pytest.mark.parametrize("make", [IrqAffinity, RtThrottling, FairServer])
def test_set_verify_restore(root: Path, make: Callable[[Tree], Any]) -> None:
    tree = Kernel(root)
    undo = undo_of(tree)
    knob = make(tree)
    before = read_all(root)
    assert knob.show()["available"]
    outcome = knob.set([3], [0, 1, 2], undo)
    assert outcome.ok
    assert outcome.errno is None
    assert knob.advise(outcome) is None
    assert knob.verify(outcome) is None
    assert read_all(root) != before
    assert all(each["ok"] for each in undo.play())
    assert read_all(root) == before
    assert knob.verify(outcome) is not None  # and it notices that it is no longer so


def test_irqs_leave_the_measured_cpu_and_no_other(root: Path) -> None:
    tree = Kernel(root)
    outcome = IrqAffinity(tree).set([3], [0, 1], undo_of(tree))
    after = read_all(root)
    assert after["proc/irq/1/smp_affinity_list"] == "0-2"  # no more is taken than needs be
    assert after["proc/irq/7/smp_affinity_list"] == "0-1"  # it had no other: housekeeping
    assert after["proc/irq/9/smp_affinity_list"] == "0-1"
    assert after["proc/irq/default_smp_affinity"] == "7"
    assert outcome.detail["moved_irqs"] == "1,7"
    assert "/proc/irq/9/smp_affinity_list" not in tree.written
    assert outcome.before == ["1", "7"]
    assert outcome.detail["moved"] == 2


def test_irqs_leave_the_siblings_of_the_measured_cpu_too(root: Path) -> None:
    siblings = root / "sys/devices/system/cpu/cpu3/topology/thread_siblings_list"
    siblings.parent.mkdir(parents=True)
    siblings.write_text("1,3\n")
    tree = Kernel(root)
    knob = IrqAffinity(tree)
    outcome = knob.set([3], [0, 2], undo_of(tree))
    assert outcome.ok
    assert outcome.before == ["1", "7", "9"]
    assert read_all(root)["proc/irq/9/smp_affinity_list"] == "0"
    assert outcome.detail["cleared"] == [1, 3]
    tree.write("/proc/irq/9/smp_affinity_list", "1")
    assert knob.verify(outcome) == "interrupts came back to CPU 1,3: 9"


def arrive(root: Path, irq: int, cpus: str) -> None:
    path = root / f"proc/irq/{irq}/smp_affinity_list"
    path.parent.mkdir()
    path.write_text(f"{cpus}\n")


@pytest.mark.parametrize("when", ["verify", "restore"])
def test_an_irq_that_came_meanwhile_does_not_keep_our_default(root: Path, when: str) -> None:
    tree = Kernel(root)
    undo = undo_of(tree)
    knob = IrqAffinity(tree)
    outcome = knob.set([3], [0, 1], undo)
    arrive(root, 30, "0-2")  # by the default as we left it
    arrive(root, 31, "1")  # its driver's own wish
    if when == "verify":
        assert knob.verify(outcome) is None
        assert knob.verify(outcome) is None
        assert [entry["path"] for entry in undo.entries()].count("/proc/irq/30/smp_affinity_list") == 1
    knob.restore()
    assert all(each["ok"] for each in undo.play())
    assert tree.read("/proc/irq/30/smp_affinity_list") == "0-3"
    assert tree.read("/proc/irq/31/smp_affinity_list") == "1"


def test_a_sibling_that_keeps_house_takes_them(root: Path) -> None:
    siblings = root / "sys/devices/system/cpu/cpu3/topology/thread_siblings_list"
    siblings.parent.mkdir(parents=True)
    siblings.write_text("1,3\n")
    tree = Kernel(root)
    assert IrqAffinity(tree).set([3], [1], undo_of(tree)).ok
    assert read_all(root)["proc/irq/7/smp_affinity_list"] == "1"
    assert "/proc/irq/9/smp_affinity_list" not in tree.written


def test_an_irq_that_cannot_be_moved_is_listed_with_its_errno(root: Path) -> None:
    tree = Kernel(root, {"/proc/irq/7/smp_affinity_list": 5})
    knob = IrqAffinity(tree)
    outcome = knob.set([3], [0, 1], undo_of(tree))
    assert not outcome.ok
    assert outcome.effective == ["7"]
    assert outcome.errno == "EIO"
    assert outcome.detail["unmovable"] == {"7": "EIO"}
    assert "managed_irq" in str(knob.advise(outcome))
    assert knob.verify(outcome) is None  # the one that stayed is no news


def test_without_privilege_the_advice_is_privilege(root: Path) -> None:
    tree = Kernel(root, {f"/proc/irq/{irq}/smp_affinity_list": 13 for irq in (1, 7)})
    knob = IrqAffinity(tree)
    outcome = knob.set([3], [0, 1], undo_of(tree))
    assert outcome.errno == "EACCES"
    assert "root" in str(knob.advise(outcome))


def test_with_nowhere_to_go_interrupts_stay(root: Path) -> None:
    tree = Kernel(root)
    outcome = IrqAffinity(tree).set([3], [], undo_of(tree))
    assert not outcome.ok
    assert "no other CPU" in str(outcome.reason)
    assert tree.written == []


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (RtThrottling, "/proc/sys/kernel/sched_rt_runtime_us"),
        (FairServer, "/sys/kernel/debug/sched/fair_server/cpu3/runtime"),
    ],
)
def test_a_refusal_is_recorded(root: Path, make: Callable[[Tree], Any], path: str) -> None:
    tree = Kernel(root, {path: 1})
    knob = make(tree)
    outcome = knob.set([3], [0], undo_of(tree))
    assert (outcome.ok, outcome.errno) == (False, "EPERM")
    assert knob.advise(outcome)


@pytest.mark.parametrize("make", [IrqAffinity, RtThrottling, FairServer])
def test_without_a_journal_nothing_is_changed(root: Path, make: Callable[[Tree], Any]) -> None:
    tree = Kernel(root)
    outcome = make(tree).set([3], [0], Undo(str(root / "absent"), tree))
    assert not outcome.ok
    assert outcome.reason == "undo cannot be written"
    assert tree.written == []


@pytest.mark.parametrize(
    ("keep", "release", "reason", "needed"),
    [
        ("sys/kernel/debug/sched", "6.12.0", "no fair server", False),
        ("sys/kernel/debug", "6.12.0", "debugfs is not mounted", True),
        ("sys/kernel/debug", "6.1.0-50-amd64", "before 6.12", False),
        ("sys/kernel/debug", "nonsense", "debugfs is not mounted", True),
    ],
)
def test_fair_server_says_why_it_is_not_available(
    root: Path, keep: str, release: str, reason: str, needed: bool
) -> None:
    shutil.rmtree(root / "sys/kernel/debug")
    (root / keep).mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/osrelease").write_text(release)
    tree = Kernel(root)
    knob = FairServer(tree)
    shown = knob.show()
    assert not shown["available"]
    assert reason in shown["reason"]
    outcome = knob.set([3], [0], undo_of(tree))
    assert outcome.needed is needed
    assert outcome.ok is not needed


@pytest.mark.parametrize(
    ("lockdown", "reason"),
    [
        ("none [integrity] confidentiality", "this kernel is locked down (integrity), debugfs with it"),
        ("[none] integrity confidentiality", "cannot be read: not root, or a kernel that is locked down"),
        (None, "cannot be read: not root, or a kernel that is locked down"),
    ],
)
def test_under_lockdown_the_fair_servers_files_are_there_and_cannot_be_read(
    root: Path, lockdown: str | None, reason: str
) -> None:
    for cpu in (0, 3):
        path = root / f"sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime"
        path.unlink()
        path.mkdir()  # not to be read by anybody
    if lockdown is not None:
        (root / "sys/kernel/security").mkdir()
        (root / "sys/kernel/security/lockdown").write_text(lockdown)
    tree = Kernel(root)
    knob = FairServer(tree)
    shown = knob.show()
    assert (shown["available"], shown["needed"]) == (False, True)
    assert shown["reason"].endswith(reason)
    assert "lockdown=none" in shown["advice"]
    outcome = knob.set([3], [0], undo_of(tree))
    assert (outcome.ok, outcome.reason.endswith(reason)) == (False, True)
    assert tree.written == []


def test_dma_latency_is_held_for_as_long_as_the_process_lives(root: Path) -> None:
    tree = Kernel(root)
    knob = CpuDmaLatency(tree)
    assert knob.show()["value"] == 2_000_000_000
    outcome = knob.set([3], [0], undo_of(tree))
    assert outcome.ok
    assert outcome.before == 2_000_000_000
    held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert str(root / "dev/cpu_dma_latency") in held
    assert knob.verify(outcome) is None
    knob.restore()
    knob.restore()
    held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert str(root / "dev/cpu_dma_latency") not in held


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_dma_latency_where_there_is_none(root: Path) -> None:
    (root / "dev/cpu_dma_latency").unlink()
    tree = Kernel(root)
    outcome = CpuDmaLatency(tree).set([3], [0], undo_of(tree))
    assert outcome.errno == "ENOENT"
    assert outcome.ok  # nothing to hold back on such a machine
    shown = CpuDmaLatency(tree).show()
    assert (shown["available"], shown["needed"]) == (False, False)


def test_an_empty_machine_has_nothing_and_raises_nothing(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    assert not any(each["available"] for each in show_all(tree).values())
    for knob in all_knobs(tree).values():
        outcome = knob.set([1], [0], Undo(str(tmp_path), tree))
        assert outcome.reason
        assert knob.verify(outcome) is None or not outcome.ok
        assert outcome.to_json()["name"] == knob.name


def test_names_are_unique() -> None:
    assert len(all_knobs(Tree("/absent"))) == len(KNOBS)
    assert errno_name(13) == "EACCES"
