# SPDX-License-Identifier: Apache-2.0
"""docs/adding.md, carried out: what a reader is told to write, change and run, in a copy of the tree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.store.runs import iter_runs

HERE = Path(__file__).parents[2]
PAGE = (HERE / "docs" / "adding.md").read_text()
COPIED = ("harness", "csrc", "benches", "tests/unit", "docs", "pyproject.toml")


@dataclass(frozen=True)
class Step:
    """A fenced block: ``file`` to write (or to change, for a diff), or commands."""

    language: str
    file: str
    text: str


def steps() -> list[Step]:
    found = re.finditer(r"^(?:(?:In )?`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
    return [Step(match[2], match[1] or "", match[3]) for match in found]


def change(path: Path, diff: str) -> None:
    """Each run of ``-`` lines, which must stand there once, becomes the ``+`` lines after it."""
    text = path.read_text()
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", diff, re.M):
        before, after = (re.sub(r"^[-+]", "", part, flags=re.M) for part in (old, new))
        assert text.count(before) == 1, f"docs/adding.md changes a line of {path.name} that is not there: {before}"
        text = text.replace(before, after)
    path.write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy = tmp_path / "isolbench"
    for name in COPIED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(HERE / name, copy / name)
    return copy


def test_the_page_is_carried_out(tree: Path, own_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only: nothing is left to keep house")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree.parent / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tree))
    said: dict[str, str] = {}
    for step in steps():
        if step.language == "console":
            for line in step.text.splitlines():
                words = shlex.split(line.removeprefix("$ "))
                programs = {"python": [sys.executable], "isolbench": [sys.executable, "-m", "harness"]}
                done = subprocess.run(
                    [*programs[words[0]], *words[1:]],
                    cwd=tree,
                    capture_output=True,
                    text=True,
                    timeout=200,
                    check=False,
                )
                # 4: measured, but on a machine so busy that no run was valid; what is asked here is not how fast it is.
                fine = (0, 4) if words[:2] == ["isolbench", "run"] else (0,)
                assert done.returncode in fine, f"{line}: {done.stdout}{done.stderr}"
                said[words[1]] = said.get(words[1], "") + done.stdout
        elif step.language == "diff":
            change(tree / step.file, step.text)
        else:
            assert step.file, f"docs/adding.md names no file for {step.text[:60]!r}"
            assert not (tree / step.file).exists()
            (tree / step.file).write_text(step.text)

    assert "passed" in said["-m"]
    assert "failed" not in said["-m"]
    for mode in ("pinned", "batch"):
        assert mode in said["plan"]
    runs = list(iter_runs(tree / "results"))
    assert len(runs) == 2
    policies = {}
    for run in runs:
        (metric,) = [each for each in run.metrics if each["metric"] == "entry_ns"]
        assert metric["recorded"] > 0
        assert metric["gate"] == "p99"
        [task] = run.document["effective"]["tasks"].values()
        policies[run.document["spec"]["mode"]["name"]] = task["end"]["policy"]
    assert policies == {"pinned": "other", "batch": "batch"}
    assert "entry_ns" in said["show"]
    assert list(tree.glob("results/entry/*/report.html"))
