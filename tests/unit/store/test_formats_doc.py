# SPDX-License-Identifier: Apache-2.0
"""docs/formats.md names every key that is written, and its examples run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.campaign import execution as executions
from harness.campaign.conversation import AGENT_EVENTS
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.store import catalogue, runs
from harness.store.runs import load_run

from ..report import fake_execution as fake

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
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
    section = set(re.findall(r"`([^`\n]+)`", TEXT[TEXT.index("## attempt.json") : TEXT.index("## plan.json\n")]))
    assert sorted(set(document) - section) == []


def test_every_column_and_every_file_is_named(tmp_path):
    assert sorted(set(catalogue._COLUMNS) - NAMED) == []
    for path in fake.simple_run(tmp_path).iterdir():
        assert path.name in TEXT


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def keys_listed(title: str) -> set[str]:
    rows = re.findall(r"^\| ((?:`[a-z0-9_-]+`(?:, )?)+) \|", section(title), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def test_every_key_of_a_plan_is_named(tmp_path):
    campaign = "{campaign: c, targets: [local], benches: [gap], axes: {load: [{x: [sleep, '1']}]}, duration: 1s}"
    (tmp_path / "c.yaml").write_text(campaign)
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), load_inventory(None))
    document = json.loads((executions.create(plan, tmp_path / "results", None).path / "plan.json").read_text())
    assert keys_listed("plan.json") == set(document)
    assert set(document["cells"][0]) <= set(re.findall(r"`([^`\n]+)`", section("plan.json")))


def test_every_kind_of_event_is_named():
    rooms = [*(ROOT / "harness" / "campaign").glob("*.py"), *(ROOT / "harness" / "agent").glob("*.py")]
    emitted = {kind for path in rooms for kind in re.findall(r"emit\(\s*\"([a-z-]+)\"", path.read_text())}
    assert {"run-stored", "lane-finished"} <= emitted
    assert keys_listed("events.jsonl") >= emitted | set(AGENT_EVENTS)


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
