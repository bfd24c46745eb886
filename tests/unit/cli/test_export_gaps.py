# SPDX-License-Identifier: Apache-2.0
"""``export --gaps`` and ``--format perfetto``: what belongs together, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.export import export

from ..store.attributed import GAPS, attributed_run, write_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return attributed_run(tmp_path / "results" / "nightly" / "20261120T010000Z")


def exported(*argv: object) -> Result:
    return CliRunner().invoke(export, [str(each) for each in argv])


def test_a_row_per_gap(folder: Path) -> None:
    done = exported(folder, "-f", "csv", "--gaps")
    assert done.exit_code == 0
    header, *rows = done.stdout.splitlines()
    assert header.startswith("campaign,execution,target,run,")
    assert len(rows) == len(GAPS)


def test_a_trace_of_a_campaign_to_a_file(folder: Path, tmp_path: Path) -> None:
    write_list(folder, "gaps", ["[]"])
    out = tmp_path / "it.pftrace"
    done = exported(tmp_path / "results" / "nightly", "-f", "perfetto", "-o", out, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert (told["format"], told["file"]) == ("perfetto", str(out))
    assert ["not of their shape: 1" in each for each in told["skipped"]] == [True]
    assert "isolbench: skipped: " in done.stderr
    assert out.stat().st_size > 500


@pytest.mark.parametrize(
    "argv", [["-f", "hlog", "--gaps"], ["-f", "perfetto", "--gaps"], ["-f", "perfetto", "--merge"]]
)
def test_what_does_not_go_together_is_refused(folder: Path, argv: list[str]) -> None:
    done = exported(folder, *argv)
    assert (done.exit_code, "belongs to --format" in done.stderr) == (2, True)
    assert done.stdout == ""


def test_a_reader_that_fails_leaves_the_old_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "it.csv"
    out.write_text("old")
    done = exported(tmp_path / "nowhere", "-f", "csv", "--gaps", "-o", out, "--results", tmp_path / "results")
    assert done.exit_code != 0
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []
