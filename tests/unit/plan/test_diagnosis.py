# SPDX-License-Identifier: Apache-2.0
"""What doctor measures: the quietest mode that changes nothing but where the task runs, one attributed run a target."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent.knobs import NAMES
from harness.config.bench import read_bench
from harness.config.data import data_dir
from harness.config.inventory import load_inventory
from harness.config.targets import Target
from harness.plan import Plan, build_plan
from harness.plan.diagnosis import best_mode, diagnosis

BENCH = read_bench(data_dir("benches") / "gap.yaml")


def machine(isolated: list[int], nohz_full: list[int], online: int = 4) -> dict[str, Any]:
    cpus = list(range(online))
    topology = {str(cpu): {"siblings": [cpu], "core": cpu} for cpu in cpus}
    return {
        "arch": "x86_64",
        "cpus": {"online": cpus, "allowed": cpus, "isolated": isolated, "nohz_full": nohz_full, "topology": topology},
        "privileges": {"root": True, "sys_nice": True},
    }


@pytest.mark.parametrize(
    ("facts", "mode"),
    [(machine([3], [3]), "nohz-full"), (machine([3], []), "pinned"), (machine([], []), "pinned")],
)
def test_the_quietest_that_can_be_had(facts: dict[str, Any], mode: str) -> None:
    assert best_mode(facts)[0] == mode


def test_why_not_a_quieter_one_and_why_none_at_all() -> None:
    assert "nohz-full: the tick of CPU 3 cannot stop" in best_mode(machine([], []))[1]
    assert best_mode({"cpus": {"online": []}}) == (None, "no CPU to measure on: online none, allowed none")
    elsewhere = Target(name="box", address="a", arch="aarch64")
    assert best_mode(machine([], []), elsewhere) == (
        None,
        "the inventory says arch: aarch64, but this machine is x86_64",
    )


def test_each_target_in_its_own_mode_attributed_and_once(tmp_path: Any) -> None:
    path = tmp_path / "i.yaml"
    path.write_text("targets: {a: {address: a}, b: {address: b}, c: {address: c}}\n")
    campaign = diagnosis({"a": "nohz-full", "c": "pinned"}, BENCH, 2 * 10**9, NAMES[:2])
    plan = build_plan(campaign, load_inventory(path))
    assert [(cell.target, cell.mode.name) for cell in plan.cells] == [("a", "nohz-full"), ("c", "pinned")]
    for cell in plan.cells:
        assert (cell.bench, cell.attribution, cell.duration_ns, cell.load.kind) == ("gap", "perf", 2 * 10**9, "idle")
        assert set(cell.tune) == set(NAMES[:2])
    assert (plan.runs, plan.campaign.retry.invalid, plan.campaign.name) == (2, 0, "doctor")
    assert Plan.from_json(plan.to_json()).cells == plan.cells
