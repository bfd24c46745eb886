# SPDX-License-Identifier: Apache-2.0
"""What probes do before and after their loops is done where load and agent are, and never on a measured CPU."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.control import Control
from harness.agent.kmsg import Kmsg
from harness.agent.loads.idle import Idle
from harness.agent.measure import Measurement
from harness.agent.modes import from_name
from harness.agent.probe import paperwork
from harness.agent.spec import ControlSpec, LoadSpec, ModeSpec, ProbeSpec, RunRecord, RunSpec
from harness.agent.system import Tree, format_cpus

CPUS = sorted(os.sched_getaffinity(0))
#: Says where it may run, as it is started, and is no probe.
FAKE = "#!/bin/sh\ngrep Cpus_allowed_list /proc/self/status\nexit 3\n"


def run_spec(mode: str, cpus: Sequence[int], housekeeping: Sequence[int], load_cpus: Sequence[int] = ()) -> RunSpec:
    asked = from_name(mode)
    return RunSpec(
        run="c-r1",
        cell="c",
        repeat=1,
        attempt=1,
        bench="gap",
        probe=ProbeSpec("gap", "a" * 64),
        mode=ModeSpec(asked.name, asked.where, asked.sched),
        load=LoadSpec("idle"),
        cpus=list(cpus),
        housekeeping=list(housekeeping),
        settle_ns=0,
        duration_ns=10**6,
        load_cpus=list(load_cpus),
    )


def wait(until: float, fds: tuple[int, ...]) -> set[int]:
    return set(select.select(fds, (), (), max(0.0, min(until - time.monotonic(), 1.0)))[0])


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def carried_out(tmp_path: Path, spec: RunSpec, probe: str, control_probe: str | None = None) -> tuple[RunRecord, str]:
    """The record and the log of a run by shell scripts."""
    binary = program(tmp_path / "fake", probe)
    beside = program(tmp_path / "fake-control", control_probe or probe)
    control = None if spec.control is None else Control(spec, lambda _: beside, str(tmp_path), CPUS)
    measurement = Measurement(
        spec,
        from_name(spec.mode.name),
        binary,
        str(tmp_path),
        load=Idle(spec.load, spec.rest),
        knobs=[],
        kmsg=Kmsg(Tree(str(tmp_path))),
        tree=Tree(),
        affinity=CPUS,
        sequence=1,
        wait=wait,
        control=control,
    )
    return measurement.run(), measurement.log.decode()


def said(tmp_path: Path, spec: RunSpec) -> dict[str, str]:
    """Where each started, by ``probe on CPU 1``."""
    _, log = carried_out(tmp_path, spec, FAKE)
    return dict(re.findall(r"^--- (.*) ---\nCpus_allowed_list:\t(.*)$", log, flags=re.MULTILINE))


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_beside_a_control_on_two_cpus_nothing_is_done_on_the_measured_one(tmp_path: Path) -> None:
    here, measured = CPUS[:2]
    spec = run_spec("pinned", [measured], [here])
    spec = replace(spec, control=ControlSpec(ProbeSpec("gap", "c" * 64), here))
    assert said(tmp_path, spec) == {f"probe on CPU {measured}": str(here), f"control on CPU {here}": str(here)}


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_a_task_that_is_not_pinned_is_let_loose_and_its_control_is_not(tmp_path: Path) -> None:
    here, measured = CPUS[:2]
    spec = run_spec("shared", [measured], [here])
    spec = replace(spec, control=ControlSpec(ProbeSpec("gap", "c" * 64), here))
    assert said(tmp_path, spec) == {"probe on any CPU": format_cpus(CPUS), f"control on CPU {here}": str(here)}


def test_it_is_done_where_load_and_agent_are() -> None:
    assert paperwork(run_spec("pinned", [3, 2], [0, 1], [1]), range(4)) == [1]
    assert paperwork(run_spec("pinned", [3, 2], [0, 1]), range(4)) == [0, 1]
    assert list(paperwork(run_spec("pinned", [0], []), [0])) == [0]  # there is no other CPU
