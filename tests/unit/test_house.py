# SPDX-License-Identifier: Apache-2.0
"""The house: which room may import which. A new room has to be entered here, or this fails."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "harness"

GROUND = {"errors", "deadline", "signals", "agent", "advice"}
CHAIN = ["config", "plan", "toolchain", "build", "lab", "target", "campaign"]
ALLOWED: dict[str, set[str]] = {
    "__init__": {"store"},  # load(), inside the function
    "__main__": {"cli"},
    "errors": set(),
    "deadline": {"errors"},
    "signals": {"errors"},
    "advice": {"errors", "agent"},
    "agent": set(),
    "store": {"__init__"} | GROUND,
    "stats": {"store"} | GROUND,
    "report": {"store", "stats", "__init__"} | GROUND,
}
for position, room in enumerate(CHAIN):
    ALLOWED[room] = GROUND | set(CHAIN[:position]) | {"__init__"}
ALLOWED["campaign"] |= {"store", "stats"}
ALLOWED["cli"] = set(ALLOWED) | {"cli"}
PURE = ["plan", "stats"]
IMPURE = {"subprocess", "socket", "fabric", "paramiko", "requests", "urllib", "shutil", "tempfile"}
#: What other rooms may use of the agent: its types and rules, never its hands.
AGENT_PURE = {"spec", "frames", "modes", "loads", "knobs", "validity"}


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of each import in ``path``, relative ones resolved."""
    package = ["harness", *path.relative_to(ROOT).parts[:-1]]
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


FILES = sorted(ROOT.rglob("*.py"))


def test_there_are_files() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_up_only(path: Path) -> None:
    room = room_of(path)
    assert room in ALLOWED, f"{room} has no place in the house: enter it in tests/unit/test_house.py"
    wrong = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "harness":
            continue
        there = parts[1] if len(parts) > 1 else "__init__"
        if not (ROOT / there).is_dir() and not (ROOT / f"{there}.py").is_file():
            there = "__init__"  # a name of the package itself, such as __version__
        if there == room:
            continue
        if there not in ALLOWED[room]:
            wrong.append(f"line {line}: {room} imports {there}")
        elif there == "agent" and room != "agent" and len(parts) > 2 and parts[2] not in AGENT_PURE:
            wrong.append(f"line {line}: {room} imports agent.{parts[2]}, which is not pure")
    assert not wrong


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in PURE], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_rooms_do_no_io(path: Path) -> None:
    assert not [(line, name) for line, name in imports(path) if name.split(".")[0] in IMPURE]


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) == "agent"], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_agent_stands_alone(path: Path) -> None:
    source = path.read_text()
    ast.parse(source, feature_version=(3, 9))
    outside = [
        (line, name)
        for line, name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("harness.agent")
    ]
    assert not outside


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_file_names_its_licence(path: Path) -> None:
    text = path.read_text()
    assert not text or text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
