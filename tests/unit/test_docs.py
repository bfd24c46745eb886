# SPDX-License-Identifier: Apache-2.0
"""The documents are true: their commands and options exist, their YAML loads, their links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from harness.cli import COMMANDS, group
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def command_of(name: str) -> click.Command:
    found = getattr(importlib.import_module(f"harness.cli.{COMMANDS[name][0]}"), name)
    assert isinstance(found, click.Command)
    return found


def calls() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in blocks(page, "(?:sh|console)") for line in block.splitlines()]
        lines += re.findall(r"`(isolbench [^`]*)`", text)
        found += [(page.name, line.split("  #")[0].removeprefix("$ ").strip()) for line in lines]
    return sorted({(page, line) for page, line in found if line.startswith("isolbench ")})


@pytest.mark.parametrize(("page", "line"), calls(), ids=lambda value: str(value))
def test_commands_and_options_exist(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version")
        return
    assert words[0] in COMMANDS, f"{page}: {line}"
    command, rest = command_of(words[0]), words[1:]
    if isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"{page}: {line}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for param in command.params for option in param.opts} | {"--help"}
    assert {word for word in rest if re.match(r"--?[a-z]", word)} <= known, f"{page}: {line}"


def test_every_command_is_in_the_documents() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in text and f"isolbench {name}" not in text] == []
    assert group.name is not None


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`?make ([a-z-]+)`?", (ROOT / "README.md").read_text()))
    assert {"demo", "lab-demo", "test", "bench"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.M)] == []


@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "yaml"), ids=lambda text: text.split()[0])
def test_the_readmes_files_load(block: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(block)
    if block.startswith("campaign:"):
        assert load_campaign(path).benches
    else:
        assert load_inventory(path).kernels


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_are_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


def test_exit_codes_stand_in_the_readme_as_in_the_help() -> None:
    from harness.cli import EPILOG

    table = (ROOT / "README.md").read_text().partition("| code |")[2]
    codes = re.findall(r"^\| ([0-9, ]+) \|", table, re.M)
    assert [code.replace(", ", "/") for code in codes] == re.findall(r"^  ([0-9/]+) ", EPILOG, re.M)


def test_no_address_of_a_registry_and_no_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name] or [ROOT / "constraints.txt"]
    wrong = re.compile(rb"(?:pypi|pythonhosted|npmjs|deb\.debian)\.(?:org|com)|/(?:work|home/[a-z]+)/main\b")
    assert [
        file
        for file in files
        if file.is_file() and file != Path(__file__).resolve() and wrong.search(file.read_bytes())
    ] == []
