# SPDX-License-Identifier: Apache-2.0
"""On arm64 per-CPU interrupts have numbers, and an affinity of all CPUs: no device's, not movable, and no finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent.knobs.irq_affinity import IrqAffinity, is_per_cpu
from harness.agent.system import Tree
from harness.agent.undo import Undo


def plant(root: Path, irqs: dict[int, tuple[str, str, str]]) -> Tree:
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("boot\n")
    for irq, about in irqs.items():
        (root / f"proc/irq/{irq}").mkdir(parents=True)
        (root / f"proc/irq/{irq}/smp_affinity_list").write_text("0-3\n")
        (root / f"sys/kernel/irq/{irq}").mkdir(parents=True)
        for name, text in zip(("chip_name", "hwirq", "actions"), about, strict=True):
            (root / f"sys/kernel/irq/{irq}" / name).write_text(text + "\n")
    (root / "proc/irq/default_smp_affinity").write_text("f\n")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("chip", "hwirq", "actions", "expected"),
    [
        ("GICv3", "27", "arch_timer", True),
        ("GICv2", "30", "kvm guest vtimer", True),
        ("GIC-0", "23", "", True),
        ("GICv3", "1056", "arm-pmu", True),
        ("bcm2836-timer", "1", "arch_timer", True),
        ("GICv2", "32", "mmc0", False),
        ("GICv3", "1120", "eth0", False),
        ("PCI-MSIX-0000:00:02.0", "1", "virtio1-req.0", False),
        ("IO-APIC", "6", "ACPI:Ged", False),
    ],
)
def test_which_are_per_cpu(tmp_path: Path, chip: str, hwirq: str, actions: str, *, expected: bool) -> None:
    assert is_per_cpu(plant(tmp_path, {11: (chip, hwirq, actions)}), "11") is expected


def test_they_are_neither_moved_nor_missed(tmp_path: Path) -> None:
    tree = plant(tmp_path, {11: ("GICv2", "30", "arch_timer"), 40: ("GICv2", "158", "mmc0")})
    outcome = IrqAffinity(tree).set([3], [0], Undo(str(tmp_path), tree))
    assert outcome.ok
    assert (outcome.before, outcome.detail["per_cpu"]) == (["40"], ["11"])
    assert tree.read("/proc/irq/11/smp_affinity_list") == "0-3"
    assert tree.read("/proc/irq/40/smp_affinity_list") == "0-2"


def test_what_the_machine_does_not_say_is_taken_for_a_device(tmp_path: Path) -> None:
    assert not is_per_cpu(Tree(str(tmp_path)), "5")
