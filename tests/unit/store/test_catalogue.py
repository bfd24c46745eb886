# SPDX-License-Identifier: Apache-2.0
"""The catalogue: a table that can be thrown away at any time, and rows that open their histograms."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest

import harness
from harness.errors import UserError
from harness.store import catalogue
from harness.store.catalogue import INDEX_NAME, Catalogue, load
from harness.store.hdr import HistogramError

from ..report import fake_causes
from ..report import fake_execution as fake


@pytest.fixture
def campaign(tmp_path):
    folder = tmp_path / "results" / "nightly"
    for execution, target, repeat in (("20261120T010000Z", "nuc", 1), ("20261120T010000Z", "nuc", 2),
                                      ("20261121T010000Z", "box", 1)):  # fmt: skip
        fake.simple_run(folder / execution, target, repeat=repeat, state="valid" if repeat == 1 else "suspect",
                        reasons=[] if repeat == 1 else [fake.STEAL, fake.STEAL])  # fmt: skip
    return folder


def count_reads(monkeypatch) -> list[str]:
    read: list[str] = []
    real = catalogue.load_run
    monkeypatch.setattr(catalogue, "load_run", lambda path: (read.append(path.name), real(path))[1])
    return read


def test_a_row_per_run_metric_and_cpu(campaign):
    frame = harness.load(campaign)
    assert isinstance(frame, Catalogue)
    assert len(frame) == 3 * 4
    row = frame[(frame.target == "nuc") & (frame.repeat == 2) & (frame.metric == "gap_ns")].iloc[0]
    assert (row["mode"], row["where"], row["sched"], row["hold"]) == ("shared", "shared", "other", "none")
    assert (row["bench"], row["load"], row["campaign"], row["execution"]) == (
        "gap",
        "idle",
        "nightly",
        "20261120T010000Z",
    )
    assert (row["cpu"], row["unit"], row["kind"], row["overflow"], row["session"]) == (3, "ns", "histogram", 0, 1)
    assert (row["state"], row["reasons"], row["kernel"]) == ("suspect", "steal", fake.FACTS["kernel"]["release"])
    assert 0 < row["min"] <= row["p50"] <= row["p99.999"] <= row["max"]
    assert row["p99.999"] <= row["p99.9999"] <= row["p99.99999"] <= row["max"]
    assert (row["params"], row["duration_ns"], row["settle_ns"]) == ("threshold=1000ns", 10**10, 10**9)
    rate = frame[(frame.target == "box") & (frame.metric == "gap_rate_hz")].iloc[0]
    assert rate["value"] == pytest.approx(39.3)
    assert pd.isna(rate["p50"])


def test_variants_can_be_told_apart(tmp_path):
    for number, threshold in enumerate(("1000ns", "5000ns"), 1):
        params = {"threshold": threshold, "ring": "64"}
        fake.simple_run(tmp_path / "n" / "e", cell=f"gap.shared.idle-{number:012x}", params=params)
    frame = load(tmp_path / "n")
    gaps = frame[frame.metric == "gap_ns"]
    assert sorted(gaps.groupby(["mode", "params"]).groups) == [
        ("shared", "ring=64 threshold=1000ns"),
        ("shared", "ring=64 threshold=5000ns"),
    ]


def test_stolen_time_by_class_is_in_the_rows_of_its_cpu(tmp_path):
    folder = fake_causes.attributed(tmp_path / "n" / "e", causes=fake_causes.QUIET)
    fake_causes.attributed(tmp_path / "n" / "e", level="nothing", repeat=2)
    fake.simple_run(tmp_path / "n" / "e")
    fake.with_control(folder, cpu=0)
    frame = load(tmp_path / "n")
    gaps = frame[frame.metric == "gap_ns"].set_index("attribution_level", drop=False)
    [told] = [r["attribution"]["classes"] for r in json.loads((folder / "run.json").read_text())["results"]]
    known = gaps.loc["tracepoints"]
    assert known["attribution"] == "perf"
    for name in ("interrupt", "exception", "syscall", "unexplained"):
        assert (known[f"{name}_count"], known[f"{name}_stolen_ns"]) == tuple(told[name].values())
    assert known["unexplained_stolen_ns"] > known["interrupt_stolen_ns"] > known["syscall_stolen_ns"] == 0
    assert pd.isna(gaps.loc["nothing"]["interrupt_count"])
    rest = frame[frame.attribution_level.isna()]
    assert set(rest[rest.role == "measured"].attribution) == {"off"}
    assert len(rest[rest.role == "control"]) == 4


@pytest.mark.parametrize(
    "said",
    [
        {"classes": ["interrupt"], "level": 3},
        {"classes": {"interrupt": 7, "syscall": {"count": "9", "stolen_ns": 10**30}}, "level": None},
    ],
)
def test_what_a_target_says_of_causes_costs_no_run(tmp_path, said):
    folder = fake_causes.attributed(tmp_path / "n" / "e", causes=fake_causes.QUIET)
    document = json.loads((folder / "run.json").read_text())
    document["results"] = [[], {**document["results"][0], "attribution": said}]
    (folder / "run.json").write_text(json.dumps(document))
    frame = load(tmp_path / "n")
    assert not frame.attrs["warnings"]
    assert len(frame)
    assert frame[["attribution_level", "interrupt_count", "syscall_count", "syscall_stolen_ns"]].isna().all(axis=None)


def test_every_place_can_be_loaded(campaign):
    assert len(load(campaign.parent)) == len(load(campaign)) == 12
    one = campaign / "20261120T010000Z"
    assert len(load(one)) == len(load(one / "runs" / "nuc")) == 8
    assert len(load(next((one / "runs" / "nuc").iterdir()))) == 4
    with pytest.raises(UserError, match="no such folder"):
        load(campaign / "none")


def test_an_empty_folder_is_an_empty_table(tmp_path):
    frame = load(tmp_path)
    assert len(frame) == 0
    assert "p99.99" in frame.columns


def test_a_row_opens_its_histogram_however_it_was_taken(campaign):
    frame = load(campaign)
    histograms = frame[frame.kind == "histogram"].sort_values("max", ascending=False)
    expected = [int(row["recorded"]) for _, row in histograms.iterrows()]
    assert [histograms.histogram(row).get_total_count() for _, row in histograms.iterrows()] == expected
    assert [histograms.histogram(label).get_total_count() for label in histograms.index] == expected
    assert [histograms.histogram(row).get_total_count() for row in histograms.itertuples()] == expected
    top = histograms.iloc[0]
    assert histograms.histogram(top).get_value_at_percentile(50) == top["p50"]


def test_an_unpinned_run_has_no_cpu_and_a_histogram(tmp_path):
    fake.simple_run(tmp_path, cpu=None)
    frame = load(tmp_path)
    row = frame[frame.metric == "gap_ns"].iloc[0]
    assert pd.isna(row["cpu"])
    assert frame.histogram(row).get_total_count() == row["recorded"]


def test_a_scalar_has_no_histogram_and_a_damaged_one_is_named(campaign):
    frame = load(campaign)
    with pytest.raises(UserError, match="stolen_ppm is a scalar"):
        frame.histogram(frame[frame.metric == "stolen_ppm"].iloc[0])
    row = frame[frame.metric == "gap_ns"].iloc[0]
    with open(os.path.join(row["path"], "histograms.hlog"), "w") as file:
        file.write("Tag=gap_ns.cpu3,0,1,2,HISTFAAA\n")
    with pytest.raises(HistogramError):
        frame.histogram(row)


def test_only_new_runs_are_read_again(campaign, monkeypatch):
    first = load(campaign)
    read = count_reads(monkeypatch)
    pd.testing.assert_frame_equal(load(campaign), first)
    assert read == []
    new = fake.simple_run(campaign / "20261122T010000Z", "nuc", repeat=5)
    assert len(load(campaign)) == 16
    assert read == [new.name]


def test_runs_that_are_gone_or_made_anew_are_noticed(campaign, monkeypatch):
    load(campaign)
    shutil.rmtree(campaign / "20261121T010000Z")
    assert set(load(campaign)["target"]) == {"nuc"}
    folder = next((campaign / "20261120T010000Z" / "runs" / "nuc").iterdir())
    name = folder.name
    shutil.rmtree(folder)
    fake.simple_run(
        campaign / "20261120T010000Z", "nuc", repeat=int(name[-1]), state="invalid", reasons=[fake.THROTTLED]
    )
    assert "invalid" in set(load(campaign)["state"])


@pytest.mark.parametrize("damage", ["rubbish", "other", "old"])
def test_an_index_that_is_no_use_is_rebuilt(campaign, damage):
    first = load(campaign)
    index = campaign / INDEX_NAME
    if damage == "rubbish":
        index.write_bytes(b"PAR1 no")
    elif damage == "other":
        pd.DataFrame({"a": [1]}).to_parquet(index)
    else:
        table = pq.read_table(index)
        pq.write_table(table.replace_schema_metadata({b"isolbench": b"0"}), index)
    pd.testing.assert_frame_equal(load(campaign), first)
    assert pq.read_table(index).schema.metadata[b"isolbench"] == catalogue.INDEX_VERSION


def test_an_index_that_cannot_be_written_is_no_error(campaign, monkeypatch):
    def refuse(path, data):
        raise harness.store.files.EnvironmentFault(f"{path}: Read-only file system")

    monkeypatch.setattr(catalogue, "write_file", refuse)
    assert len(load(campaign)) == 12
    assert not (campaign / INDEX_NAME).exists()


def test_the_index_has_no_path_of_this_machine(campaign):
    load(campaign)
    assert set(pq.read_table(campaign / INDEX_NAME)["path"].to_pylist()) == {
        f"{execution}/runs/{target}/gap.shared.idle-000000000001-r{repeat}"
        for execution, target, repeat in (("20261120T010000Z", "nuc", 1), ("20261120T010000Z", "nuc", 2),
                                          ("20261121T010000Z", "box", 1))
    }  # fmt: skip


def test_broken_runs_are_named_and_the_rest_is_there(campaign):
    path = next((campaign / "20261120T010000Z" / "runs" / "nuc").iterdir()) / "run.json"
    document = json.loads(path.read_text())
    document["metrics"][0]["recorded"] = "many"
    path.write_text(json.dumps(document))
    frame = load(campaign)
    assert len(frame) == 8
    (warning,) = frame.attrs["warnings"]
    assert str(path) in warning


@pytest.mark.parametrize("key", ["duration_ns", "bench"])
def test_what_does_not_fit_its_column_is_named_and_the_rest_is_there(campaign, key):
    path = next((campaign / "20261120T010000Z" / "runs" / "nuc").iterdir()) / "run.json"
    document = json.loads(path.read_text())
    document["spec"][key] = "long" if key == "duration_ns" else 7
    path.write_text(json.dumps(document))
    frame = load(campaign)
    assert len(frame) == 8
    (warning,) = frame.attrs["warnings"]
    assert warning.startswith(f"{path}: not as it should be: ")


def test_help_stays_cheap():
    """Importing the package loads nothing that costs time; the budget of the command line hangs on it."""
    heavy = "{'numpy', 'pandas', 'pyarrow', 'jinja2', 'rich', 'hdrh', 'pydantic', 'fabric'}"
    code = f"import sys, harness; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert io.StringIO(harness.__doc__ or "").readline().startswith("isolbench:")


WORDS = ("target", "bench", "probe", "mode", "provider", "load", "disturbance", "kernel, boot profile", "campaign",
         "execution", "cell", "run, attempt", "session", "lane", "batch", "spool, undo", "series", "gap", "entry",
         "verdict")  # fmt: skip


def test_the_glossary_has_every_word():
    lines = (harness.__doc__ or "").splitlines()
    assert [word for word in WORDS if word not in lines] == []
