# SPDX-License-Identifier: Apache-2.0
"""One number of a run: stored, or read from the histogram; of several CPUs the worst."""

from __future__ import annotations

import json
import math

import pytest

from harness.store.runs import load_run
from harness.store.values import missed, recorded, value_of, value_with_missed

from ..report import fake_execution as fake


def test_a_stored_quantile_and_one_that_is_not(tmp_path):
    run = load_run(fake.simple_run(tmp_path))
    (metric,) = [each for each in run.metrics if each["kind"] == "histogram"]
    assert value_of(run, "gap_ns", "p99.99") == metric["quantiles"]["p99.99"]
    between = value_of(run, "gap_ns", "p99.9995")
    assert metric["quantiles"]["p99.999"] <= between <= metric["quantiles"]["p99.9999"]
    assert value_of(run, "gap_ns", "p100") == metric["max"]
    assert recorded(run, "gap_ns") == metric["recorded"] > 0
    assert (value_of(run, "none", "p50"), recorded(run, "none")) == (None, 0)


def test_an_older_file_has_fewer_quantiles_and_the_same_answers(tmp_path):
    folder = fake.simple_run(tmp_path)
    wanted = value_of(load_run(folder), "gap_ns", "p99.9999")
    document = json.loads((folder / "run.json").read_text())
    for metric in document["metrics"]:
        metric.get("quantiles", {}).pop("p99.9999", None)
    (folder / "run.json").write_text(json.dumps(document))
    assert value_of(load_run(folder), "gap_ns", "p99.9999") == wanted


@pytest.mark.parametrize(("better", "wanted"), [("lower", 9.0), ("higher", 4.0)])
def test_of_several_cpus_the_worst_counts(tmp_path, better, wanted):
    folder = fake.simple_run(tmp_path)
    document = json.loads((folder / "run.json").read_text())
    scalar = {"metric": "x_ppm", "kind": "scalar", "unit": "ppm", "better": better, "upper": None}
    document["metrics"] = [{**scalar, "cpu": cpu, "value": value} for cpu, value in ((1, 4), (2, 9), (3, None))]
    (folder / "run.json").write_text(json.dumps(document))
    assert value_of(load_run(folder), "x_ppm", None) == wanted


def test_a_missed_period_is_later_than_any_value(tmp_path):
    run = load_run(fake.wake_run(tmp_path, missed=100))  # of 10,000
    assert missed(run, "wake_ns") == 100
    assert value_with_missed(run, "wake_ns", "p99") == value_of(run, "wake_ns", "p100") < math.inf
    assert value_with_missed(run, "wake_ns", "p99.01") == math.inf
    assert value_of(run, "wake_ns", "p99.01") < math.inf
    assert (missed(run, "late_rate_hz"), value_with_missed(run, "late_rate_hz", None)) == (0, 0)
    whole = load_run(fake.simple_run(tmp_path))
    assert value_with_missed(whole, "gap_ns", "p99.99") == value_of(whole, "gap_ns", "p99.99")


def test_nothing_but_missed_periods(tmp_path):
    run = load_run(fake.wake_run(tmp_path, missed=10_000))
    assert value_with_missed(run, "wake_ns", "p50") == math.inf
