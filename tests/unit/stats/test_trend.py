# SPDX-License-Identifier: Apache-2.0
"""Series over executions: which runs a point is of, what it is compared with, and what else changed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.trend import COLUMNS, IDENTITY, Change, series
from harness.store.catalogue import _COLUMNS


def row(execution: str, repeat: int = 1, value: int | None = 100, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "target": "nuc", "bench": "gap", "params": "threshold=1000ns", "mode": "pinned", "load": "idle",
        "duration_ns": 10**10, "settle_ns": 10**9, "cell": "gap.pinned.idle-1", "role": "measured", "metric": "gap_ns",
        "kind": "histogram", "unit": "ns", "better": "lower", "gate": "p99.99", "execution": execution,
        "repeat": repeat, "state": "valid", "recorded": 10**8, "max": 5000, "p99.99": value, "kernel": "6.12",
        "started_ns": repeat,
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS), **known, **more}


def test_the_catalogue_has_what_is_needed() -> None:
    assert set(COLUMNS) <= set(_COLUMNS)


def test_a_point_is_the_median_of_the_valid_runs_with_its_spread_and_number() -> None:
    rows = [row("1", 1, 10), row("1", 2, 30, max=9000), row("1", 3, 20), row("1", 4, 99, state="suspect"),
            row("1", 5, 999, state="invalid", max=10**6)]  # fmt: skip
    (found,) = series(rows)
    (point,) = found.points
    assert (point.median, point.low, point.high, point.runs, point.basis) == (20, 10, 30, 3, "valid")
    assert (point.longest, point.states) == (9000, {"valid": 3, "suspect": 1, "invalid": 1})
    assert (point.change, point.change_earlier, point.earlier) == (None, None, 0)
    assert (found.quantile, found.title) == ("p99.99", "gap")


def test_suspect_runs_where_none_is_valid_and_invalid_ones_never() -> None:
    (found,) = series([row("1", state="suspect"), row("2", state="invalid"), row("3", value=50)])
    assert [(point.basis, point.median, point.runs) for point in found.points] == [
        ("suspect", 100, 1),
        (None, None, 0),
        ("valid", 50, 1),
    ]
    assert [point.change for point in found.points] == [None, None, None]
    assert [point.change_earlier for point in found.points] == [None, None, pytest.approx(-0.5)]
    assert [point.earlier for point in found.points] == [0, 1, 1]


def test_changes_are_against_the_one_before_and_the_median_of_all_before() -> None:
    (found,) = series([row(str(n), value=value) for n, value in enumerate((100, 100, 400, 200))])
    assert [point.change for point in found.points] == [None, 0, 3, pytest.approx(-0.5)]
    assert [point.change_earlier for point in found.points] == [None, 0, 3, 1]


def test_a_quantile_among_missed_periods_is_the_worst_there_is() -> None:
    rows = [row("1"), row("2", 1, None, missed=10**7), row("2", 2, 50), row("3", 1, None), row("3", 2, 50)]
    (found,) = series(rows)
    assert [point.median for point in found.points] == [100, math.inf, 50]
    assert [point.change for point in found.points] == [None, None, None]


def test_a_point_of_too_few_samples_is_compared_with_nothing() -> None:
    (found,) = series([row("1"), row("2", value=900, recorded=100), row("3", value=150)])
    assert [(point.median, point.enough) for point in found.points] == [(100, True), (900, False), (150, True)]
    assert [point.change for point in found.points] == [None, None, None]
    assert [point.change_earlier for point in found.points] == [None, None, 0.5]
    assert [point.earlier for point in found.points] == [0, 1, 1]


def test_of_several_cpus_the_worst_counts_and_a_run_counts_once() -> None:
    rows = [row("1", cpu=cpu, value=value, max=value, recorded=10**cpu) for cpu, value in ((2, 40), (8, 90))]
    ((point,),) = [each.points for each in series(rows)]
    assert (point.median, point.runs, point.longest, point.enough) == (90, 1, 90, False)
    quiet = [row("1", kind="scalar", gate=None, better="higher", value=None) | {"value": v} for v in (5.0, 3.0)]
    ((point,),) = [each.points for each in series(quiet)]
    assert (point.median, point.enough) == (3, True)


def test_what_changed_is_told_where_it_changed() -> None:
    rows = [row("1", cmdline="a b"), row("2", cmdline="a b"), row("3", cmdline="a c", microcode="0x2")]
    (found,) = series(rows)
    assert [point.changed for point in found.points] == [
        (), (), (Change("cmdline", "a b", "a c"), Change("microcode", None, "0x2")),
    ]  # fmt: skip
    assert set(IDENTITY) <= set(COLUMNS)


def test_the_last_run_says_what_an_execution_ended_with() -> None:
    (found,) = series([row("1", 2, kernel="new"), row("1", 1, kernel="old"), row("2", kernel="new")])
    assert [point.changed for point in found.points] == [(), ()]


def test_cells_targets_roles_and_metrics_are_apart() -> None:
    rows = [
        row("1"), row("1", target="box"), row("1", role="control", metric="control.gap_ns"),
        row("1", cell="gap.pinned.idle-2", params="threshold=5us"), row("1", metric="stolen_ppm", kind="scalar"),
    ]  # fmt: skip
    found = series(rows)
    assert [(each.target, each.title, each.role, each.metric) for each in found] == [
        ("box", "gap threshold=1us", "measured", "gap_ns"),
        ("nuc", "gap threshold=1us", "control", "control.gap_ns"),
        ("nuc", "gap threshold=1us", "measured", "gap_ns"),
        ("nuc", "gap threshold=1us", "measured", "stolen_ppm"),
        ("nuc", "gap threshold=5us", "measured", "gap_ns"),
    ]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**9)), max_size=30))
def test_no_run_is_lost(entries: list[tuple[int, int, int]]) -> None:
    unique = {(execution, repeat): value for execution, repeat, value in entries}
    found = series([row(str(execution), repeat, value) for (execution, repeat), value in unique.items()])
    assert sum(point.runs for each in found for point in each.points) == len(unique)
    for each in found:
        names = [point.execution for point in each.points]
        assert names == sorted(set(names))
        for point in each.points:
            assert point.low is not None
            assert point.median is not None
            assert point.high is not None
            assert point.low <= point.median <= point.high
