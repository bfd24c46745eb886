# SPDX-License-Identifier: Apache-2.0
"""docs/probes.md is true: each probe's section says what the probe says of itself, parameter by parameter."""

from __future__ import annotations

import json
import math
import re

import pytest

from harness import build
from harness.config.types import to_duration
from harness.stats.quantiles import samples_needed

from .csrc_kit import ROOT, run

PAGE = (ROOT / "docs" / "probes.md").read_text()


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## )", PAGE, re.M | re.S)
    assert found, f"docs/probes.md has no section on {name}"
    return found[1]


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column is called ``head``."""
    found = re.search(rf"^\| {head} \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", text, re.M)
    assert found, f"no table of each {head}"
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


@pytest.fixture(params=build.probes())
def name(request) -> str:
    return request.param


@pytest.fixture
def described(name):
    return json.loads(run(build.build_probe(name, build.native_arch()).path, "--describe").stdout)


def test_parameters(name, described):
    def limits(told):
        return ", ".join(told["choices"]) if "choices" in told else f"{told['min']} to {told['max']}"

    assert table(section(name), "parameter") == [
        [param, told["type"], str(told["default"]), limits(told), told["help"]]
        for param, told in described["params"].items()
    ]


def test_metrics(name, described):
    rows = table(section(name), "metric")
    assert [row[:3] for row in rows] == [
        [metric, told["unit"], told["better"]] for metric, told in described["metrics"].items()
    ]
    assert all(row[3] for row in rows)


def test_what_else_there_is_to_say(name, described):
    text = re.sub(r"\s+", " ", section(name))
    assert f"**Own cost**: {described['own_cost']}" in text
    for word in ("**Cannot see**", "**Sources**"):
        assert word in text
    assert f"[{name}](#{name})" in PAGE


def test_exit_codes():
    header = (build.csrc_dir() / "core" / "fault.h").read_text()
    codes = re.findall(r"PROBE_EXIT_\w+ = (\d)", header)
    said = re.search(r"^\*\*Exit codes\*\*: (.*?)\n\n", PAGE, re.M | re.S)
    assert said
    assert sorted(re.findall(r"(?:^|; )(\d) ", said[1])) == sorted(codes)


def test_common_options():
    text = run(build.build_probe("gap", build.native_arch()).path, "--help").stdout.partition("\nparameters")[0]
    said = re.search(r"^\*\*Options\*\*: (.*?)\n\n", PAGE, re.M | re.S)
    assert said
    assert set(re.findall(r"--[a-z-]+", said[1])) == set(re.findall(r"^  (--[a-z-]+)", text, re.M))


def test_how_long_and_how_often():
    text = section("How long, and how often")
    for quantile, samples, gap, wake in table(text, "quantile"):
        needed = samples_needed(quantile)
        assert samples == f"{needed:,}"
        assert to_duration(gap.replace(" ", "")) == pytest.approx(needed * 10, rel=0.01)
        assert to_duration(wake.replace(" ", "")) == pytest.approx(needed * 10**6, rel=0.01)
    for repeat, chance in table(text, "`repeat`"):
        assert chance == f"1 in {math.comb(2 * int(repeat), int(repeat)) // 2}"
