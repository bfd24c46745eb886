# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md and the models hold each other: every key is described, and every described key exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.config.bench import Bench, Metric, Param, read_bench
from harness.config.campaign import Axes, Budget, Campaign, Retry, Selector, load_campaign
from harness.config.inventory import _TOP, load_inventory
from harness.config.kernels import Artefact, BootProfile, Power
from harness.config.targets import TargetKeys, Virtual

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "configuration.md").read_text()


def keys(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


EXPECTED: dict[str, set[str]] = {
    "Inventory: top level": set(_TOP),
    "Inventory: target": keys(TargetKeys),
    "Inventory: virtual": keys(Virtual),
    "Inventory: power": keys(Power),
    "Inventory: kernels": keys(Artefact),
    "Inventory: boots": keys(BootProfile),
    "Campaign: top level": keys(Campaign),
    "Campaign: axes": keys(Axes),
    "Campaign: include and exclude": keys(Selector),
    "Campaign: retry": keys(Retry),
    "Campaign: budgets": keys(Budget),
    "Bench: top level": keys(Bench) - {"name"},
    "Bench: params": keys(Param),
    "Bench: metrics": keys(Metric),
    "Bench: the parameters of gap": set(read_bench(ROOT / "benches" / "gap.yaml").params),
}


def sections() -> dict[str, str]:
    parts = re.split(r"^### (.+)$", DOC, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("title", EXPECTED)
def test_each_key_is_described_once(title: str) -> None:
    listed = re.findall(r"^\| `([a-z_]+)` \|", sections()[title], flags=re.MULTILINE)
    assert sorted(listed) == sorted(EXPECTED[title])


def test_the_parameters_of_gap_are_described() -> None:
    bench = read_bench(ROOT / "benches" / "gap.yaml")
    table = sections()["Bench: the parameters of gap"]
    found = dict(re.findall(r"^\| `([a-z]+)` \| .* \| `([^`]+)` \|$", table, flags=re.MULTILINE))
    assert found == {name: param.option(param.default).replace("1000ns", "1us") for name, param in bench.params.items()}


def test_no_table_is_left_out() -> None:
    assert {title for title, text in sections().items() if "| key |" in text} == set(EXPECTED)


def test_links_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", DOC, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = set(re.findall(r"\]\(#([^)]+)\)", DOC))
    assert links
    assert links <= anchors


def test_the_examples_are_read(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", DOC, flags=re.MULTILINE | re.DOTALL)
    smallest = re.search(r"The smallest is `(\{.*\})`", DOC)
    assert smallest is not None
    read = []
    for block in [*blocks, smallest[1]]:
        kind = "campaign" if "campaign:" in block else "bench" if "probe:" in block else "inventory"
        path = tmp_path / f"{kind}.yaml"
        path.write_text(block)
        {"campaign": load_campaign, "bench": read_bench, "inventory": load_inventory}[kind](path)
        read.append(kind)
    assert sorted(read) == ["bench", "campaign", "campaign", "inventory"]


def test_the_example_inventory_has_every_key() -> None:
    path = ROOT / "inventory" / "example.yaml"
    inventory = load_inventory(path)
    assert len(inventory.targets) == 51
    used = set(re.findall(r"([a-z_]+):(?=[ \n])", re.sub(r"(?m)(^|\s)#.*$", "", path.read_text())))
    assert used >= keys(TargetKeys) | keys(Virtual) | set(_TOP)
