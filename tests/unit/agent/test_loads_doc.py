# SPDX-License-Identifier: Apache-2.0
"""docs/loads.md has each load, the command lines that are executed, and the keys of a record."""

from __future__ import annotations

import re
from pathlib import Path

from harness.agent import loads
from harness.agent.loads import stress_ng, tools
from harness.agent.spec import LoadSpec

DOC = (Path(__file__).parents[3] / "docs" / "loads.md").read_text()


def rows(heading: str) -> dict[str, str]:
    table = DOC.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (`.+?) \| (.*) \|$", table, re.MULTILINE))


def test_every_load_is_described() -> None:
    assert [name.strip("`") for name in rows("load")][:-1] == list(loads.NAMES)


def test_the_packages_are_named() -> None:
    for tool, package in tools.PACKAGES.items():
        assert f"`{tool}` (package `{package}`)" in rows("load")[f"`{tool}`"]


def test_the_command_lines_are_those_that_are_executed() -> None:
    hackbench = loads.make(LoadSpec("h", "hackbench"), [0, 1, 2]).options()  # type: ignore[attr-defined]
    assert f"`hackbench {' '.join(hackbench)}`".replace("groups 3", "groups N") in rows("load")["`hackbench`"]
    line = " ".join(loads.make(LoadSpec("s", "stress-ng"), [0, 1, 2]).options())  # type: ignore[attr-defined]
    said = re.search(r"`stress-ng (.*?)`", rows("load")["`stress-ng`"])
    assert said is not None
    assert said[1].replace(" N", " 3") in line
    assert said[1].count("--") == len(stress_ng._STRESSORS)


def test_the_keys_of_a_record_are_described() -> None:
    described = {key for cell in rows("key") for key in re.findall(r"`(\w+)`", cell)}
    assert described == set(loads.make(LoadSpec("idle"), []).end())
