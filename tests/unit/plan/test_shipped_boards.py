# SPDX-License-Identifier: Apache-2.0
"""The campaign of `make lab-demo` on the boards that come with it: sound, small, and telling."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.campaign import find_campaign, load_campaign
from harness.config.inventory import load_inventory
from harness.config.units import format_cpu_list
from harness.plan import build_plan
from harness.target.cmdline import asked_isolated, asked_nohz_full

ROOT = Path(__file__).parents[3]


def test_two_kernels_with_two_boot_profiles_in_turns_there_and_back() -> None:
    boards = load_inventory(ROOT / "inventory" / "boards.yaml")
    plan = build_plan(load_campaign(find_campaign("kernels")), boards)
    assert plan.targets == ("box",)
    assert {str(cell.booted) for cell in plan.cells} == {"default plain", "default quiet", "rt plain", "rt quiet"}
    assert plan.sessions == 2
    assert (plan.estimate.boots, plan.runs) == (9, 24)
    assert plan.kernels["rt"].artefact("x86_64").installed == "*-rt-*"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["box", "rt", "arm"])
def test_each_board_has_a_cpu_to_leave_alone(name: str) -> None:
    boards = load_inventory(ROOT / "inventory" / "boards.yaml")
    board = boards.targets[name]
    assert board.virtual is not None
    assert board.boot is not None
    assert board.isolated == (1,)
    profile = boards.boots["quiet"].for_cpus(format_cpu_list(board.isolated))
    assert asked_isolated(profile.add) == asked_nohz_full(profile.add) == (1,)
