# SPDX-License-Identifier: Apache-2.0
"""Budgets: which runs are judged, what is not judged and why, and how a verdict reads."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.budgets import FAILED, NOT_JUDGED, PASSED, Limit, RunValue, counted, judge, limits_of
from harness.stats.numbers import number_of
from harness.stats.variants import Variant

LIMIT = Limit("gap", "gap_ns", "p99.99", 20_000)
GAP = Variant("gap", (("threshold", "1us"),), 10**10, 10**9)
OTHER = Variant("gap", (("threshold", "5us"),), 10**10, 10**9)


def run(value, state="valid", *, limit=LIMIT, cell="c-1", recorded=10**9, variant=GAP, target="nuc"):
    return RunValue(limit, target, cell, variant, "fifo", "idle", state, value, recorded, "ns")


def only(*runs):
    (verdict,) = judge(runs, {})
    return verdict


def test_the_median_run_decides():
    assert only(run(5_000), run(90_000), run(6_000)).result == PASSED
    over = only(run(5_000), run(90_000), run(31_000))
    assert (over.result, over.value, over.runs, over.state) == (FAILED, 31_000, 3, "valid")
    text = "nuc, gap, fifo, idle: gap_ns p99.99 is 31,000 ns, at most 20,000 ns allowed (median of 3 runs)"
    assert over.sentence == text


def test_of_two_runs_the_worse_decides():
    assert (only(run(5_000), run(90_000)).result, only(run(5_000), run(90_000)).value) == (FAILED, 90_000)
    quiet = Limit("gap", "quiet_max_ns", None, 20_000)
    longer = [replace(run(value, limit=quiet), better="higher") for value in (5_000, 90_000)]
    assert only(*longer).value == 5_000


def test_at_most_includes_the_limit():
    assert only(run(20_000)).result == PASSED


def test_the_runs_are_those_of_the_report():
    assert only(run(5_000), run(90_000, "suspect"), run(90_000, "suspect")).result == PASSED
    over = only(run(5_000, "invalid"), run(90_000, "suspect"))
    assert (over.result, over.runs, over.state) == (FAILED, 1, "suspect")
    assert over.sentence.endswith("(one suspect run)")


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([run(90_000, "invalid")], "no usable run"),
        ([run(None)], "no run has a value"),
        ([run(90_000, recorded=29_955)], "n too small, p99.99 needs 29,956 samples in a run"),
        ([run(90_000), run(90_000, recorded=10)], "n too small, p99.99 needs 29,956 samples in a run"),
    ],
)
def test_what_says_nothing_is_neither_a_pass_nor_a_failure(runs, why):
    verdict = only(*runs)
    assert (verdict.result, verdict.why) == (NOT_JUDGED, why)
    assert f"not judged: {why}" in verdict.sentence


def test_a_quantile_fails_where_a_lower_one_that_is_bounded_is_over_already():
    few = replace(run(90_000, recorded=5_000), lower=(("p99.9", 40_000), ("p99", 900)))
    verdict = only(few)
    assert (verdict.result, verdict.value, verdict.judged_at) == (FAILED, 40_000, "p99.9")
    assert "gap_ns p99.99 is at least 40,000 ns, at most 20,000 ns allowed (one run; p99.9 is over" in verdict.sentence
    # The highest that is bounded: with 400 samples p99.9 says as little as p99.99.
    fewer = only(replace(few, recorded=400))
    assert (fewer.result, fewer.value, fewer.judged_at) == (NOT_JUDGED, 90_000, None)
    lost = only(replace(few, lower=(("p99.9", math.inf), ("p99", 900))))
    assert (lost.result, lost.value, lost.judged_at) == (FAILED, None, "p99.9")
    # It is the median of the runs that is over.
    kept = replace(few, lower=(("p99.9", 5_000), ("p99", 900)))
    assert only(few, kept, kept).result == NOT_JUDGED
    assert only(few, few, kept).result == FAILED


def test_checks_are_counted_in_one_way():
    kept, over, left = only(run(5_000)), only(run(90_000)), only(run(None))
    assert counted([]) == ""
    assert counted([kept]) == "1 budget check passed"
    assert counted([kept, over, left, over]) == "2 of 4 budget checks failed, 1 not judged"
    assert counted([over, over]) == "2 budget checks failed"


def test_missed_periods_are_said_and_never_pass_in_silence():
    passed = only(replace(run(5_000), missed=12), run(5_000))
    assert (passed.result, passed.why) == (PASSED, "12 periods were missed, each counted as later than any")
    assert passed.sentence.endswith("(median of 2 runs; 12 periods were missed, each counted as later than any)")
    lost = only(replace(run(math.inf), missed=4000))
    assert (lost.result, lost.value) == (FAILED, None)
    assert "p99.99 is over any limit: 4,000 periods were missed, each" in lost.sentence
    scalar = Limit("gap", "stolen_ppm", None, 100)
    assert only(replace(run(5, limit=scalar), missed=12)).why == ""  # a rate of late wake-ups has no quantile


def test_a_scalar_needs_no_samples():
    scalar = Limit("gap", "stolen_ppm", None, 100)
    assert only(run(100.5, limit=scalar, recorded=0)).result == FAILED


def test_variants_and_cells_are_judged_apart_in_the_order_of_the_plan():
    cells = [{"cell": name, "bench": "gap", "params": {"threshold": at}, "duration_ns": 10**10, "settle_ns": 10**9}
             for name, at in (("c-2", "5000ns"), ("c-1", "1000ns"))]  # fmt: skip
    plan = {"cells": cells, "benches": {"gap": {"params": {"threshold": {"default": "1us"}}}}}
    found = judge([run(1), run(90_000, cell="c-2", variant=OTHER)], plan)
    assert [(each.bench, each.result) for each in found] == [("gap threshold=5us", FAILED), ("gap", PASSED)]


@given(st.lists(st.tuples(st.floats(0, 1e9), st.sampled_from(["valid", "suspect", "invalid"])), min_size=1))
def test_a_failure_is_a_run_over_the_limit(runs):
    verdict = only(*(run(value, state) for value, state in runs))
    if verdict.result == FAILED:
        assert any(value > LIMIT.at_most and state == verdict.state for value, state in runs)
    assert verdict.state == next((s for s in ("valid", "suspect") if s in {state for _, state in runs}), None)


def test_a_plans_budgets():
    budgets = [
        {"bench": "gap", "metric": "gap_ns", "quantile": "p99.99", "at_most": "20us"},
        {"bench": "gap", "metric": "stolen_ppm", "at_most": "1e2"},
        {"bench": "gap", "metric": "stolen_ppm", "at_most": "much"},
        "junk",
    ]
    assert limits_of(budgets) == (LIMIT, Limit("gap", "stolen_ppm", None, 100))
    assert limits_of({"gap": 1}) == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [("100", 100), ("0.5", 0.5), (7, 7), ("20us", 20_000), ("20 µs", 20_000), ("1.5ms", 1_500_000), ("2min", 120e9),
     ("1h", 3600e9), ("x", None), ("5 kg", None), (None, None), (True, None), ("", None)],
)  # fmt: skip
def test_numbers_and_durations(text, value):
    assert number_of(text) == value
