# SPDX-License-Identifier: Apache-2.0
"""Modes on machines booted with isolcpus: a task that is not pinned never gets to the isolated CPUs."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent import modes


def facts(isolated: list[int], online: list[int]) -> dict[str, Any]:
    return {
        "cpus": {"online": online, "allowed": online, "isolated": isolated},
        "privileges": {"root": True, "sys_nice": True},
    }


@pytest.mark.parametrize(
    ("where", "sched", "isolated", "refused"),
    [
        ("shared", "fifo:1", [1], True),
        ("shared", "fifo:1", [], False),
        ("pinned", "fifo:1", [1], False),
        ("shared", "other", [1], False),
    ],
)
def test_real_time_must_not_take_the_only_cpu_there_is(
    where: str, sched: str, isolated: list[int], *, refused: bool
) -> None:
    reasons = modes.resolve(where, sched).needs(facts(isolated, [0, 1]), [1], [0])
    assert bool(reasons) is refused
    assert all("the only one that is not isolated" in reason for reason in reasons)


def test_two_that_are_left_are_enough() -> None:
    assert modes.resolve("shared", "fifo:1").needs(facts([2, 3], [0, 1, 2, 3]), [3], [0, 1]) == []
