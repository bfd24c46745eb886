# SPDX-License-Identifier: Apache-2.0
"""docs/formats.md names every key that is written, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.store import catalogue, runs
from harness.store.runs import load_run

from ..report import fake_execution as fake

TEXT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`\n]+)`", TEXT))


def test_every_key_of_a_run_is_named(tmp_path):
    document = load_run(fake.simple_run(tmp_path)).document
    keys = {*document, *document["identity"], *(key for metric in document["metrics"] for key in metric)}
    keys |= set(document["metrics"][0]["quantiles"])
    assert sorted(keys - NAMED) == []


def test_every_key_of_an_attempt_is_named(tmp_path):
    runs.write_attempt(
        tmp_path, "nuc", cell="c", repeat=1, attempt=1, reason="x", fault="bug", context=fake.context()
    )  # fmt: skip
    (document,) = runs.iter_attempts(tmp_path)
    section = set(re.findall(r"`([^`\n]+)`", TEXT[TEXT.index("## attempt.json") : TEXT.index("## plan.json")]))
    assert sorted(set(document) - section) == []


def test_every_column_and_every_file_is_named(tmp_path):
    assert sorted(set(catalogue._COLUMNS) - NAMED) == []
    for path in fake.simple_run(tmp_path).iterdir():
        assert path.name in TEXT


def test_the_types_of_the_columns():
    rows = re.findall(r"^\| ((?:`[a-z0-9_.]+`(?:, )?)+) \| (text|whole number|number) \|", TEXT, re.MULTILINE)
    said = {name: kind for names, kind in rows for name in re.findall(r"`([^`]+)`", names)}
    kinds = {"string": "text", "int64": "whole number", "double": "number"}
    assert said == {name: kinds[str(kind)] for name, kind in catalogue._COLUMNS.items()}


def test_the_schema_is_the_documents():
    assert f"| `run.json`, `attempt.json` | {runs.SCHEMA} |" in TEXT
    assert f"| `runs.parquet` | {catalogue.INDEX_VERSION.decode()} |" in TEXT


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run(tmp_path, monkeypatch, capsys, number):
    run = fake.simple_run(tmp_path / "results" / "nightly" / fake.EXECUTION)
    code = re.findall(r"^( *)```python\n(.*?)^\1```", TEXT, re.DOTALL | re.MULTILINE)[number]
    monkeypatch.chdir(run if number == 0 else tmp_path)
    exec("\n".join(line[len(code[0]) :] for line in code[1].splitlines()))
    out = capsys.readouterr().out
    assert ("gap_ns.cpu3" if number == 0 else "shared  idle") in out
