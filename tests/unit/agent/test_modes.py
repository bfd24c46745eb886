# SPDX-License-Identifier: Apache-2.0
"""Modes compose of where x sched x hold; what a machine cannot do is refused with what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent import modes
from harness.agent.knobs import all_knobs
from harness.agent.spec import ModeSpec, SpecError
from harness.agent.system import Tree


def facts(**privileges: Any) -> dict[str, Any]:
    return {
        "cpus": {"online": [0, 1, 2, 3], "allowed": [0, 1, 3]},
        "privileges": {"uid": 1000, "root": False, "sys_nice": False, "rtprio_limit": 0, **privileges},
    }


@pytest.mark.parametrize(
    ("name", "argv", "knobs"),
    [
        ("shared", ["--sched", "other"], ()),
        ("pinned", ["--cpu", "1", "--sched", "other"], ("irq-affinity", "cpu-dma-latency")),
        (
            "fifo",
            ["--cpu", "1", "--sched", "fifo:1"],
            ("irq-affinity", "cpu-dma-latency", "rt-throttling", "fair-server"),
        ),
        (
            "fifo:50",
            ["--cpu", "1", "--sched", "fifo:50"],
            ("irq-affinity", "cpu-dma-latency", "rt-throttling", "fair-server"),
        ),
    ],
)
def test_what_a_named_mode_gives_the_probe_and_the_machine(name: str, argv: list[str], knobs: tuple[str, ...]) -> None:
    mode = modes.from_name(name)
    assert mode.probe_argv(1 if mode.pinned else None) == argv
    assert mode.knobs == knobs
    assert set(knobs) <= set(all_knobs(Tree()))
    assert modes.from_spec(mode.to_spec()) == mode


def test_composed_modes() -> None:
    mode = modes.resolve("shared", "fifo:1")
    assert (mode.name, mode.pinned, mode.priority, mode.policy) == ("shared-fifo1", False, 1, "fifo")
    assert mode.probe_argv(None) == ["--sched", "fifo:1"]
    assert mode.knobs == ("rt-throttling", "fair-server")
    assert modes.resolve("pinned", "fifo:1").name == "fifo"  # a shipped one keeps its name: no two for one cell
    assert modes.resolve("pinned", "fifo").key == modes.from_name("fifo:1").key
    assert modes.from_name("fifo:50").name == "fifo50"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"where": "moon"}, "where: 'moon' is none of shared, pinned"),
        ({"sched": "fifo:0"}, "fifo:1 to fifo:99"),
        ({"sched": "fifo:100"}, "fifo:1 to fifo:99"),
        ({"sched": "deadline:"}, "neither other nor"),
        ({"sched": "deadline:1ms"}, "neither other nor"),
        ({"sched": "deadline:50us/99us"}, "periods are of 100us to 1s"),
        ({"sched": "deadline:1s/2s"}, "periods are of 100us to 1s"),
        ({"sched": "deadline:1023ns/1ms"}, "1024ns or more"),
        ({"sched": "deadline:900us/1ms"}, "at most 85 %"),
        ({"hold": "strict"}, "hold: 'strict' is none of none"),
    ],
)
def test_a_part_that_does_not_exist(parts: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        modes.resolve(**parts)
    with pytest.raises(SpecError, match=said):
        modes.from_spec(ModeSpec("x", **parts))


@pytest.mark.parametrize("name", ["", "fif", "fifo:", "fifo:x", "fifo:0", "pinned:1"])
def test_a_name_that_does_not_exist(name: str) -> None:
    with pytest.raises(SpecError):
        modes.from_name(name)


@pytest.mark.parametrize(
    ("name", "privileges", "housekeeping", "said"),
    [
        ("fifo", {}, [0], "CAP_SYS_NICE"),
        ("fifo", {}, [0], "become: sudo"),
        ("fifo:50", {"rtprio_limit": 49}, [0], "rtprio limit of 50 (it is 49)"),
        ("fifo", {"sys_nice": True}, [], "starve"),
    ],
)
def test_fifo_is_refused_with_what_to_do(name: str, privileges: Any, housekeeping: list[int], said: str) -> None:
    reasons = modes.from_name(name).needs(facts(**privileges), [3], housekeeping)
    assert said in " ".join(reasons)


@pytest.mark.parametrize(
    ("name", "privileges"),
    [
        ("fifo", {"sys_nice": True}),
        ("fifo", {"rtprio_limit": 1}),
        ("fifo:50", {"rtprio_limit": -1}),  # unlimited
        ("fifo", {"sys_nice": None}),  # not known: found out there
        ("pinned", {}),
        ("shared", {}),
    ],
)
def test_what_is_possible_is_admitted(name: str, privileges: Any) -> None:
    assert modes.from_name(name).needs(facts(**privileges), [3], [0]) == []
    assert modes.from_name(name).needs({}, [3], [0]) == []


def test_a_cpu_that_is_not_there_or_not_ours() -> None:
    pinned = modes.from_name("pinned")
    assert "not online" in pinned.needs(facts(), [4], [0])[0]
    assert "cpuset.cpus" in pinned.needs(facts(), [2], [0])[0]
    assert "no CPU" in pinned.needs(facts(), [], [0])[0]
    assert modes.from_name("shared").needs(facts(), [2], [0]) == []
    assert pinned.needs(facts(), [3], []) == []  # a machine of one CPU can still be measured


@pytest.mark.parametrize(
    ("name", "provider", "argv"),
    [
        ("partition", "cgroup", ["--cgroup", "/sys/fs/cgroup/isolbench", "--sched", "other"]),
        ("nohz-full", "boot parameter", ["--sched", "other"]),
        ("deadline", "cgroup", ["--cgroup", "/sys/fs/cgroup/isolbench", "--sched", "deadline:500000ns/1000000ns"]),
        ("fifo", "scheduler", ["--sched", "fifo:1"]),
    ],
)
def test_what_puts_a_mode_into_effect(name: str, provider: str, argv: list[str]) -> None:
    mode = modes.from_name(name)
    assert mode.provider == provider
    assert mode.probe_argv(1) == ["--cpu", "1", *argv]


@pytest.mark.parametrize(
    ("said", "where", "sched", "name"),
    [
        ("deadline:500us/1ms", "partition", "deadline", "deadline"),
        ("deadline:500000ns/1000us", "partition", "deadline", "deadline"),
        ("deadline:0200us/1ms", None, None, None),
        ("deadline:200us/1ms", "partition", "deadline:200us/1ms", "deadline-200us-1ms"),
        ("deadline:200000ns/1000us", "partition", "deadline:200us/1ms", "deadline-200us-1ms"),
    ],
)
def test_one_reservation_has_one_spelling(said: str, where: str | None, sched: str | None, name: str | None) -> None:
    if where is None:
        with pytest.raises(SpecError):
            modes.from_name(said)
        return
    mode = modes.from_name(said)
    assert (mode.where, mode.sched, mode.name) == (where, sched, name)
    assert modes.from_spec(ModeSpec.from_json(vars(mode.to_spec()))) == mode  # and the name is safe


def test_the_policies_compose_with_every_place() -> None:
    assert modes.resolve("nohz-full", "fifo:50").name == "nohz-full-fifo50"
    assert modes.resolve("partition", "fifo").key == ("partition", "fifo:1", "none")
    assert modes.resolve("pinned", "deadline:1ms/10ms").name == "pinned-deadline-1ms-10ms"
    assert modes.resolve("shared", "deadline").reservation == modes.from_name("deadline").reservation
