# SPDX-License-Identifier: Apache-2.0
"""From what a target says of itself to the batch that it gets: who is measured, and who sits where beside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.agent.spec import ATTRIBUTION_NS, Batch, RunSpec, to_json
from harness.build import BuildError, build_probe, native_arch
from harness.campaign import execution as executions
from harness.campaign.ledger import Ledger
from harness.campaign.work import Work, batch_of, longest_s, next_session, work_out
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.errors import TargetUnfit
from harness.plan import build_plan

from ..plan.machines import machine
from . import fake_sense

EIGHT = machine(8, isolated=(6, 7))


@pytest.fixture(autouse=True)
def _probes() -> None:
    try:
        build_probe("gap", native_arch())
    except BuildError as error:
        pytest.skip(f"no probe can be built here: {error}")


def worked_out(folder: Path, facts: dict[str, Any], **campaign: Any) -> tuple[Work, Batch]:
    """What a contact with this machine decides, and the first batch that follows from it."""
    document = {"campaign": "c", "targets": ["local"], "benches": ["gap"], "duration": "1s", **campaign}
    (folder / "c.yaml").write_text(json.dumps(document))
    plan = build_plan(load_campaign(folder / "c.yaml"), load_inventory(None))
    execution = executions.create(plan, folder / "results", None)
    facts = {**facts, "arch": native_arch(), "privileges": {"sys_nice": True}}
    target = execution.inventory().targets["local"]
    session: Any = SimpleNamespace(target=target, welcome={"facts": facts}, contact=SimpleNamespace(arch=native_arch()))
    work = work_out(execution, session)
    ledger = Ledger(execution, "local", lambda *_, **__: None)
    ledger.read()
    planned = next_session(execution, "local", ledger, work.refused)
    assert planned is not None
    batch = batch_of(execution, "local", planned, work, ledger, 1)
    assert [RunSpec.from_json(json.loads(json.dumps(run))) for run in _plain(batch)] == batch.runs
    return work, batch


def _plain(batch: Batch) -> list[Any]:
    return [to_json(run) for run in batch.runs]


def test_one_cpu_and_nobody_beside(tmp_path: Path) -> None:
    work, batch = worked_out(tmp_path, EIGHT, axes={"mode": ["pinned"], "load": ["idle", "spin"]})
    for run in batch.runs:
        assert (run.cpus, run.housekeeping, run.rest) == ([7], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])
        assert (run.helpers, run.control, run.probe.helper) == ([], None, "")
    assert set(work.probes) == {"gap"}


def test_control_helpers_and_load_on_all_cpus(tmp_path: Path) -> None:
    benches = [{"bench": "gap", "params": {"threshold": "5us"}}, "xwake", "wake"]
    axes = {"mode": ["pinned", "shared"], "load": ["idle", "spin"]}
    work, batch = worked_out(tmp_path, EIGHT, benches=benches, axes=axes, cpus="all", control=True)
    assert len(work.refused) == 6  # the mode that is not pinned
    assert set(work.probes) == {"gap", "wake", "xwake"}
    assert len(batch.runs) == 6
    for run in batch.runs:
        assert run.cpus == [6, 7]
        assert run.control is not None
        assert (run.control.cpu, run.control.probe.sha256) == (5, work.probes["gap"].sha256)
        assert run.control.probe.params["threshold"] == ("5000ns" if run.bench == "gap" else "1000ns")
        helped = run.bench == "xwake"
        assert (run.probe.helper, run.helpers) == (("waker-cpu", [4, 3]) if helped else ("", []))
        assert run.load_cpus == ([0, 1, 2] if helped else [0, 1, 2, 3, 4])


def test_a_controls_loop_is_built_where_no_bench_measures_by_it(tmp_path: Path) -> None:
    work, _ = worked_out(tmp_path, EIGHT, benches=["wake"], control=True)
    assert set(work.probes) == {"gap", "wake"}


def test_facts_that_make_no_sense_are_the_targets_fault(tmp_path: Path) -> None:
    odd = machine(4)
    odd["cpus"]["topology"] = {str(cpu): {"siblings": 7} for cpu in range(4)}
    with pytest.raises(TargetUnfit, match="what the target says of itself cannot be used"):
        worked_out(tmp_path, odd, benches=["xwake"], control=True)


def test_a_kernel_that_is_not_there_is_unsupported_also_before_anything_was_booted(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(
        "targets: {nuc: {address: n, boot: kexec}}\n"
        "kernels: {rt: {installed: 6.1-rt}, other: {s390x: {image: Image}}, next: {deb: next.deb}}\n"
    )
    axes = {"kernel": ["default", "rt", "other", "next"], "mode": ["shared"]}
    document = {"campaign": "c", "targets": ["nuc"], "benches": ["gap"], "duration": "1s", "axes": axes}
    (tmp_path / "c.yaml").write_text(json.dumps(document))
    inventory = load_inventory(tmp_path / "i.yaml")
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), inventory)
    execution = executions.create(plan, tmp_path / "results", tmp_path / "i.yaml")
    facts = {**EIGHT, "arch": native_arch(), "kernels": {"installed": ["6.1"], "ours": {}}}
    session: Any = SimpleNamespace(target=inventory.targets["nuc"], welcome={"facts": facts}, contact=None)
    work = work_out(execution, session)
    by_kernel = {cell.kernel: work.refused.get(cell.id) for cell in plan.cells}
    assert by_kernel == {
        "default": None,
        "rt": "kernel 'rt': 6.1-rt is not installed there (found: 6.1)",
        "other": f"kernel 'other' has nothing for {native_arch()} (only for s390x)",
        "next": None,
    }
    ledger = Ledger(execution, "nuc", lambda *_, **__: None)
    ledger.read()
    planned = next_session(execution, "nuc", ledger, work.refused)
    assert planned is not None
    assert planned.booted is not None
    assert planned.booted.kernel in ("default", "next")  # what cannot be had is never booted


def test_a_run_that_attributes_has_time_for_events(tmp_path: Path) -> None:
    [cell, *_] = fake_sense.execution(tmp_path).plan.cells
    assert cell.attribution == "perf"
    assert longest_s(cell) - longest_s(replace(cell, attribution="off")) == ATTRIBUTION_NS / 1e9
