# SPDX-License-Identifier: Apache-2.0
"""A bench file that says of its probe what is not so is refused before any target is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import build
from harness.campaign.benches import check_benches
from harness.config.campaign import load_campaign
from harness.errors import BuildError, ConfigError

CAMPAIGN = """campaign: c
targets: [local]
benches: [mine]
duration: 1s
"""


@pytest.fixture(scope="module", autouse=True)
def probe() -> None:
    try:
        build.build_probe("gap", build.native_arch())
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


def problems(folder: Path, bench: str, campaign: str = CAMPAIGN) -> list[str]:
    (folder / "mine.yaml").write_text(bench)
    (folder / "c.yaml").write_text(campaign)
    try:
        check_benches(load_campaign(folder / "c.yaml"), folder / "c.yaml", compile_all=False)
    except ConfigError as error:
        return [problem.removeprefix(f"{folder}/") for problem in error.problems]
    return []


SOUND = (
    "probe: gap\nparams: {threshold: {type: duration, default: 2us}}\nmetrics: {gap_ns: {better: lower, gate: p99}}\n"
)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("", "", []),
        ("gap\n", "gapp\n", ["mine.yaml:1:8: probe: there is no probe 'gapp'; did you mean 'gap'?"]),
        (
            "{threshold:",
            "{treshold:",
            [
                "mine.yaml:2:10: params.treshold: the probe 'gap' has no option --treshold; did you mean 'threshold'?",
            ],
        ),
        (
            "{gap_ns:",
            "{gapp_ns:",
            ["mine.yaml:3:11: metrics.gapp_ns: the probe 'gap' reports no metric 'gapp_ns'; did you mean 'gap_ns'?"],
        ),
        (
            "duration, default: 2us",
            "int, default: 2",
            ["mine.yaml:2:28: params.threshold.type: the probe 'gap' takes a duration here"],
        ),
        (
            ", gate: p99",
            "",
            ["mine.yaml:3:19: metrics.gap_ns: the probe 'gap' reports a histogram here: say its gate, such as p99.99"],
        ),
        (
            "gap_ns:",
            "quiet_max_ns:",
            ["mine.yaml:3:47: metrics.quiet_max_ns.gate: the probe 'gap' reports one number here: it has no quantiles"],
        ),
        ("probe: gap\n", "probe: gap\nhelper: cpu\n", ["mine.yaml:2:9: helper: the probe 'gap' has no helper"]),
    ],
)
def test_what_a_bench_says_of_its_probe(tmp_path: Path, before: str, after: str, says: list[str]) -> None:
    assert problems(tmp_path, SOUND.replace(before, after, 1) if before else SOUND) == says


def test_a_value_that_the_bench_takes_and_the_probe_does_not(tmp_path: Path) -> None:
    bench = SOUND.replace("{threshold:", "{digits: {type: int, default: 2}, threshold:")
    campaign = CAMPAIGN.replace("[mine]", "[mine, {bench: mine, params: {digits: 9}}]")
    [problem] = problems(tmp_path, bench, campaign)
    assert problem.startswith("c.yaml:3:48: benches[1].params.digits: the probe takes no such value: ")


def test_what_is_shipped_is_right() -> None:
    folder = Path(__file__).parents[3] / "benches" / "campaigns"
    for path in folder.glob("*.yaml"):
        check_benches(load_campaign(path), path, compile_all=True)
