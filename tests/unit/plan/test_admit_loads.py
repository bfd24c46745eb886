# SPDX-License-Identifier: Apache-2.0
"""A load that a target cannot have is unsupported, with what would change it, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent.spec import LoadSpec, ModeSpec
from harness.plan import Cell, admit

FACTS: dict[str, Any] = {
    "cpus": {"online": [0, 1], "allowed": [0, 1], "isolated": []},
    "privileges": {"sys_nice": True},
    "tools": {"hackbench": "/usr/bin/hackbench", "stress-ng": "/usr/bin/stress-ng"},
    "memory_available_kb": 8 << 20,
    "cache_kb": 32 << 10,
}


def why(load: str, **facts: Any) -> str | None:
    spec = LoadSpec(load, load)
    return admit(Cell("c", "nuc", "gap", {}, ModeSpec("pinned", "pinned"), spec, 0, 10**9), {**FACTS, **facts})


@pytest.mark.parametrize("load", ["idle", "spin", "syscalls", "memory", "hackbench", "stress-ng"])
def test_a_machine_that_has_it_all(load: str) -> None:
    assert why(load) is None


def test_what_is_missing_is_named() -> None:
    none = {"hackbench": None, "stress-ng": None}
    assert why("hackbench", tools=none) == (
        "hackbench is not installed on the target: install the package rt-tests there"
    )
    assert "install the package stress-ng" in (why("stress-ng", tools=none) or "")
    assert why("spin", tools=none) is None
    assert (why("memory", memory_available_kb=100 << 10) or "").startswith("load memory needs 256 MiB of free memory")
    assert why("hackbench", tools={}) is None  # nobody has looked: it is found out there
    one = {"cpus": {"online": [0], "allowed": [0], "isolated": []}}
    assert "no CPU to run on but the measured one" in (why("stress-ng", **one) or "")
