# SPDX-License-Identifier: Apache-2.0
"""Budgets: the median over a cell's runs is judged, and what is invalid or unreadable does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.campaign import execution as executions
from harness.campaign.budgets import judged
from harness.campaign.execution import Execution
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from harness.stats.budgets import FAILED, Verdict

from ..report import fake_execution as fake

CELL = "gap.shared.idle-000000000001"


def execution(folder: Path, *budgets: dict[str, Any]) -> Execution:
    campaign = {"campaign": "c", "targets": ["local"], "benches": ["gap"], "duration": "10s", "budgets": list(budgets)}
    (folder / "c.yaml").write_text(json.dumps(campaign))
    plan = build_plan(load_campaign(folder / "c.yaml"), load_inventory(None))
    return executions.create(plan, folder / "results", None)


def add(made: Execution, repeat: int, noise_ns: float, state: str = "valid") -> Path:
    histogram = fake.counts(np.random.default_rng(repeat), quiet=40, noise=[(noise_ns, 0.01, 0, 100_000)])
    return fake.simple_run(made.path, "local", repeat=repeat, histogram=histogram, state=state)


def over_budget(made: Execution) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in judged(made) if verdict.result == FAILED)


def p9999(at_most: str, quantile: str = "p99.99") -> dict[str, Any]:
    return {"bench": "gap", "metric": "gap_ns", "quantile": quantile, "at_most": at_most}


def test_the_median_run_is_judged(tmp_path: Path) -> None:
    made = execution(tmp_path, p9999("10us"))
    add(made, 1, 5_000)
    add(made, 2, 50_000)
    add(made, 3, 6_000)
    assert over_budget(made) == ()
    add(made, 4, 50_000)
    add(made, 5, 50_000)
    (over,) = over_budget(made)
    assert (over.target, over.bench, over.mode, over.load, over.cell) == ("local", "gap", "shared", "idle", CELL)
    assert (over.metric, over.quantile, over.at_most, over.runs, over.state) == ("gap_ns", "p99.99", 10_000, 5, "valid")
    assert over.value is not None
    assert 49_000 < over.value < 51_000
    assert over.sentence.startswith("local, gap, shared, idle: gap_ns p99.99 is 5")
    assert over.sentence.endswith(" ns, at most 10,000 ns allowed (median of 5 runs)")


def test_what_is_invalid_does_not_count(tmp_path: Path) -> None:
    made = execution(tmp_path, p9999("10us"))
    add(made, 1, 5_000)
    for repeat in (2, 3):
        add(made, repeat, 50_000, "invalid")
    assert over_budget(made) == ()


def test_suspect_runs_count_only_where_none_is_valid(tmp_path: Path) -> None:
    """As in the report: else a night's tables and its exit code would be of different runs."""
    made = execution(tmp_path, p9999("10us"))
    for repeat in (1, 2):
        add(made, repeat, 50_000, "suspect")
    (over,) = over_budget(made)
    assert (over.runs, over.state) == (2, "suspect")
    assert over.sentence.endswith("(median of 2 suspect runs)")
    add(made, 3, 5_000)
    assert over_budget(made) == ()


def test_a_quantile_that_is_not_stored_is_read_from_the_histogram(tmp_path: Path) -> None:
    made = execution(tmp_path, p9999("1us", "p99.97"))
    add(made, 1, 50_000)
    assert len(over_budget(made)) == 1


@pytest.mark.parametrize("damage", ["histograms.hlog", "run.json"])
def test_what_is_damaged_does_not_count(damage: str, tmp_path: Path) -> None:
    made = execution(tmp_path, p9999("1us", "p99.97"))
    (add(made, 1, 50_000) / damage).write_text("")
    assert over_budget(made) == ()


def test_a_scalar(tmp_path: Path) -> None:
    made = execution(tmp_path, {"bench": "gap", "metric": "stolen_ppm", "at_most": "0.5"})
    add(made, 1, 50_000)
    (over,) = over_budget(made)
    assert (over.metric, over.quantile, over.unit) == ("stolen_ppm", None, "ppm")
    assert "stolen_ppm is" in over.sentence


def test_no_budget_no_reading(tmp_path: Path) -> None:
    assert judged(execution(tmp_path)) == ()
