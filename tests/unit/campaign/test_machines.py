# SPDX-License-Identifier: Apache-2.0
"""Two names of one machine are found whatever leads to it, and two machines of one disk image are not taken for one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.machines import Machines, OneMachine, cloned, one_machine

PI: dict[str, Any] = {
    "boot_id": "b-1",
    "machine_id": "cloned",
    "serial": "10000000abcdef01",
    "uuid": None,
    "macs": ["dc:a6:32:00:00:01"],
}
OTHER_PI = {**PI, "boot_id": "b-2", "serial": "10000000abcdef02", "macs": ["dc:a6:32:00:00:02"]}


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (PI, PI, "boot id b-1"),
        (PI, OTHER_PI, None),  # cloned cards: one machine-id
        (PI, {**PI, "boot_id": "b-9"}, "serial 10000000abcdef01, dc:a6:32:00:00:01"),  # a reboot lies in between
        (PI, {**PI, "boot_id": "b-9", "macs": ["dc:a6:32:00:00:0f"]}, None),  # firmware that says one serial everywhere
        (PI, {**PI, "boot_id": "b-9", "serial": None}, None),  # not root this time: it cannot be told
        (PI, {**PI, "boot_id": None}, "serial 10000000abcdef01, dc:a6:32:00:00:01"),
        ({**PI, "serial": None}, {**PI, "serial": None, "boot_id": "b-9"}, None),
        ({"boot_id": "b-1"}, {"boot_id": "b-1"}, "boot id b-1"),  # two containers of one host
        ({"boot_id": "b-1", "uuid": "u-1"}, {"boot_id": "b-1", "uuid": "u-2"}, None),  # resumed from one snapshot
        ({"uuid": "u-1", "macs": ["a", "b"]}, {"uuid": "u-1", "macs": ["b", "c"]}, "UUID u-1, b"),
        ({"boot_id": ""}, {"boot_id": ""}, None),
        ({"boot_id": None, "macs": None}, {"boot_id": None}, None),
        ({}, {}, None),
    ],
)
def test_one_machine(one: dict[str, Any], other: dict[str, Any], why: str | None) -> None:
    assert one_machine(one, other) == why
    assert one_machine(other, one) == why


ANYTHING = st.none() | st.text(max_size=3) | st.integers() | st.lists(st.text(max_size=2) | st.integers(), max_size=3)
SAID = st.dictionaries(st.sampled_from(["boot_id", "machine_id", "serial", "uuid", "macs"]), ANYTHING)


@given(SAID, SAID)
def test_whatever_a_target_says_of_itself(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one_machine(one, other) == one_machine(other, one)
    assert cloned(one, other) == cloned(other, one)


def test_clones_are_different_machines_of_one_machine_id() -> None:
    assert cloned(PI, OTHER_PI)
    assert not cloned(PI, PI)
    assert not cloned(PI, {**OTHER_PI, "machine_id": "own"})
    assert not cloned({**PI, "machine_id": "uninitialized"}, {**OTHER_PI, "machine_id": "uninitialized"})
    assert not cloned({}, {})


class Lanes:
    """An execution, as far as it is asked here."""

    def __init__(self, **known: dict[str, Any] | None) -> None:
        self.plan = self
        self.targets = tuple(known)
        self._known = known

    def finished(self, name: str) -> set[str]:
        return {"run"} if self._known[name] else set()

    def lane(self, name: str) -> dict[str, Any]:
        return {"facts": self._known[name]}


def machines(**known: dict[str, Any] | None) -> Machines:
    return Machines(Lanes(**known))  # type: ignore[arg-type]


def test_the_second_name_is_refused_and_both_are_said() -> None:
    met = machines(nuc=None, box=None, pi=None)
    met.claim("nuc", PI)
    met.claim("pi", OTHER_PI)
    with pytest.raises(OneMachine, match=r"^nuc and box are two names of one machine \(boot id b-1\)$") as caught:
        met.claim("box", PI)
    assert caught.value.exit_code == 2
    assert "one of them" in str(caught.value.advice)


def test_a_machine_comes_back_under_its_own_name_after_a_reboot() -> None:
    met = machines(nuc=None, box=None)
    met.claim("nuc", PI)
    met.claim("nuc", {**PI, "boot_id": "b-9"})
    met.claim("box", {**OTHER_PI, "boot_id": "b-1"})


def test_a_lane_with_runs_of_an_earlier_day_counts_until_it_is_met_again() -> None:
    with pytest.raises(OneMachine, match="nuc and box"):
        machines(nuc=PI, box=None).claim("box", {**PI, "boot_id": "b-9"})
    met = machines(nuc=PI, box=None)
    met.claim("nuc", OTHER_PI)  # its address was corrected
    met.claim("box", PI)


def test_of_many_at_once_one_has_it() -> None:
    names = [f"n{number}" for number in range(8)]
    met = machines(**dict.fromkeys(names))
    refused: list[str] = []

    def claim(name: str) -> None:
        try:
            met.claim(name, PI)
        except OneMachine:
            refused.append(name)

    threads = [threading.Thread(target=claim, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(names) - 1
