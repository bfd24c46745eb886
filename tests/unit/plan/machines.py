# SPDX-License-Identifier: Apache-2.0
"""Invented machines: their facts, as the agent would tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Declared:
    """What the inventory says of a target."""

    isolated: Any = "auto"
    arch: str | None = None
    smt: str = "idle"


def r(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


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
    capacity: Mapping[int, int] | None = None,
    max_khz: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Facts of a machine with ``count`` CPUs. Siblings are n, n + cores (as on most x86), or ``adjacent``: n, n + 1."""
    cores = max(1, count // smt)
    core = [cpu // smt if adjacent else cpu % cores for cpu in range(count)]
    return facts_of(
        core, [each * nodes // cores for each in core], isolated, nohz_full, offline, allowed, capacity, max_khz
    )


def facts_of(
    core: Sequence[int],
    node: Sequence[int],
    isolated: Sequence[int] = (),
    nohz_full: Sequence[int] = (),
    offline: Sequence[int] = (),
    allowed: Sequence[int] | None = None,
    capacity: Mapping[int, int] | None = None,
    max_khz: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Facts of a machine by the core and the node of each CPU."""
    online = [cpu for cpu in range(len(core)) if cpu not in offline]
    topology = {
        str(cpu): {
            "core": core[cpu],
            "package": 0,
            "node": node[cpu],
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


def hybrid(large: int, small: int, **known: Any) -> dict[str, Any]:
    """Large cores of two threads each, side by side, then small ones of one: as laptops have them."""
    core = [cpu // 2 for cpu in range(2 * large)] + [large + cpu for cpu in range(small)]
    khz = {cpu: 5_000_000 if cpu < 2 * large else 3_800_000 for cpu in range(len(core))}
    return facts_of(core, [0] * len(core), max_khz=khz, **known)


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    """2 to 256 CPUs, SMT or not, nodes, kinds, CPUs isolated, offline and out of the cpuset; and one CPU alone."""
    count = draw(st.sampled_from([1, 2, 2, 3, 4, 6, 8, 16, 64, 256]))
    smt = draw(st.sampled_from([1, 2, 4])) if count % 4 == 0 else draw(st.sampled_from([1, count]))
    cores = count // smt
    core = draw(st.sampled_from([[cpu // smt for cpu in range(count)], [cpu % cores for cpu in range(count)]]))
    nodes = draw(st.integers(1, 4))
    sizes = draw(st.none() | st.lists(st.sampled_from([400, 1000, 1024]), min_size=cores, max_size=cores))
    sized = None if sizes is None else {cpu: sizes[core[cpu]] for cpu in range(count)}
    kind = draw(st.sampled_from(["capacity", "max_khz"]))
    some = st.sets(st.integers(0, count - 1), max_size=12).map(sorted)
    most = some.map(lambda few: [cpu for cpu in range(count) if cpu not in few])
    return facts_of(
        core,
        [each * nodes // cores for each in core],
        isolated=draw(some | most),
        nohz_full=draw(st.just([]) | some),
        offline=[cpu for cpu in draw(some) if cpu != 0],
        allowed=draw(st.none() | some.map(lambda cpus: sorted({0, *cpus}))),
        **{kind: sized},  # type: ignore[arg-type]
    )


def usable(facts: Mapping[str, Any]) -> set[int]:
    return set(facts["cpus"]["online"]) & set(facts["cpus"]["allowed"])


def siblings(facts: Mapping[str, Any], cpus: Sequence[int]) -> set[int]:
    return {other for cpu in cpus for other in facts["cpus"]["topology"][str(cpu)]["siblings"]} - set(cpus)


def node(facts: Mapping[str, Any], cpu: int) -> Any:
    return facts["cpus"]["topology"][str(cpu)]["node"]
