# SPDX-License-Identifier: Apache-2.0
"""What interrupted a core, on real kernels of several versions and architectures: each names its events for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.lab import count
from harness.lab.count import Counted
from harness.lab.images import Image

GAP = ["gap", "--cpu", "1", "--duration", "2s", "--threshold", "10us", "--attribution", "perf"]
QUIET = ["isolcpus=managed_irq,domain,1", "nohz_full=1", "rcu_nocbs=1"]
#: The function of the tick's timer: before Linux 6.9, and since.
TICK = {"hrtimer:tick_sched_timer", "hrtimer:tick_nohz_handler"}

KERNELS = [("bookworm-x86_64", "stock"), ("trixie-x86_64", "stock"), ("bookworm-aarch64", "stock")]

pytestmark = pytest.mark.usefixtures("one_at_a_time")


def run(image: Image, flavour: str, append: list[str]) -> tuple[Counted, dict[str, Any]]:
    counted = count.run(image.arch, image.kernels[flavour], GAP, append=append, deadline=Deadline.after(180))
    assert counted.status == 0, counted.stderr
    assert counted.result is not None
    return counted, counted.result["attribution"]


def assert_complete(told: dict[str, Any]) -> None:
    assert (told["level"], told["reason"], told["scope"]) == ("tracepoints", None, "cpu")
    assert (told["ring"]["lost"], told["ring"]["missing"], told["ring"]["unknown"]) == (0, 0, 0)
    assert told["events"]["refused"] == []
    assert told["conservation"]["holds"] is True, told["conservation"]
    assert sum(each["count"] for each in told["classes"].values()) == told["gaps"]
    labels = {each[key] for each in told["causes"] for key in ("entry", "cause")} - {None}
    assert not {label for label in labels if ":0x" in label}  # every function has its name


@pytest.mark.parametrize(("name", "flavour"), KERNELS)
def test_the_tick_is_found_and_named(image: Callable[[str], Image], name: str, flavour: str) -> None:
    counted, told = run(image(name), flavour, [])
    assert_complete(told)
    ticks = [each for each in told["causes"] if each["cause"] in TICK]
    x86 = counted.arch == "x86_64"
    assert {each["entry"] for each in ticks} <= {"vector:local_timer" if x86 else "irq:arch_timer"}
    assert {each["class"] for each in ticks} == {"interrupt"}
    # On an emulated machine several ticks are one gap, and some come to a task that is there in ours' place.
    assert sum(each["count"] for each in ticks) > 100
    rows = told["conservation"]["rows"]
    assert max(row["events"] for row in rows.values()) > 100
    opened = set(told["events"]["open"])
    assert opened >= ({"irq_vectors/local_timer_entry"} if x86 else {"ipi/ipi_entry", "software/page_fault"})


def test_a_quiet_core_has_its_few_interrupts_explained(image: Callable[[str], Image]) -> None:
    counted, told = run(image("bookworm-x86_64"), "stock", QUIET)
    assert (counted.isolated, counted.nohz_full) == ("1", "1")
    assert_complete(told)
    assert sum(each["count"] for each in told["causes"] if each["cause"] in TICK) <= 4
