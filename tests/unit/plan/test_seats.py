# SPDX-License-Identifier: Apache-2.0
"""Who sits where on the housekeeping CPUs of invented machines: control, helpers, load."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.plan import place, placement_json
from harness.plan.seats import Seats, seat

from .machines import hybrid, machine, machines, node, r, siblings

FOUR = machine(4, isolated=(3,))
EIGHT = machine(8, isolated=(6, 7))
#: Two nodes of eight CPUs, the last two of the second isolated.
NODES = machine(16, nodes=2, isolated=(14, 15))


def seats(facts: dict[str, Any], what: str, cpus: str = "one") -> Seats:
    """``what``: the first letters of control, helper, load."""
    return seat(place(facts, cpus=cpus), facts, control="c" in what, helper="h" in what, load="l" in what)


CASES: list[tuple[str, dict[str, Any], str, str, int | None, tuple[int, ...], tuple[int, ...], str]] = [
    ("nothing is asked for", FOUR, "one", "", None, (), (0, 1, 2), ""),
    ("a load has all", FOUR, "one", "l", None, (), (0, 1, 2), ""),
    ("no load, no CPU", machine(1), "one", "", None, (), (), ""),
    ("control", FOUR, "one", "c", 2, (), (0, 1), ""),
    ("control and load", FOUR, "one", "cl", 2, (), (0, 1), ""),
    ("control and load, two CPUs", machine(3), "one", "cl", 1, (), (0,), ""),
    ("control alone: the agent beside it", machine(2), "one", "c", 0, (), (0,), ""),
    ("helper", FOUR, "one", "h", None, (2,), (0, 1), ""),
    ("helper and load, two CPUs", machine(3), "one", "hl", None, (1,), (0,), ""),
    ("helper and load on one", machine(2), "one", "hl", None, (0,), (0,),
     "the probe's helper shares CPU 0 with the load: it may be late itself"),
    ("helper alone", machine(2), "one", "h", None, (0,), (0,), ""),
    ("all three", FOUR, "one", "chl", 2, (1,), (0,), ""),
    ("all three, two CPUs", machine(3), "one", "chl", 1, (0,), (0,),
     "the probe's helper shares CPU 0 with the load: it may be late itself"),
    ("a helper for each", EIGHT, "all", "hl", None, (5, 4), r(0, 3), ""),
    ("too few for each", machine(8, isolated=r(2, 7)), "all", "hl", None, (1, 1, 1, 1, 1, 1), (0,),
     "the helpers of 6 measured CPUs share CPU 1"),
    ("shared evenly", machine(9, isolated=r(4, 8)), "all", "hl", None, (3, 2, 3, 2, 3), (0, 1),
     "the helpers of 5 measured CPUs share CPU 2-3"),
    ("on the node of the measured", machine(16, nodes=2, isolated=(6, 7)), "one", "ch", 5, (4,),
     (0, 1, 2, 3, *r(8, 15)), ""),
    ("each on its own node", machine(16, nodes=2, isolated=(7, 15)), "all", "h", None, (6, 14),
     (*r(0, 5), *r(8, 13)), ""),
    ("the node is all isolated", machine(8, nodes=2, isolated=r(4, 7)), "one", "h", None, (3,), (0, 1, 2),
     "no free CPU on the node of CPU 7: its helper is on another node"),
    ("of the same kind", hybrid(2, 4), "one", "c", 1, (), (0, 4, 5, 6, 7), ""),
    ("not two threads of a core", machine(16, smt=2, adjacent=True, isolated=(14, 15)), "one", "ch", 13, (11,),
     (*r(0, 10), 12), ""),
    ("every other CPU is isolated", machine(4, isolated=r(0, 3)), "one", "c", 2, (), (0, 1),
     "the control's CPU 2 is isolated itself, as every other one is"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "cpus", "what", "control", "helpers", "load", "note"), CASES)
def test_seats(
    name: str,
    facts: dict[str, Any],
    cpus: str,
    what: str,
    control: int | None,
    helpers: tuple[int, ...],
    load: tuple[int, ...],
    note: str,
) -> None:
    found = seats(facts, what, cpus)
    assert found.lacks is None
    assert (found.control, found.helpers, found.load) == (control, helpers, load)
    assert found.notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("facts", "what", "says"),
    [
        (machine(1), "c", "the measured CPU is the only one: add a CPU, or leave the control out"),
        (machine(2), "cl", "CPU 0 is the only one and the load's: use a machine with another CPU, or load idle"),
        (machine(2), "ch", "CPU 0 is the only one and the probe's helper's"),
        (machine(2), "chl", "CPU 0 is the only one and the load's"),
        (machine(2, smt=2), "c", "CPU 0 shares its core with the measured one: isolate fewer CPUs, switch SMT off"),
        (machine(1), "h", "the probe's helper needs a second CPU"),
    ],
)
def test_who_cannot_be_seated(facts: dict[str, Any], what: str, says: str) -> None:
    lacks = seats(facts, what).lacks
    assert lacks is not None
    assert says in lacks


@given(machines(), st.sampled_from(["one", "all"]), st.booleans(), st.booleans(), st.booleans())
def test_any_machine(facts: dict[str, Any], cpus: str, control: bool, helper: bool, load: bool) -> None:
    placement = place(facts, cpus=cpus)
    found = seat(placement, facts, control=control, helper=helper, load=load)
    assert seat(placement, facts, control=control, helper=helper, load=load) == found
    house = set(placement.housekeeping)
    if found.lacks is not None or placement.lacks is not None:
        return
    assert (found.control is not None) == control
    assert len(found.helpers) == (len(placement.measured) if helper else 0)
    seated = {*found.helpers} | ({found.control} if control else set())
    assert seated <= house
    assert set(found.load) <= house
    if house:
        assert found.load  # the agent is always somewhere
    if control:
        assert found.control not in siblings(facts, placement.measured)
        assert found.control not in found.helpers
        if load or len(house) > 1 + bool(helper):
            assert found.control not in found.load  # nor is there anything else beside it
    if helper and not (set(found.helpers) & set(found.load)):
        assert len(set(found.helpers)) <= len(found.load)  # the load keeps half
    if helper and len(house) > 1 + bool(control):
        assert not set(found.helpers) & set(found.load)
    # Whoever sits on another node found none free on its own.
    for cpu, other in zip(placement.measured, found.helpers, strict=bool(found.helpers)):
        if node(facts, cpu) != node(facts, other) and len(placement.measured) == 1:
            assert not any(node(facts, each) == node(facts, cpu) for each in house - {found.control})


def test_what_a_lane_keeps_of_it() -> None:
    placement = place(NODES, cpus="all")
    every = [seats(NODES, what, "all") for what in ("c", "cl", "chl", "chl")]
    assert placement_json(placement, every) == {
        "measured": [14, 15],
        "housekeeping": list(r(0, 13)),
        "helpers": [12, 11],
        "control": 13,
        "notes": [],
    }
    assert placement_json(place(FOUR), [])["control"] is None
