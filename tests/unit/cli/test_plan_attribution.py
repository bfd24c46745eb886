# SPDX-License-Identifier: Apache-2.0
"""What `plan` says beforehand of attribution: how much a target can have, why it is not more, what would raise it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import facts_cache
from harness.cli import attributing
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan

from ..test_advice_attribution import ROOT_OF, USER
from .test_cli import isolbench
from .test_plan_text import FACTS

CAMPAIGN = "{campaign: c, targets: ['b*'], benches: [gap], axes: {mode: [shared]}, attribution: perf, duration: 1s}"
INVENTORY = 'targets: {"b[1-3]": {address: "{name}.lan"}}'


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    (tmp_path / "i.yaml").write_text(INVENTORY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    targets = load_inventory(tmp_path / "i.yaml").targets
    for name, told in (("b1", ROOT_OF), ("b2", USER)):
        facts_cache.remember(targets[name], {**FACTS, "attribution": told, "kernel": {"release": "6.18.5"}})
    return tmp_path


def plan(lab: Path, *more: str) -> str:
    done = isolbench("plan", "c.yaml", "-i", "i.yaml", *more, cwd=lab)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_each_target_says_how_much_it_can_have(lab: Path) -> None:
    text = plan(lab)
    assert "  attribution: each gap by the kernel's tracepoints\n" in text
    assert "  note: attribution: software events only: task switches and page faults (tracefs is not mounted" in text
    assert "  advice: measure as root (become: sudo in the inventory)" in text
    assert text.count("attribution: ") == 2  # of b3, with which nobody has talked, nothing is known


def test_nobody_asked_nothing_said(lab: Path) -> None:
    found = build_plan(load_campaign(lab / "c.yaml"), load_inventory(lab / "i.yaml"), sets=["attribution=off"])
    assert attributing.lines(found, {"attribution": USER}) == ()


def test_a_bench_that_cannot_do_without_asks_by_itself(lab: Path) -> None:
    (lab / "s.yaml").write_text(CAMPAIGN.replace("[gap]", "[sense]").replace("attribution: perf, ", ""))
    found = build_plan(load_campaign(lab / "s.yaml"), load_inventory(lab / "i.yaml"))
    assert len(attributing.lines(found, {"attribution": USER})) == 2


def test_machines_are_told_in_any_case(lab: Path) -> None:
    found: dict[str, Any] = json.loads(plan(lab, "--set", "attribution=off", "--json"))["targets"]
    levels = {name: each["attribution"] and each["attribution"]["level"] for name, each in found.items()}
    assert levels == {"b1": "tracepoints", "b2": "software", "b3": None}
    assert set(found["b2"]["attribution"]) == {"level", "reason", "advice", "sure"}


def test_what_is_booted_later_may_allow_another_level(lab: Path) -> None:
    (lab / "b.yaml").write_text(CAMPAIGN.replace("mode: [shared]", "mode: [shared], boot: [plain, quiet]"))
    (lab / "i.yaml").write_text('targets: {b1: {address: b1.lan, boot: grub-once}}\nboots: {quiet: {add: "quiet"}}\n')
    found = build_plan(load_campaign(lab / "b.yaml"), load_inventory(lab / "i.yaml"))
    [line] = attributing.lines(found, {"attribution": ROOT_OF})
    assert line.endswith(", of what runs there now")
