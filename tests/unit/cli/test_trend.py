# SPDX-License-Identifier: Apache-2.0
"""``trend``: a row an execution, what changed between rows, what is chosen, and what a machine gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..report import fake_execution as fake
from .test_cli import isolbench

DAYS = ("20261118T010000Z", "20261119T010000Z", "20261120T010000Z")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab")
    for number, day in enumerate(DAYS, 1):
        kernel: dict[str, Any] = dict(fake.FACTS["kernel"])
        if number == 3:
            kernel |= {"release": "6.19.0\x1b[31m", "cmdline": kernel["cmdline"].replace("nohz_full=3 ", "quiet ")}
        for repeat in (1, 2):
            for place, mode in enumerate(("pinned", "fifo"), 1):
                values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
                values[fake.GEOMETRY.index(1000 * number * place)] = 10**6
                fake.simple_run(
                    path / "results" / "nightly" / day, repeat=repeat, cell=f"gap.{mode}.idle-00000000000{place}",
                    mode=fake.MODES[mode], histogram=fake.Counts(fake.GEOMETRY, values),
                    facts={**fake.FACTS, "kernel": kernel},
                    state="invalid" if (number, repeat, mode) == (2, 2, "pinned") else "valid",
                )  # fmt: skip
    return path


def trend(lab: Path, *words: str) -> str:
    done = isolbench("trend", "nightly", *words, cwd=lab)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_row_an_execution_and_what_changed_between_them(lab: Path) -> None:
    text = trend(lab, "--mode", "pinned")
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "nightly: 3 series, 3 executions"
    assert "  gap, pinned, load idle: gap_ns p99.99, median of runs of 10 s" in lines
    start = next(number for number, line in enumerate(lines) if line.startswith("  execution "))
    rows = [re.split(r"  +", line.strip()) for line in lines[start:]]
    rows = [row[:8] for row in rows]
    assert rows[0] == ["execution", "median", "low", "high", "max", "v/s/i", "before", "earlier"]
    assert rows[1] == [DAYS[0], "1.00 µs", "1.00 µs", "1.00 µs", "1.00 µs", "2/0/0", "-", "-"]
    assert rows[2][1:] == ["2.01 µs", "2.01 µs", "2.01 µs", "2.01 µs", "1/0/1", "+100 %", "+100 %"]
    assert rows[3] == ["kernel: 6.18.5-rt2, then 6.19.0\\x1b[31m"]
    assert rows[4] == ["command line: -nohz_full=3 +quiet"]
    assert rows[5] == [DAYS[2], "3.01 µs", "3.01 µs", "3.01 µs", "3.01 µs", "2/0/0", "+49.8 %", "+99.8 %"]
    alone = trend(lab, "--mode", "pinned", "--metric", "gap_ns").splitlines()
    assert max(len(line) for line in alone if line.startswith("  20")) <= 80


def test_what_was_stolen_stands_beside_the_gate(lab: Path) -> None:
    """A gate quantile of 10 ns says nothing where a core loses a fifth of its time."""
    lines = trend(lab, "--mode", "fifo").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  execution "))
    rows = [re.split(r"  +", line.strip()) for line in lines[start:] if line.startswith("  ")]
    assert rows[0][-2:] == ["gap_rate_hz", "stolen_ppm"]
    assert re.fullmatch(r"[\d,.]+", rows[1][-1])
    assert re.fullmatch(r"[\d,.]+ \(\+\d+ %\)", rows[2][-1])
    assert sum(line.startswith("  gap, fifo") for line in lines) == 1  # no table of its own


def test_what_is_chosen(lab: Path) -> None:
    assert trend(lab).splitlines()[0] == "nightly: 6 series, 3 executions"
    assert trend(lab, "--last", "1").splitlines()[0] == "nightly: 6 series, 1 execution"
    text = trend(lab, "--metric", "gap_rate_hz", "--target", "nuc", "--bench", "gap", "--load", "idle")
    assert "gap_rate_hz, median" in text
    assert " max " not in text
    done = isolbench("trend", "nightly", "--mode", "fife", cwd=lab)
    assert done.returncode == 2
    assert "no mode 'fife' in" in done.stderr
    assert "(there: fifo, pinned)" in done.stderr


@pytest.mark.parametrize("name", ["nightly", "results/nightly", f"results/nightly/{DAYS[1]}"])
def test_a_campaign_by_name_by_folder_and_by_one_of_its_executions(lab: Path, name: str) -> None:
    assert isolbench("trend", name, cwd=lab).stdout.startswith("nightly: 6 series, 3 executions")


def test_a_campaign_that_is_not_there(lab: Path) -> None:
    done = isolbench("trend", "nigtly", cwd=lab)
    assert done.returncode == 2
    assert "results/ holds nightly" in done.stderr


def test_a_machine_gets_the_same(lab: Path) -> None:
    found = json.loads(trend(lab, "--json", "--last", "2"))
    assert found["campaign"] == "nightly"
    fifo, pinned = (each for each in found["series"] if each["metric"] == "gap_ns")
    assert {each["metric"] for each in found["series"]} == {"gap_ns", "gap_rate_hz", "stolen_ppm"}
    assert [point["execution"] for point in pinned["points"]] == list(DAYS[1:])
    assert pinned["points"][0]["states"] == {"valid": 1, "suspect": 0, "invalid": 1}
    assert pinned["points"][0]["change"] == pytest.approx(1, abs=0.02)
    assert [change["what"] for change in fifo["points"][1]["changed"]] == ["kernel", "cmdline"]


def test_a_broken_run_is_named_and_the_rest_shown(lab: Path) -> None:
    broken = lab / "results" / "nightly" / DAYS[0] / "runs" / "nuc" / "gap.fifo.idle-000000000002-r9"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    try:
        done = isolbench("trend", "nightly", cwd=lab)
        assert done.returncode == 0
        assert f"skipped: {broken / 'run.json'}: not JSON" in done.stderr
        assert "6 series" in done.stdout
    finally:
        (broken / "run.json").unlink()
        broken.rmdir()
