# SPDX-License-Identifier: Apache-2.0
"""Exports: what other tools open."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from harness.errors import UserError
from harness.store import hlog
from harness.store.export import FORMATS, export
from harness.store.runs import iter_runs

from ..report import fake_execution as fake


@pytest.fixture
def execution(tmp_path):
    folder = tmp_path / "nightly" / fake.EXECUTION
    for repeat in (1, 2):
        fake.simple_run(folder, repeat=repeat, seed=repeat, started_ns=1_795_136_400_000_000_000 + repeat * 10**10)
    fake.simple_run(folder, repeat=3, seed=3, state="invalid", reasons=[fake.THROTTLED])
    return folder


def test_tables_have_the_same_rows(execution, tmp_path):
    paths = {name: tmp_path / f"x.{name}" for name in ("parquet", "csv", "jsonl")}
    assert [export(execution, name, path) for name, path in paths.items()] == [[], [], []]
    frames = [pd.read_parquet(paths["parquet"]), pd.read_csv(paths["csv"])]
    lines = [json.loads(line) for line in paths["jsonl"].read_text().splitlines()]
    for frame in frames:
        assert frame["p99.99"].dropna().tolist() == [line["p99.99"] for line in lines if line["p99.99"] is not None]
        assert frame["metric"].tolist() == [line["metric"] for line in lines]
    assert len(lines) == 12


def test_csv_has_the_digits_that_mean_something(tmp_path):
    """A rate is 370.0000104 because a run takes 1.00000002 s: a table says 370, Parquet all of it."""
    fake.simple_run(tmp_path / "e", gaps=370, duration_ns=1_000_000_021)
    export(tmp_path / "e", "csv", tmp_path / "x.csv")
    lines = [line for line in (tmp_path / "x.csv").read_text().splitlines() if ",gap_rate_hz," in line]
    assert ",370,373," in lines[0]
    export(tmp_path / "e", "parquet", tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert frame[frame.metric == "gap_rate_hz"]["value"].iloc[0] == 370 / 1_000_000_021 * 1e9
    quiet = pd.read_csv(tmp_path / "x.csv").query("metric == 'quiet_max_ns'")["value"].iloc[0]
    assert quiet == round(1_000_000_021 / 371)


def test_a_spreadsheet_obeys_no_target(tmp_path):
    folder = fake.simple_run(tmp_path / "e")
    document = json.loads((folder / "run.json").read_text())
    document["identity"]["cpu_model"] = "=HYPERLINK(A1)"
    (folder / "run.json").write_text(json.dumps(document))
    export(tmp_path / "e", "csv", tmp_path / "x.csv")
    export(tmp_path / "e", "parquet", tmp_path / "x.parquet")
    assert set(pd.read_csv(tmp_path / "x.csv")["cpu_model"]) == {"'=HYPERLINK(A1)"}
    assert set(pd.read_parquet(tmp_path / "x.parquet")["cpu_model"]) == {"=HYPERLINK(A1)"}


@pytest.mark.parametrize("name", FORMATS)
def test_of_what_is_not_there_no_folder_is_begun(tmp_path, name):
    with pytest.raises(UserError):
        export(tmp_path / "nowhere", name, tmp_path / "new" / "x")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_gets_the_same_bytes_as_a_file(execution, tmp_path, name):
    stream = io.BytesIO()
    export(execution, name, stream)
    export(execution, name, tmp_path / "x")
    assert stream.getvalue() == (tmp_path / "x").read_bytes()


def test_one_log_of_all_runs_opens_in_the_library(execution, tmp_path):
    export(execution, "hlog", tmp_path / "x.hlog")
    reader = HistogramLogReader(str(tmp_path / "x.hlog"), HdrHistogram(1, 10_000_000_000, 2))
    tags = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        tags.append((histogram.get_tag(), histogram.get_total_count()))
    reader.close()
    runs = {f"nuc/{run.name}/gap_ns.cpu3": run.counts("gap_ns", 3).total for run in iter_runs(execution)}
    assert dict(tags) == runs
    assert len(tags) == 3


def test_a_cell_is_merged_over_its_valid_runs(execution, tmp_path):
    export(execution, "hlog", tmp_path / "x.hlog", merge_cells=True)
    (interval,) = hlog.read_log(tmp_path / "x.hlog")
    valid = [run for run in iter_runs(execution) if run.state == "valid"]
    assert interval.tag == "nuc/gap.shared.idle-000000000001/gap_ns.cpu3"
    assert interval.decode().total == sum(run.counts("gap_ns", 3).total for run in valid)
    assert interval.max_value == max(run.metrics[0]["max"] for run in valid)
    assert (interval.start_s, interval.length_s) == (1_795_136_410.0, 20.0)


def test_what_cannot_be_read_is_named(execution):
    broken = next(iter_runs(execution)).path / "histograms.hlog"
    broken.write_text("Tag=gap_ns.cpu3,0,1,2,HISTF\n")
    stream = io.BytesIO()
    assert len(export(execution, "hlog", stream)) == 1
    assert stream.getvalue().count(b"Tag=nuc") == 2


def test_an_unknown_format_says_what_there_is(execution):
    with pytest.raises(UserError, match="'xls'") as caught:
        export(execution, "xls", io.BytesIO())
    assert "parquet" in (caught.value.advice or "")
