# SPDX-License-Identifier: Apache-2.0
"""What the agent's files may be: Python 3.9, the standard library, nothing of harness but themselves."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import harness.agent

ROOT = Path(harness.agent.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
#: Packages apart on small systems (OpenEmbedded splits Python): at most inside a function, with a way without it.
OPTIONAL = {"ctypes", "mmap", "tempfile", "zlib", "gzip", "shutil", "resource", "pwd", "argparse", "logging", "secrets"}


def names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [str(node.module).partition(".")[0]]
    return []


def test_there_are_files() -> None:
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_3_9_compiles_it(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Match)]
    # Without this, `X | None` in an annotation is evaluated, and fails.
    annotated = any(isinstance(node, (ast.AnnAssign, ast.FunctionDef)) for node in ast.walk(tree))
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert futures or not annotated


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_the_standard_library_or_our_own(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for name in names(node):
            assert name in sys.stdlib_module_names, f"{path.name}:{node.lineno}: {name}"  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and node.level:
            depth = len(path.relative_to(ROOT).parts)
            assert node.level <= depth, f"{path.name}:{node.lineno}: reaches out of the agent"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_may_be_absent_is_not_imported_at_the_top(path: Path) -> None:
    top = [name for node in ast.parse(path.read_text()).body for name in names(node)]
    assert not OPTIONAL & set(top)


#: Reading the time of day, or of a file. Where it is recorded, it is data; nowhere may anything depend on it.
REALTIME = re.compile(r"\btime\.time(?:_ns)?\(|CLOCK_REALTIME|getmtime|st_[mac]time|datetime|localtime|gmtime|strftime")
RECORDED = {"snapshot.py": 1, "requests.py": 1, "blobs.py": 1}  # the last: a count in the place of a time


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_depends_on_the_time_of_day(path: Path) -> None:
    """A target's clock may stand in 1970, run ahead or jump: leases, undo, pruning and deadlines go without it."""
    assert len(REALTIME.findall(path.read_text())) == RECORDED.get(str(path.relative_to(ROOT)), 0)
