# SPDX-License-Identifier: Apache-2.0
"""Placement on invented machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TargetUnfit
from harness.plan import place


@dataclass(frozen=True)
class Declared:
    isolated: Any = "auto"
    arch: str | None = None


def machine(
    count: int,
    *,
    smt: int = 1,
    adjacent: bool = False,
    nodes: int = 1,
    isolated: tuple[int, ...] = (),
    nohz_full: tuple[int, ...] = (),
    offline: tuple[int, ...] = (),
    allowed: tuple[int, ...] | None = None,
    capacity: dict[int, int] | None = None,
    max_khz: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Facts of a machine with ``count`` CPUs. Siblings are n, n + cores (as on most x86), or ``adjacent``: n, n + 1."""
    online = [cpu for cpu in range(count) if cpu not in offline]
    cores = max(1, count // smt)
    core = {cpu: cpu // smt if adjacent else cpu % cores for cpu in range(count)}
    topology = {
        str(cpu): {
            "core": core[cpu],
            "package": 0,
            "node": core[cpu] * nodes // cores,
            "siblings": [other for other in online if core[other] == core[cpu]],
            "capacity": None if capacity is None else capacity[cpu],
            "max_khz": None if max_khz is None else max_khz[cpu],
        }
        for cpu in online
    }
    return {
        "arch": "x86_64",
        "cpus": {
            "online": online,
            "isolated": list(isolated),
            "nohz_full": list(nohz_full),
            "allowed": online if allowed is None else list(allowed),
            "topology": topology,
        },
    }


def r(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


BIG_LITTLE = {0: 400, 1: 400, 2: 400, 3: 400, 4: 1024, 5: 1024}
P_FIRST = {0: 1024, 1: 1024, 2: 600, 3: 600}

CASES: list[tuple[str, dict[str, Any], Any, int, tuple[int, ...], str]] = [
    ("one CPU", machine(1), "auto", 0, (), "CPU 0 is the only one: nothing else can keep house"),
    ("two", machine(2), "auto", 1, (0,), ""),
    ("four, isolated by the kernel", machine(4, isolated=(2, 3)), "auto", 3, (0, 1), ""),
    ("four, isolated as declared", machine(4, isolated=(2, 3)), (2, 3), 3, (0, 1), ""),
    ("four, declared otherwise", machine(4, isolated=(2, 3)), (2,), 2, (0, 1, 3), ""),
    ("four, only declared", machine(4), (1,), 1, (0, 2, 3), "declared isolated, but not so by the kernel: CPU 1"),
    ("no tick, but not isolated", machine(4, nohz_full=(1, 2)), "auto", 2, (0, 3),
     "nohz_full, but not isolated: the scheduler may put others on CPU 1-2"),
    ("no tick, and others isolated", machine(4, nohz_full=(1, 2), isolated=(3,)), "auto", 3, (0, 1, 2), ""),
    ("all isolated", machine(3, isolated=(0, 1, 2)), "auto", 2, (0, 1),
     "every other CPU is isolated too: CPU 0-1 does the housekeeping"),
    ("SMT, siblings far", machine(8, smt=2), "auto", 7, (0, 1, 2, 4, 5, 6), ""),
    ("SMT, siblings near", machine(8, smt=2, adjacent=True), "auto", 7, r(0, 5), ""),
    ("SMT, isolated with its sibling", machine(8, smt=2, isolated=(3, 7)), "auto", 7, (0, 1, 2, 4, 5, 6), ""),
    ("SMT, one core", machine(2, smt=2), "auto", 1, (0,),
     "the only other CPU is an SMT sibling of the measured one: CPU 0"),
    ("SMT off by hotplug", machine(4, smt=2, offline=(2, 3)), "auto", 1, (0,), ""),
    ("last one offline", machine(4, offline=(3,)), "auto", 2, (0, 1), ""),
    ("isolated one offline", machine(4, isolated=(2, 3), offline=(3,)), "auto", 2, (0, 1),
     "isolated, but offline or not allowed: CPU 3"),
    ("all isolated ones offline", machine(4, isolated=(3,), offline=(3,)), "auto", 2, (0, 1),
     "isolated, but offline or not allowed: CPU 3"),
    ("a cpuset", machine(8, allowed=(2, 3)), "auto", 3, (2,), ""),
    ("a cpuset of one", machine(8, allowed=(5,)), "auto", 5, (), "CPU 5 is the only one: nothing else can keep house"),
    ("a cpuset without the isolated", machine(4, isolated=(3,), allowed=(0, 1)), "auto", 1, (0,),
     "isolated, but offline or not allowed: CPU 3"),
    ("big.LITTLE", machine(6, capacity=BIG_LITTLE), "auto", 5, r(0, 4),
     "CPUs differ: measured is one of the largest, 4-5"),
    ("large ones first", machine(4, capacity=P_FIRST), "auto", 1, (0, 2, 3),
     "CPUs differ: measured is one of the largest, 0-1"),
    ("hybrid without capacities", machine(4, max_khz={0: 5_300_000, 1: 5_500_000, 2: 3_800_000, 3: 3_800_000}), "auto",
     1, (0, 2, 3), "CPUs differ: measured is one of the largest, 0-1"),
    ("a favoured core is of the same kind", machine(3, max_khz={0: 4_700_000, 1: 5_000_000, 2: 4_700_000}), "auto", 2,
     (0, 1), ""),
    ("isolated are the small ones", machine(4, capacity=P_FIRST, isolated=(2, 3)), "auto", 3, (0, 1), ""),
    ("two nodes", machine(8, nodes=2), "auto", 7, r(0, 6), ""),
    ("256 CPUs, SMT, 4 nodes", machine(256, smt=2, nodes=4, isolated=r(100, 127)), "auto", 127,
     (*r(0, 99), *r(128, 254)), ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "isolated", "measured", "housekeeping", "note"), CASES)
def test_machines(
    name: str, facts: dict[str, Any], isolated: Any, measured: int, housekeeping: tuple[int, ...], note: str
) -> None:
    found = place(facts, Declared(isolated))
    assert found.measured == (measured,)
    assert found.housekeeping == housekeeping
    assert found.notes == ((note,) if note else ())
    if isolated == "auto":
        assert place(facts) == found


def test_what_the_inventory_says_has_to_be_so() -> None:
    with pytest.raises(TargetUnfit, match="the inventory says isolated: 6-7, but this machine can use 0-3"):
        place(machine(4), Declared((6, 7)))
    with pytest.raises(TargetUnfit, match="the inventory says arch: aarch64, but this machine is x86_64"):
        place(machine(4), Declared(arch="aarch64"))
    with pytest.raises(TargetUnfit, match="no CPU to measure on: online 0-3, allowed none"):
        place(machine(4, allowed=()))


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 256))
    some = st.sets(st.integers(0, count - 1), max_size=8).map(tuple)
    offline = tuple(cpu for cpu in draw(some) if cpu != 0)
    capacity = draw(st.none() | st.lists(st.sampled_from([400, 1024]), min_size=count, max_size=count))
    return machine(
        count,
        smt=draw(st.sampled_from([1, 2, 4])) if count % 4 == 0 else 1,
        adjacent=draw(st.booleans()),
        nodes=draw(st.integers(1, 4)),
        isolated=draw(some),
        offline=offline,
        allowed=draw(st.none() | some.map(lambda cpus: (0, *cpus))),
        capacity=None if capacity is None else dict(enumerate(capacity)),
    )


@given(machines())
def test_any_machine(facts: dict[str, Any]) -> None:
    cpus = facts["cpus"]
    usable = set(cpus["online"]) & set(cpus["allowed"])
    found = place(facts)
    [measured] = found.measured
    assert measured in usable
    assert set(found.housekeeping) <= usable - {measured}
    assert list(found.housekeeping) == sorted(found.housekeeping)
    assert bool(found.housekeeping) == (len(usable) > 1)
    if set(cpus["isolated"]) & usable:
        assert measured in cpus["isolated"]
    siblings = set(cpus["topology"][str(measured)]["siblings"])
    assert not (set(found.housekeeping) & siblings) or usable <= siblings
    assert place(facts) == found
