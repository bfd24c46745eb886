# SPDX-License-Identifier: Apache-2.0
"""``--json``: every command has it, prints one document of the documented shape and nothing else, errors too."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli import COMMANDS

from ..report import fake_execution as fake
from .test_cli import isolbench

TEXT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## What commands print with --json")[2].partition("\n## ")[0]
INVENTORY = """targets:
  away: {address: 127.0.0.1, disabled: "no cable"}
  dead: {address: 127.0.0.1, port: 9, connect_timeout: 1s}
"""
CAMPAIGN = "{campaign: c, targets: [dead], benches: [gap], duration: 1s, retry: {infrastructure: 0}}"
#: By command its words and exit code, without a machine that could be reached. A new command has to be entered here.
CALLS: dict[str, tuple[str, int]] = {
    "doctor": ("doctor away -i i.yaml", 2),
    "plan": ("plan c.yaml -i i.yaml", 0),
    "run": ("run c.yaml -i i.yaml --results made", 3),
    "resume": ("resume stopped --results stopped -i i.yaml", 3),
    "status": ("status nightly", 0),
    "show": ("show nightly", 0),
    "compare": ("compare nightly nightly", 0),
    "report": ("report nightly -o page.html", 0),
    "init": ("init a@127.0.0.1:9", 3),  # of success: tests/loopback/test_cli_init.py
    "trend": ("trend nightly", 0),
    "export": ("export nightly -f csv -o table.csv", 0),
    "restore": ("restore dead -i i.yaml", 3),
    "lab up": ("lab up -i i.yaml", 2),  # of success: tests/lab
    "lab down": ("lab down", 0),
    "lab status": ("lab status", 0),
    "lab build": ("lab build no-such-image", 2),
    "lab prune": ("lab prune", 0),
    "schema": ("schema bench", 0),
}
#: Commands that fail here, before they have anything to say.
FAIL = {"init": "infrastructure", "lab up": "user", "lab build": "user"}
#: What they print is what somebody else says.
PASS_ON = {"lab console", "lab ssh"}


def commands() -> dict[str, click.Command]:
    """By the words that one calls them by: those of a group, not the group."""
    found = {}
    for name, (module, _) in COMMANDS.items():
        command = getattr(importlib.import_module(f"harness.cli.{module}"), name)
        members = command.commands if isinstance(command, click.Group) else None
        found |= {name: command} if members is None else {f"{name} {each}": members[each] for each in members}
    return {name: command for name, command in found.items() if name not in PASS_ON}


def documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| (`[a-z ]+`(?:, `[a-z ]+`)*) \| (.*) \|$", SECTION, re.M)
    return {
        command: set(re.findall(r"`([a-z_]+)`", keys.partition(";")[0]))
        for names, keys in rows
        for command in re.findall(r"`([a-z ]+)`", names)
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab")
    fake.realistic(path / "results", repeat=1)
    (path / "i.yaml").write_text(INVENTORY)
    (path / "c.yaml").write_text(CAMPAIGN)
    isolbench("run", "c.yaml", "-i", "i.yaml", "--results", "stopped", cwd=path)
    (path / "stopped" / "c").rename(path / "stopped" / "stopped")
    return path


@pytest.mark.parametrize("name", commands())
def test_every_command_takes_it(name: str) -> None:
    command = commands()[name]
    assert "--json" in {option for param in command.params for option in param.opts}


def test_every_command_is_tried_and_documented() -> None:
    assert set(CALLS) == set(commands()) == set(documented())


def keys_of(value: Any) -> Iterator[str]:
    """Of the objects in lists: those by name (targets, metrics, quantiles) have data for keys."""
    if isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                yield from each
                for inner in each.values():
                    yield from keys_of(inner)
    elif isinstance(value, dict):
        for each in value.values():
            yield from keys_of(each)


@pytest.mark.parametrize("name", CALLS)
def test_one_document_of_the_documented_shape(name: str, lab: Path) -> None:
    words, code = CALLS[name]
    # The doctor builds every probe: once on this machine is enough.
    caches = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}
    done = isolbench(*words.split(), "--json", cwd=lab, **(caches if name == "doctor" else {}))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    if name in FAIL:
        assert set(document) == {"error"}
        assert document["error"] | {"message": "", "advice": ""} == {
            "fault": FAIL[name], "message": "", "advice": "", "exit_code": code,
        }  # fmt: skip
    elif name != "schema":
        assert set(document) == documented()[name]
        assert sorted(set(keys_of(document)) - set(re.findall(r"`([^`\n]+)`", TEXT))) == []


@pytest.mark.parametrize("name", commands())
def test_a_mistake_is_a_document_too(name: str, tmp_path: Path) -> None:
    done = isolbench(*name.split(), "--json", "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["fault"], error["exit_code"]) == ("user", 2)
    assert "--no-such-option" in error["message"]
    assert "--no-such-option" in done.stderr


def test_what_went_wrong_in_the_files_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("campaign: c\ntargets: [local]\nbenches: [gpa]\nduration: 1\n")
    done = isolbench("plan", "c.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in json.loads(done.stdout)["error"]["message"].splitlines()] == [
        "c.yaml:3:11",
        "c.yaml:4:11",
    ]


@pytest.mark.parametrize("words", ["report nightly -o -", "export nightly -f csv", "export nightly -f csv -o -"])
def test_stdout_is_for_one_thing(words: str, lab: Path) -> None:
    done = isolbench(*words.split(), "--json", cwd=lab)
    assert done.returncode == 2
    assert "stdout is for one thing" in json.loads(done.stdout)["error"]["message"]


def test_the_document_of_an_execution_has_the_tables_numbers(lab: Path) -> None:
    found = json.loads(isolbench("show", "nightly", "--json", cwd=lab).stdout)
    assert found["states"] == {"valid": 9, "suspect": 2, "invalid": 0}
    nuc, box = found["targets"]
    (fifo,) = [cell for cell in nuc["cells"] if (cell["mode"], cell["load"]) == ("fifo", "idle")]
    assert (fifo["metric"], fifo["role"], fifo["basis"], fifo["runs"]["valid"]) == ("gap_ns", "measured", "valid", 1)
    assert fifo["quantiles"]["p50"] == {"median": 37, "low": 37, "high": 37, "runs": 1, "enough": True}
    assert fifo["events"]["count"] == 0
    assert 0.2 < fifo["events"]["rate_upper_hz"] < 0.4
    assert nuc["attempts"][0]["fault"] == "environment"
    assert box["unsupported"][0]["mode"] == "fifo"
    assert {verdict["result"] for verdict in found["budgets"]} == {"pass", "fail"}
