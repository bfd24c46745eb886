# SPDX-License-Identifier: Apache-2.0
"""Every gap as a row, in three formats that say the same."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UserError
from harness.store.export import export
from harness.store.gaptable import _BATCH, COLUMNS

from .attributed import GAPS, attributed_run, write_list

DOC = Path(__file__).parents[3] / "docs" / "formats.md"


def exported(path, kind) -> bytes:
    stream = io.BytesIO()
    assert export(path, kind, stream, gaps=True) == []
    return stream.getvalue()


def test_a_row_has_the_cause_and_who_it_was(tmp_path):
    folder = attributed_run(tmp_path / "e", state="suspect")
    rows = [json.loads(line) for line in exported(tmp_path, "jsonl").splitlines()]
    assert [row["cause"] for row in rows] == [gap["cause"] for gap in GAPS]
    assert rows[1] == {
        "campaign": "nightly",
        "execution": "e",
        "target": "nuc",
        "run": folder.name,
        "cell": "gap.shared.idle-000000000001",
        "state": "suspect",
        "role": "measured",
        "list": "gaps",
        "cpu": 3,
        "at_ns": 2_000_000,
        "length_ns": 9_000,
        "class": "interrupt",
        "cause": "call:flush_tlb_func",
        "chain": [[700, "vector:call_function_single"], [1_700, "call:flush_tlb_func"]],
        "more": 0,
        "address": None,
        "tid": None,
        "sender_cpu": 0,
        "sender_tid": 4711,
        "sender_task": "make",
        "sender_site": "smp_call_function_many_cond",
    }
    assert all(list(row) == list(COLUMNS) for row in rows)


def test_the_formats_have_the_same_rows(tmp_path):
    for repeat in (1, 2):
        attributed_run(tmp_path / "e", repeat=repeat)
    lines = pd.DataFrame([json.loads(line) for line in exported(tmp_path, "jsonl").splitlines()])
    lines["chain"] = [", ".join(f"{at} {what}" for at, what in chain) or None for chain in lines["chain"]]
    for name, frame in {
        "csv": pd.read_csv(io.BytesIO(exported(tmp_path, "csv"))),
        "parquet": pd.read_parquet(io.BytesIO(exported(tmp_path, "parquet"))),
    }.items():
        assert list(frame.columns) == list(COLUMNS), name
        pd.testing.assert_frame_equal(
            frame.astype(object).where(frame.notna(), None),
            lines.astype(object).where(lines.notna(), None),
            check_dtype=False,
        )
    assert len(lines) == 2 * len(GAPS)


def test_what_a_target_says_is_data(tmp_path):
    folder = attributed_run(tmp_path / "e")
    write_list(folder, "gaps", ['{"cpu":3,"at_ns":1,"gap_ns":2,"class":"interrupt","cause":"task:\\ud800,\\"a\\"\\n"}'])
    name = 'task:\\ud800,"a"\n'
    assert pd.read_csv(io.BytesIO(exported(tmp_path, "csv")))["cause"].tolist() == [name]
    assert pd.read_parquet(io.BytesIO(exported(tmp_path, "parquet")))["cause"].tolist() == [name]
    assert json.loads(exported(tmp_path, "jsonl").decode())["cause"] == 'task:\ud800,"a"\n'


def test_a_spreadsheet_obeys_no_target(tmp_path):
    sender = {"cpu": 0, "task": "=1+cmd|' /C x'"}
    gap = {"cpu": 3, "at_ns": 1, "gap_ns": 2, "class": "@SUM(A1)", "chain": [[-5, "+A1"]], "sender": sender}
    write_list(attributed_run(tmp_path / "e"), "gaps", [gap])
    [row] = pd.read_csv(io.BytesIO(exported(tmp_path, "csv"))).to_dict("records")
    assert (row["class"], row["chain"], row["sender_task"]) == ("'@SUM(A1)", "'-5 +A1", "'=1+cmd|' /C x'")
    assert row["at_ns"] == 1
    assert json.loads(exported(tmp_path, "jsonl").decode())["sender_task"] == sender["task"]


def test_more_gaps_than_are_held_at_a_time(tmp_path):
    folder = attributed_run(tmp_path / "e")
    write_list(folder, "gaps", [{"cpu": 3, "at_ns": at, "gap_ns": 1} for at in range(_BATCH + 1)])
    frame = pd.read_parquet(io.BytesIO(exported(tmp_path, "parquet")))
    assert frame["at_ns"].tolist() == list(range(_BATCH + 1))


def test_nothing_kept_is_an_empty_table(tmp_path):
    write_list(attributed_run(tmp_path / "e"), "gaps", [])
    assert pd.read_csv(io.BytesIO(exported(tmp_path, "csv"))).columns.tolist() == list(COLUMNS)
    assert len(pd.read_parquet(io.BytesIO(exported(tmp_path, "parquet")))) == 0
    assert exported(tmp_path, "jsonl") == b""


def test_only_tables_have_rows(tmp_path):
    with pytest.raises(UserError, match="gaps are no hlog"):
        export(tmp_path, "hlog", tmp_path / "x", gaps=True)
    assert not (tmp_path / "x").exists()


def test_the_columns_are_documented():
    section = DOC.read_text().partition("### Each gap as a row")[2].partition("\n#")[0]
    documented = [
        name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`([a-z_]+)`", row)
    ]
    assert documented == list(COLUMNS)
