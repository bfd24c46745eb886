# SPDX-License-Identifier: Apache-2.0
"""docs/modes.md and the code hold each other: every mode, every part and every reason is there, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import modes
from harness.agent.modes.base import HOLDS, SCHEDS, WHERES
from harness.agent.modes.sched import FORMS
from harness.agent.spec import LoadSpec
from harness.config.campaign import load_campaign
from harness.plan import UNKNOWN, Cell, admit, place

from .machines import hybrid, machine, machines, usable

TEXT = (Path(__file__).parents[3] / "docs" / "modes.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
ALL = [*modes.MODES, *(modes.resolve(where, sched) for where in WHERES for sched in ("fifo:7", "deadline:1ms/9ms"))]


def rows(section: str) -> list[list[str]]:
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_parts_are_those_of_the_code() -> None:
    described = {(row[0].strip("`"), row[1].strip("`")) for row in rows("Where × sched × hold")}
    parts = {"where": WHERES, "sched": (*SCHEDS, *FORMS), "hold": HOLDS}
    assert described == {(part, value) for part, values in parts.items() for value in values}


def test_the_shipped_modes_are_those_of_the_code() -> None:
    described = {row[0].strip("`"): row[1:5] for row in rows("Shipped modes")}
    assert described == {
        mode.name: [
            *(f"`{part}`" for part in mode.key),
            ", ".join(f"`{knob}`" for knob in mode.knobs) or "nothing",
        ]
        for mode in modes.MODES
    }


def test_the_example_is_read_and_named_as_the_page_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    path = tmp_path / "priorities.yaml"
    path.write_text(block)
    names = [mode.name for mode in load_campaign(path).axes.mode]
    assert names == ["shared", "fifo", "fifo50", "shared-fifo50", "nohz-full-fifo1"]
    assert all(f"`{name}`" in TEXT for name in names)


def pattern(reason: str) -> re.Pattern[str]:
    text = re.escape(reason.strip("`"))
    return re.compile(
        re.sub(r"\bN\b", "[0-9,-]+", text).replace("MODE", r"\S+").replace("CONTROLLERS", "[a-z, ]+") + r"(: |$)"
    )


REASONS = [pattern(row[0]) for row in rows("What is unsupported, and why")]


_NEXT = r"; (?=control: |cpus: |CPU |fifo:|deadline|load |the probe|the tick|no CPU|a partition|a probe|a task|booted)"


def cell(mode: modes.Mode, load: str = "idle", **asked: Any) -> Cell:
    return Cell("c", "t", "gap", {}, mode.to_spec(), LoadSpec(load, load), 0, 1, **asked)


def reasons_of(each: Cell, facts: dict[str, Any]) -> list[str]:
    """One by one; those of loads have a page of their own."""
    placement = place(facts, cpus=each.cpus)
    joined = admit(each, facts, placement)
    found = [] if joined is None else re.split(_NEXT, joined)
    return [reason for reason in found if not reason.startswith("load ")]


def privileged(facts: dict[str, Any], *, yes: bool) -> dict[str, Any]:
    return {**facts, "privileges": {"root": yes, "sys_nice": yes, "rtprio_limit": 0}}


def grouped(facts: dict[str, Any], release: str = "6.12.1", **cgroup: Any) -> dict[str, Any]:
    """With the root cgroup of a kernel of our days, but for ``cgroup``."""
    usual = {"version": 2, "controllers": ["cpu", "cpuset"], "root": True, "isolated": list(facts["cpus"]["isolated"])}
    return {**facts, "kernel": {"release": release}, "cgroup": {**usual, **cgroup}}


groups = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from([None, 1, 2]),
        "controllers": st.sampled_from([["cpu"], [], ["cpu", "cpuset"]]),
        "root": st.booleans(),
        "isolated": st.sampled_from([None, [], [1]]),
        "release": st.sampled_from(["5.10.0-8-amd64", "6.1.0-56-amd64", "6.12.107+deb13-amd64", "7.0-rc1"]),
    },
)


@given(
    machines(),
    st.sampled_from(ALL),
    st.sampled_from(["idle", "spin"]),
    st.sampled_from(["one", "all"]),
    st.booleans(),
    st.sampled_from([None, "waker-cpu"]),
    st.booleans(),
    groups,
    st.booleans(),
)
def test_every_reason_is_on_the_page(
    facts: dict[str, Any],
    mode: modes.Mode,
    load: str,
    cpus: str,
    control: bool,
    helper: str | None,
    root: bool,
    cgroup: dict[str, Any],
    polls: bool,
) -> None:
    each = cell(mode, load, cpus=cpus, control=control, helper=helper, polls=polls)
    for reason in reasons_of(each, privileged(grouped(facts, **cgroup), yes=root)):
        assert sum(known.match(reason) is not None for known in REASONS) == 1, reason
        assert ": " in reason  # what would help comes with it
    assert set(place(facts, cpus=cpus).measured) <= usable(facts)


FIFO, PINNED, SHARED = (modes.from_name(name) for name in ("fifo", "pinned", "shared"))
NOHZ_FULL, PARTITION, DEADLINE = (modes.from_name(name) for name in ("nohz-full", "partition", "deadline"))
ROAMING = modes.resolve("shared", "fifo:7")
REACHED: list[tuple[Cell, dict[str, Any]]] = [
    (cell(FIFO), machine(1)),
    (cell(FIFO), privileged(machine(2), yes=False)),
    (cell(ROAMING), machine(3, isolated=(1, 2))),
    (cell(SHARED, cpus="all"), machine(4, isolated=(3,))),
    (cell(PINNED, cpus="all"), machine(4)),
    (cell(PINNED, cpus="all"), machine(2, isolated=(0, 1))),
    (cell(PINNED, control=True), machine(1)),
    (cell(PINNED, control=True), hybrid(1, 0)),
    (cell(PINNED, "spin", control=True), machine(2)),
    (cell(PINNED, control=True, helper="waker-cpu"), machine(2)),
    (cell(PINNED, helper="waker-cpu"), machine(1)),
    (cell(NOHZ_FULL), machine(2)),
    (cell(PARTITION), grouped(machine(2), version=1)),
    (cell(PARTITION), grouped(machine(2), version=None, controllers=[])),
    (cell(PARTITION), grouped(machine(2), version=1, controllers=["memory"])),  # its cpuset is nobody's
    (cell(PARTITION), grouped(machine(2), controllers=["cpu", "io"])),
    (cell(PARTITION), grouped(machine(2), root=False)),
    (cell(PARTITION), grouped(machine(2), "5.15.0")),
    (cell(PARTITION), privileged(grouped(machine(2)), yes=False)),
    (cell(PARTITION), grouped(machine(1))),
    (cell(PARTITION), grouped(machine(2, isolated=(1,)))),
    (cell(PARTITION), grouped(machine(2, nohz_full=(1,)), "6.1.0", isolated=None)),
    (cell(DEADLINE), privileged(grouped(machine(2)), yes=False)),
    (cell(modes.resolve("pinned", "deadline")), machine(2)),
    (cell(modes.resolve("pinned", "deadline")), machine(3, isolated=(1, 2))),
    (cell(PARTITION, helper="waker-cpu"), machine(2)),
    (cell(modes.resolve("pinned", "deadline"), helper="waker-cpu"), machine(2)),
    (cell(DEADLINE, polls=True), machine(2)),
    (cell(PINNED, attribution="perf"), machine(2)),
]


def test_every_line_of_the_page_is_a_reason_of_the_code() -> None:
    said = [reason for each, facts in REACHED for reason in reasons_of(each, facts)]
    said += PINNED.needs(machine(2), [], [0])
    said += PINNED.needs(machine(3, offline=(2,), allowed=(0, 1)), [2], [0])  # another boot, after it was placed
    said += PINNED.needs(machine(3, allowed=(0, 1)), [2], [0])
    assert [known.pattern for known in REASONS if not any(known.match(reason) for reason in said)] == []


@pytest.mark.parametrize("mode", ALL, ids=lambda mode: mode.name)
def test_what_is_not_known_yet_is_no_reason(mode: modes.Mode) -> None:
    assert admit(cell(mode), None) == UNKNOWN
    assert admit(replace(cell(mode), control=True), None) == UNKNOWN


@pytest.mark.parametrize(
    ("mode", "facts"),
    [
        (PARTITION, grouped(machine(4))),
        (PARTITION, grouped(machine(4), "6.1.0-56-amd64", isolated=None)),  # 6.1 keeps no list
        (PARTITION, grouped(machine(4, nohz_full=(3,)))),  # isolated by nobody else
        (DEADLINE, grouped(machine(4))),
        (modes.resolve("pinned", "deadline"), machine(4, isolated=(3,))),  # that CPU alone is a root domain
        (NOHZ_FULL, machine(4, isolated=(3,), nohz_full=(3,))),
        (modes.resolve("nohz-full", "fifo"), machine(4, isolated=(3,), nohz_full=(3,))),
    ],
    ids=lambda each: each.name if isinstance(each, modes.Mode) else "",
)
def test_what_can_be_had_is_admitted(mode: modes.Mode, facts: dict[str, Any]) -> None:
    assert admit(cell(mode), privileged(facts, yes=True)) is None


@pytest.mark.parametrize("mode", ALL, ids=lambda mode: mode.name)
def test_what_the_facts_do_not_say_is_not_held_against_a_machine(mode: modes.Mode) -> None:
    assert mode.needs({}, [1], [0]) == []
    assert mode.needs({"cpus": {"online": [0, 1]}, "cgroup": {}, "kernel": {}}, [1], [0]) == []
