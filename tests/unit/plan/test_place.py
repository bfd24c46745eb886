# SPDX-License-Identifier: Apache-2.0
"""Placement on invented machines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TargetUnfit
from harness.plan import place

from .machines import Declared, hybrid, machine, machines, r, siblings, usable

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
    ("hybrid, the large ones with siblings", hybrid(2, 4), "auto", 3, (0, 1, 4, 5, 6, 7),
     "CPUs differ: measured is one of the largest, 0-3"),
    ("no tick on one that is offline", machine(4, nohz_full=(1, 3), offline=(3,)), "auto", 1, (0, 2),
     "nohz_full, but not isolated: the scheduler may put others on CPU 1"),
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


ALL: list[tuple[str, dict[str, Any], Any, tuple[int, ...], tuple[int, ...], str]] = [
    ("two of four", machine(4, isolated=(2, 3)), "auto", (2, 3), (0, 1), ""),
    ("one of two", machine(2, isolated=(1,)), "auto", (1,), (0,), ""),
    ("declared", machine(4), (1, 3), (1, 3), (0, 2), "declared isolated, but not so by the kernel: CPU 1,3"),
    ("declared fewer than the kernel's", machine(8, isolated=r(2, 7)), (6, 7), (6, 7), r(0, 5), ""),
    ("one of them offline", machine(8, isolated=r(4, 7), offline=(5,)), "auto", (4, 6, 7), r(0, 3),
     "isolated, but offline or not allowed: CPU 5"),
    ("a cpuset", machine(8, isolated=r(4, 7), allowed=(2, 3, 4, 5)), "auto", (4, 5), (2, 3),
     "isolated, but offline or not allowed: CPU 6-7"),
    ("whole cores, siblings far", machine(8, smt=2, isolated=(2, 3, 6, 7)), "auto", (6, 7), (0, 1, 4, 5),
     "isolated, but left idle, as a sibling of theirs is measured: CPU 2-3"),
    ("whole cores, siblings near", machine(8, smt=2, adjacent=True, isolated=r(4, 7)), "auto", (5, 7), r(0, 3),
     "isolated, but left idle, as a sibling of theirs is measured: CPU 4,6"),
    ("half cores", machine(8, smt=2, isolated=(6, 7)), "auto", (6, 7), (0, 1, 4, 5), ""),
    ("half cores, and nothing else", machine(4, smt=2, isolated=(2, 3)), "auto", (2, 3), (0, 1),
     "the only other CPUs are SMT siblings of measured ones: CPU 0-1"),
    ("of different size", machine(4, capacity={0: 400, 1: 400, 2: 400, 3: 1024}, isolated=(1, 2, 3)), "auto",
     (1, 2, 3), (0,), "the measured CPUs differ in size: compare each with itself alone"),
    ("256 CPUs, SMT, 4 nodes", machine(256, smt=2, nodes=4, isolated=(*r(100, 127), *r(228, 255))), "auto",
     r(228, 255), (*r(0, 99), *r(128, 227)),
     "isolated, but left idle, as a sibling of theirs is measured: CPU 100-127"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "isolated", "measured", "housekeeping", "note"), ALL)
def test_all(
    name: str, facts: dict[str, Any], isolated: Any, measured: tuple[int, ...], housekeeping: tuple[int, ...], note: str
) -> None:
    found = place(facts, Declared(isolated), "all")
    assert (found.measured, found.housekeeping, found.lacks) == (measured, housekeeping, None)
    assert found.notes == ((note,) if note else ())


def test_all_threads_of_a_core_where_that_is_declared() -> None:
    cores = machine(8, smt=2, isolated=(2, 3, 6, 7))
    found = place(cores, Declared(smt="shared"), "all")
    assert (found.measured, found.housekeeping) == ((2, 3, 6, 7), (0, 1, 4, 5))
    assert found.notes == ("siblings are measured at once, as declared by smt: shared: each has what the other leaves",)
    assert place(machine(4, isolated=(2, 3)), Declared(smt="shared"), "all").notes == ()
    assert place(cores, Declared(smt="shared")) == place(cores)


@pytest.mark.parametrize(
    ("facts", "isolated", "says"),
    [
        (machine(4), "auto", "none is isolated here: boot with isolcpus="),
        (machine(4, nohz_full=(2, 3)), "auto", "none is isolated here"),
        (machine(4, isolated=(3,), offline=(3,)), "auto", "none is isolated here"),
        (machine(2, isolated=(0, 1)), "auto", "(0-1), and leave none for housekeeping: isolate fewer"),
        (machine(4), (0, 1, 2, 3), "(0-3), and leave none for housekeeping"),
        (machine(1), (0,), "leave none for housekeeping"),
    ],
)
def test_nothing_stands_in_for_all(facts: dict[str, Any], isolated: Any, says: str) -> None:
    """One CPU can be had on each of these machines."""
    assert place(facts, Declared(isolated)).lacks is None
    found = place(facts, Declared(isolated), "all")
    assert found.measured == ()
    assert found.lacks is not None
    assert says in found.lacks
    assert "(cpus: one)" in found.lacks


def test_what_the_inventory_says_has_to_be_so() -> None:
    for cpus in ("one", "all"):
        with pytest.raises(TargetUnfit, match="the inventory says isolated: 6-7, but this machine can use 0-3"):
            place(machine(4), Declared((6, 7)), cpus)
        with pytest.raises(TargetUnfit, match="the inventory says arch: aarch64, but this machine is x86_64"):
            place(machine(4), Declared(arch="aarch64"), cpus)
        with pytest.raises(TargetUnfit, match="no CPU to measure on: online 0-3, allowed none"):
            place(machine(4, allowed=()), cpus=cpus)


@given(machines(), st.sampled_from(["one", "all"]))
def test_any_machine(facts: dict[str, Any], cpus: str) -> None:
    known, can_use = facts["cpus"], usable(facts)
    isolated = set(known["isolated"]) & can_use
    found = place(facts, cpus=cpus)
    measured, housekeeping = set(found.measured), set(found.housekeeping)
    assert place(facts, cpus=cpus) == found
    assert list(found.measured) == sorted(measured)
    assert list(found.housekeeping) == sorted(housekeeping)
    assert measured | housekeeping <= can_use
    assert not measured & housekeeping
    beside = siblings(facts, found.measured)
    if cpus == "one":
        assert found.lacks is None
        assert len(measured) == 1
        assert bool(housekeeping) == (len(can_use) > 1)
        assert not isolated or measured <= isolated
        # A sibling keeps house only where nobody else can, an isolated CPU only where else a sibling would have to.
        assert not housekeeping & beside or can_use <= measured | beside
        assert not housekeeping & isolated or can_use - isolated <= beside
    elif found.lacks is None:
        assert measured <= isolated
        assert isolated <= measured | beside  # each isolated core
        assert not measured & beside  # and none twice
        assert housekeeping
        assert not housekeeping & isolated
        assert not housekeeping & beside or can_use - isolated <= beside
    else:
        assert not isolated or isolated == can_use


@given(machines())
def test_the_last_of_the_largest(facts: dict[str, Any]) -> None:
    known = facts["cpus"]
    [measured] = place(facts).measured
    for pool in (known["isolated"], known["nohz_full"], known["online"]):
        candidates = set(pool) & usable(facts)
        if candidates:
            break
    sizes = {
        cpu: known["topology"][str(cpu)]["capacity"] or known["topology"][str(cpu)]["max_khz"] for cpu in candidates
    }
    if None in sizes.values():
        assert measured == max(candidates)
    else:
        assert measured == max(cpu for cpu, size in sizes.items() if size >= 0.9 * max(sizes.values()))
