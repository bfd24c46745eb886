# SPDX-License-Identifier: Apache-2.0
"""Several probes begin at one time, which they are told once all are ready, however long each takes for that."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.spec import ControlSpec, ProbeSpec, RunSpec

from .test_paperwork import CPUS, carried_out, run_spec

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
#: Is ready, and says what it is told.
READY = "#!/bin/sh\necho ready\nread at\necho told $at\nexit 3\n"
#: Ends before it is ready.
LAME = "#!/bin/sh\necho no such luck\nexit 3\n"


def with_control() -> RunSpec:
    return replace(run_spec("pinned", [CPUS[1]], [CPUS[0]]), control=ControlSpec(ProbeSpec("gap", "c" * 64), CPUS[0]))


def told(log: str) -> list[int]:
    return [int(at) for at in re.findall(r"^told ([0-9]+)$", log, flags=re.MULTILINE)]


def test_all_are_told_the_same_time_and_it_is_yet_to_come(tmp_path: Path) -> None:
    before = time.monotonic_ns()
    record, log = carried_out(tmp_path, with_control(), READY)
    [first, second] = told(log)
    assert first == second > before
    assert "ready" not in log  # that is for the agent alone
    assert record.reason == f"told {first}"


def test_so_are_those_of_several_cpus(tmp_path: Path) -> None:
    _, log = carried_out(tmp_path, run_spec("pinned", CPUS[:2], []), READY)
    [first, second] = told(log)
    assert first == second


def test_one_alone_is_told_nothing(tmp_path: Path) -> None:
    record, log = carried_out(tmp_path, run_spec("pinned", [CPUS[1]], [CPUS[0]]), READY)
    assert told(log) == []
    assert record.reason == "told"  # its input is at its end


def test_where_a_measured_one_ends_before_none_begins_and_its_own_words_are_the_reason(tmp_path: Path) -> None:
    record, log = carried_out(tmp_path, with_control(), LAME, READY)
    assert told(log) == []
    assert (record.status, record.fault, record.reason) == ("failed", "environment", "no such luck")


def test_a_control_that_ends_before_keeps_nobody_from_beginning(tmp_path: Path) -> None:
    _, log = carried_out(tmp_path, with_control(), READY, LAME)
    assert len(told(log)) == 1
