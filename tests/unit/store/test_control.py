# SPDX-License-Identifier: Apache-2.0
"""A run with a control: kept, named apart, and never taken for what was measured."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.agent.spec import SpecError
from harness.stats.budgets import Limit, values_of
from harness.store import catalogue, hlog
from harness.store.export import export
from harness.store.files import BrokenResult
from harness.store.runs import load_run, read_events, write_run

from ..report import fake_execution as fake

Made = tuple[dict[str, Any], dict[str, bytes]]


@pytest.fixture
def made() -> Made:
    """A run on CPU 3, and beside it a control on CPU 0 that saw gaps of milliseconds."""
    rng = np.random.default_rng(1)
    record, files = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(2_500, 0.4, 0, 400)]))
    beside, beside_files = fake.record(histogram=fake.counts(rng, quiet=40, noise=[(2_000_000, 0.1, 0, 4000)]), cpu=0)
    files |= {f"control.{name}": data for name, data in beside_files.items() if name != "log.txt"}
    reason = {"rule": "ring-loss", "state": "suspect", "text": "3 of 9", "advice": ""}
    record["control"] = {
        "cpu": 0,
        "status": "ok",
        "validity": {"state": "suspect", "reasons": [reason]},
        "result": beside["results"][0],
    }
    return signed(record, files)


def signed(record: dict[str, Any], files: dict[str, bytes]) -> Made:
    listed = [{"name": n, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()]
    return {**record, "files": listed}, files


def context() -> Any:
    return replace(fake.context(), control={**fake.METRICS, "quiet_max_ns": {"better": "higher"}})


def kept(tmp_path: Path, made: Made) -> Path:
    return write_run(tmp_path / "nightly" / fake.EXECUTION, "nuc", *made, context())


def test_its_metrics_have_names_of_their_own(tmp_path: Path, made: Made) -> None:
    folder = kept(tmp_path, made)
    run = load_run(folder)
    [measured] = [metric for metric in run.metrics if metric["metric"] == "gap_ns"]
    [beside] = [metric for metric in run.metrics if metric["metric"] == "control.gap_ns"]
    assert (measured["cpu"], measured["gate"], measured.get("role")) == (3, "p99.99", None)
    assert (beside["cpu"], beside["gate"], beside["role"]) == (0, None, "control")
    assert beside["max"] > 1_000_000 > measured["max"]
    assert {each["metric"].startswith("control.") for each in run.metrics if each.get("role") == "control"} == {True}
    better = {each["metric"]: each["better"] for each in run.metrics}
    assert (better["control.quiet_max_ns"], better["control.stolen_ppm"]) == ("higher", "lower")
    assert (run.control["cpu"], run.control["status"], run.control["validity"]["state"]) == (0, "ok", "suspect")
    assert run.state == "valid"  # the control's troubles are its own
    assert len(run.document["results"]) == 1


def test_log_and_events(tmp_path: Path, made: Made) -> None:
    folder = kept(tmp_path, made)
    tags = sorted(interval.tag for interval in hlog.read_log(folder / "histograms.hlog"))
    assert tags == ["control.gap_ns.cpu0", "gap_ns.cpu3"]
    run = load_run(folder)
    assert run.counts("control.gap_ns", 0).total != run.counts("gap_ns", 3).total
    assert {event["cpu"] for event in read_events(folder, "gaps")} == {3}
    assert {event["cpu"] for event in read_events(folder, "control.gaps")} == {0}
    assert set(run.document["files"]) >= {"gaps.jsonl.gz", "control.gaps.jsonl.gz"}


def test_the_catalogue_has_its_role_and_its_own_state(tmp_path: Path, made: Made) -> None:
    kept(tmp_path, made)
    frame = harness.load(tmp_path / "nightly")
    assert list(frame[frame.metric == "gap_ns"].role) == ["measured"]
    [row] = [row for _, row in frame[frame.metric == "control.gap_ns"].iterrows()]
    assert (row["role"], row["cpu"], row["state"], row["reasons"]) == ("control", 0, "suspect", "ring-loss")
    assert frame.histogram(row).get_total_count() > 0
    assert set(frame[frame.role == "measured"].state) == {"valid"}
    assert "role" in catalogue._COLUMNS
    out = io.BytesIO()
    export(tmp_path / "nightly", "jsonl", out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {line["role"] for line in lines if line["metric"].startswith("control.")} == {"control"}
    assert {line["role"] for line in lines if not line["metric"].startswith("control.")} == {"measured"}


def test_merged_exports_keep_it_apart(tmp_path: Path, made: Made) -> None:
    kept(tmp_path, made)
    out = io.BytesIO()
    export(tmp_path / "nightly", "hlog", out, merge_cells=True)
    tags = [interval.tag for interval in hlog.parse_log(out.getvalue().decode())]
    assert sorted(tag.rpartition("/")[2] for tag in tags) == ["control.gap_ns.cpu0", "gap_ns.cpu3"]


def test_no_budget_looks_at_it(tmp_path: Path, made: Made) -> None:
    run = load_run(kept(tmp_path, made))
    [value] = values_of(run, [Limit("gap", "gap_ns", "p99.99999", 1e6)])
    assert value.value is not None
    assert value.value < 1e6
    [scalar] = values_of(run, [Limit("gap", "stolen_ppm", None, 1e6)])
    [own] = [each["value"] for each in run.metrics if each["metric"] == "stolen_ppm"]
    assert scalar.value == own


def test_one_that_was_unavailable_is_told(tmp_path: Path, made: Made) -> None:
    record, files = made
    record["control"] = {"cpu": 0, "status": "unavailable", "reason": "no such CPU"}
    own = {name: data for name, data in files.items() if not name.startswith("control.")}
    run = load_run(kept(tmp_path, signed(record, own)))
    assert run.control == {"cpu": 0, "status": "unavailable", "reason": "no such CPU"}
    assert run.state == "valid"
    assert not [each for each in run.metrics if "role" in each]
    assert len(harness.load(tmp_path / "nightly")) == 4


@pytest.mark.parametrize("damage", ["missing", "garbage", "shape", "lost"])
def test_one_that_cannot_be_used_costs_no_run(tmp_path: Path, made: Made, damage: str) -> None:
    record, files = copy.deepcopy(made)
    if damage == "missing":
        del files["control.gap_ns.cpu0.hdr"]
    elif damage == "garbage":
        files["control.gap_ns.cpu0.hdr"] = b"\0" * 40
    elif damage == "shape":
        record["control"]["result"]["histograms"] = 7
    else:
        record["control"]["result"]["histograms"]["gap_ns"]["recorded"] += 1
    run = load_run(kept(tmp_path, signed(record, files)))
    assert run.state == "valid"
    assert [each["cpu"] for each in run.metrics if each["metric"] == "gap_ns"] == [3]
    if damage == "lost":
        assert [each["rule"] for each in run.control["validity"]["reasons"]] == ["ring-loss", "counts-not-conserved"]
    else:
        assert run.control["status"] == "unavailable"
        assert run.control["reason"]


def test_a_record_without_one_has_no_key_for_it(tmp_path: Path) -> None:
    run = load_run(fake.simple_run(tmp_path))
    assert "control" not in run.document
    assert run.control == {}


@pytest.mark.parametrize("control", [7, "ok", {"cpu": 0, "status": "odd"}, {"cpu": 0, "status": "ok"}])
def test_a_control_of_another_shape_is_no_record(tmp_path: Path, made: Made, control: Any) -> None:
    record, files = made
    with pytest.raises(SpecError):
        kept(tmp_path, ({**record, "control": control}, files))


def test_a_run_json_with_another_shape_is_broken(tmp_path: Path, made: Made) -> None:
    folder = kept(tmp_path, made)
    document = json.loads((folder / "run.json").read_text())
    for control in ([], {"validity": 1}):
        (folder / "run.json").write_text(json.dumps({**document, "control": control}))
        with pytest.raises(BrokenResult, match="control is not of its shape"):
            load_run(folder)
