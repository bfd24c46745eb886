# SPDX-License-Identifier: Apache-2.0
"""docs/commands.md and the command line hold each other: every command, and of each every option and no other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from harness.cli import COMMANDS

TEXT = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))


def test_every_command_has_its_section_and_is_listed() -> None:
    assert set(SECTIONS) == {*COMMANDS, "Completion"}
    listed = re.findall(r"\[(\w+)\]\(#(\w+)\)", TEXT.partition("\n## ")[0])
    assert [name for name, _ in listed] == [anchor for _, anchor in listed] == list(COMMANDS)
    assert [name for name in SECTIONS if name != "Completion"] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    command = getattr(importlib.import_module(f"harness.cli.{COMMANDS[name][0]}"), name)
    rows = re.findall(r"^\| ((?:`-[^`]+`(?:, )?)+) \|", SECTIONS[name], re.M)
    described = [tuple(re.findall(r"`([^`]+)`", row)) for row in rows]
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    options = [param for one in commands for param in one.params if isinstance(param, click.Option)]
    assert sorted(described) == sorted({(*param.opts, *param.secondary_opts) for param in options})
    for one in commands if isinstance(command, click.Group) else []:
        assert f"`isolbench {name} {one.name}" in SECTIONS[name]
    assert f"`isolbench {name}" in SECTIONS[name]


def test_the_formats_of_an_export_are_said() -> None:
    from harness.store.export import FORMATS

    assert set(re.findall(r"`(\w+)`", SECTIONS["export"])) >= set(FORMATS)
