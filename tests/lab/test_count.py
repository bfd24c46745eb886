# SPDX-License-Identifier: Apache-2.0
"""What kernels do to a core that was asked to be left alone, in counts: ticks with and without isolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from harness.deadline import Deadline
from harness.errors import InfrastructureFault
from harness.lab import count
from harness.lab.count import Counted
from harness.lab.images import Image

from .counting import KERNELS, PATIENCE_S, QUIET, SECONDS, TURNS, Counting

TRIES = 2

pytestmark = pytest.mark.usefixtures("one_at_a_time")


def asked(counting: Counting, name: str, flavour: str, append: Sequence[str], attempt: int) -> Counted:
    counted = counting(name, flavour, append, again=attempt > 0)
    assert counted.result is not None
    assert counted.result["effective"]["end"]["affinity"] == "1"
    if append or name not in TURNS:
        assert counted.beside is not None
        assert counted.beside["effective"]["end"]["affinity"] == "0"
    assert ("PREEMPT_RT" in counted.version) == (flavour == "rt")
    assert counted.arch != "x86_64" or counted.clocksource == "tsc"
    return counted


def ticks_held_back(counted: Counted, cpus: Sequence[int], hz: int) -> str:
    """Empty where ``cpus`` ticked as they should: 0.95 of HZ at least, all the time. Else that the host was at fault.

    A host that is busy with other things has the whole machine stand still now and then, and a tick that was not there
    cannot be counted. Fails where they are too few for the time in which the machine was there.
    """
    told = []
    for cpu, result in ((1, counted.result), (0, counted.beside)):
        if result is None or cpu not in cpus:
            continue
        there = 1 - result["scalars"]["stolen_ppm"]["value"] / 1e6
        ticks, enough = counted.ticks(cpu), 0.95 * hz * SECONDS
        if ticks < enough:
            told.append(f"CPU {cpu} had {ticks} ticks, and was there for {there:.1%} of the time")
            assert ticks >= enough * there, told
    return "; ".join(told)


@pytest.mark.parametrize(("name", "flavour"), KERNELS)
def test_a_plain_kernel_ticks(counting: Counting, name: str, flavour: str) -> None:
    for attempt in range(TRIES):
        counted = asked(counting, name, flavour, (), attempt)
        assert (counted.isolated, counted.nohz_full) == ("", "")
        if not (why := ticks_held_back(counted, [0, 1], counting.hz(name, flavour))):
            return
        print(f"tried again: the host is too busy: {why}")
    pytest.skip(f"the host is too busy for 0.95 of all ticks: {why}")


@pytest.mark.parametrize(("name", "flavour"), KERNELS)
def test_an_isolated_core_is_quiet_and_the_control_ticks(counting: Counting, name: str, flavour: str) -> None:
    for attempt in range(TRIES):
        counted = asked(counting, name, flavour, QUIET, attempt)
        assert (counted.isolated, counted.nohz_full) == ("1", "1")
        assert set(QUIET) <= set(counted.cmdline.split())
        assert counted.ticks(1) <= 2 * SECONDS
        why = ticks_held_back(counted, [0], counting.hz(name, flavour))
        if not why or name in TURNS:
            return
        print(f"tried again: the host is too busy: {why}")
    pytest.skip(f"it is quiet, but the host is too busy for 0.95 of the control's ticks: {why}")


def test_a_kernel_without_a_root_panics_and_is_quoted(image: Callable[[str], Image]) -> None:
    found = image("bookworm-x86_64")
    append = ["rdinit=/none", "root=/dev/none"]
    with pytest.raises(InfrastructureFault, match=r"panic: .*Kernel panic - not syncing"):
        count.run("x86_64", found.kernels["stock"], append=append, deadline=Deadline.after(PATIENCE_S))


def test_a_board_that_hangs_is_ended_and_its_last_words_are_quoted(image: Callable[[str], Image]) -> None:
    found = image("bookworm-x86_64")
    with pytest.raises(InfrastructureFault, match="takes longer than it was given; last on its console: "):
        count.run(
            "x86_64", found.kernels["stock"], ["gap", "--cpu", "1", "--duration", "600s"], deadline=Deadline.after(10)
        )
