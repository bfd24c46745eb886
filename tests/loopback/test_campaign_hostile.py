# SPDX-License-Identifier: Apache-2.0
"""Names and words that mean harm, from files, from the command line, and from a target whose agent is not ours."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.agent import facts
from harness.cli.planning import read_plan
from harness.errors import UserError

from .campaign_kit import Lab, complete, needs_root, tidy
from .conftest import Server

BAD_NAMES = ["../out", "a/b", "$(touch owned)", "a b", "a\nb", "'; touch owned; '", "-rf", "", ".hidden", "x" * 200]


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".cache" not in path.parts}


def problems(campaign: Path, inventory: Path | None = None) -> list[str]:
    """What is wrong with the files, as `run` finds it before it does anything."""
    try:
        read_plan(str(campaign), inventory, (), ())
    except UserError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names(name: str, lab: Lab) -> None:
    """Of campaigns, benches, loads, modes and targets: each is a mistake in its file, with its place there."""
    path = lab.campaign()
    assert problems(path) == []
    axes = {"mode": ["pinned"], "load": ["idle"]}
    changes: list[dict[str, Any]] = [
        {"campaign": name},
        {"benches": [name]},
        {"axes": {**axes, "load": [{name: ["/bin/true"]}]}},
        {"axes": {**axes, "mode": [name]}},
    ]
    document = json.loads(path.read_text())
    for change in changes:
        path.write_text(json.dumps({**document, **change}))
        assert [line for line in problems(path) if line.startswith(f"{path}:1:")], change
    lab.inventory.write_text(json.dumps({"targets": {name: {"address": "127.0.0.1"}}}))
    assert [line for line in problems(lab.campaign(), lab.inventory) if line.startswith(f"{lab.inventory}:1:")]


def test_a_name_that_leads_outside_ends_it_before_it_begins(lab: Lab) -> None:
    path = lab.campaign()
    path.write_text(json.dumps({**json.loads(path.read_text()), "campaign": "../out"}))
    before = files(lab.folder)
    said = lab.cli("run", str(path))
    assert said.code == 2
    assert said.lines[0].startswith(f"isolbench: {path}:1:")
    assert files(lab.folder) == before


@pytest.mark.parametrize("words", [["run", "--execution", "../../etc"], ["resume", "../x"], ["resume", "a@-0"]])
def test_names_of_executions(words: list[str], lab: Lab) -> None:
    said = lab.cli(*words)
    assert said.code == 2
    assert len(said.lines) == 1
    assert files(lab.folder) == set()


def test_argv_arrives_as_it_is(lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    told = lab.folder / "told"
    words = ["$(touch owned)", "a'b\"c", "two\nlines", "*", "`id`", "--", "\\", "ü \u202e", ""]
    load = [sys.executable, "-c", f"import sys,json; open({str(told)!r},'w').write(json.dumps(sys.argv[1:]))", *words]
    axes = {"mode": ["pinned"], "load": [{"told": load}]}
    assert lab.carry_out(lab.execution(axes=axes, repeat=1)).finished == 1
    assert json.loads(told.read_text()) == words
    assert not list(lab.folder.rglob("owned"))


def test_a_parameter_that_is_no_number(lab: Lab) -> None:
    for value in ("1us; touch owned", "$(id)", "--out=/tmp/x", "-1us"):
        path = lab.campaign(benches=[{"bench": "gap", "params": {"threshold": value}}])
        said = lab.cli("run", str(path))
        assert said.code == 2
        assert "threshold" in said.lines[0]


# -- a target that lies ---------------------------------------------------------------------------------------------

BEHAVIOURS = {
    "facts that are none": "what the target says of itself cannot be used",
    "a token that is none": "",
    "a busy that is none": "",
    "a list that is none": "",
    "runs outside": "agent: ",
    "nothing in particular": "agent: ",
    "silence, then the end": "the agent ended with status 0 before it answered",
    "an endless line": "",
    "a body without an end": "garbage on the wire",
    "a deep nest": "garbage on the wire",
}


@pytest.fixture
def liar(lab: Lab, start_sshd: Callable[..., Server], open_folder: Path) -> Callable[[str], None]:
    """``liar(behaviour)``: enter a target whose python3 is tests/loopback/fake_agent.py."""

    def make(behaviour: str) -> None:
        folder = open_folder / "liar"
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("fake_agent.py"), folder)
        (folder / "BEHAVIOUR").write_text(behaviour)
        (folder / "facts.json").write_text(json.dumps(facts.gather()))
        (folder / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/fake_agent.py "$@"\n')
        (folder / "python3").chmod(0o755)
        lab.add(start_sshd(path=f"{folder}:/usr/bin:/bin"))

    return make


@needs_root
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_an_agent_that_is_none(
    behaviour: str, lab: Lab, liar: Callable[[str], None], start_sshd: Callable[..., Server], tmp_path: Path
) -> None:
    liar(behaviour)
    path = lab.campaign()

    def around() -> set[Path]:
        mine = (lab.results, tmp_path / "controller")
        return {each for each in tmp_path.rglob("*") if not any(each.is_relative_to(one) for one in mine)}

    before = around()
    said = lab.cli("run", str(path))
    assert said.code == 3, said.err
    why, outcome = said.lines  # a single line for what is wrong, however many the target sends
    assert BEHAVIOURS[behaviour] in why
    assert why.startswith("isolbench: box: ")
    assert "; resume continues" in outcome
    assert "Traceback" not in said.err
    assert all(each.isprintable() or each == "\n" for each in said.out + said.err)
    assert around() == before
    execution = lab.newest()
    tidy(execution)
    assert not list(execution.path.glob("runs/*/*"))
    lab.add(start_sshd())
    assert lab.cli("resume", "short").code == 0
    complete(execution)


def test_a_plan_that_was_edited(lab: Lab) -> None:
    execution = lab.execution()
    plan = execution.path / "plan.json"
    document = json.loads(plan.read_text())

    def edited(**changes: Any) -> int:
        cells = [{**document["cells"][0], **changes}]
        plan.write_text(json.dumps({**document, "cells": cells}))
        said = lab.cli("resume", "short")
        assert len(said.lines) == 1, said.err
        return said.code

    assert edited(cell="../../evil") == 2
    assert edited(target="../../evil") == 2
    assert edited(bench="none") == 2
    plan.write_text("{")
    assert lab.cli("resume", "short").code == 2
