# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire is checked on arrival: shape, types, and names that become paths."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.agent.spec import (
    Batch,
    ControlSpec,
    LoadSpec,
    ModeSpec,
    ProbeSpec,
    RunRecord,
    RunSpec,
    SpecError,
    Validity,
    safe_name,
    to_json,
)

RUN = RunSpec(
    run="gap.fifo.spin-0123456789ab-r2",
    cell="gap.fifo.spin-0123456789ab",
    repeat=2,
    attempt=1,
    bench="gap",
    probe=ProbeSpec("gap", "a" * 64, {"threshold": "1000ns"}),
    mode=ModeSpec("fifo", "pinned", "fifo:1"),
    load=LoadSpec("make", "argv", ["make", "-j2"]),
    cpus=[2, 3],
    housekeeping=[0, 1],
    settle_ns=0,
    duration_ns=10**9,
)
#: With everything that a plan may decide beside the measured CPUs.
FULL = replace(
    RUN,
    probe=ProbeSpec("xwake", "a" * 64, {}, "waker-cpu"),
    helpers=[1, 1],
    load_cpus=[1],
    control=ControlSpec(ProbeSpec("gap", "c" * 64, {"threshold": "1000ns"}), 0),
    tune=["governor", "thp"],
    attribution="perf",
)
BATCH = Batch("20261120T010000Z", "local", 3, 1, [RUN])
RECORD = RunRecord(
    run=RUN.run, status="ok", spec=to_json(RUN), validity=to_json(Validity("valid")), results=[{"cpu": 2}], sequence=9
)
BESIDE = replace(
    RECORD, control={"cpu": 0, "status": "ok", "validity": to_json(Validity("suspect")), "result": {"cpu": 0}}
)
FAILED = RunRecord(run=RUN.run, status="failed", spec=to_json(RUN), reason="it died", fault="bug")


@pytest.mark.parametrize("value", [RUN, FULL, BATCH, RECORD, BESIDE, FAILED, Validity("suspect", [{"rule": "steal"}])])
def test_json_and_back(value: Any) -> None:
    assert type(value).from_json(json.loads(json.dumps(to_json(value)))) == value


@pytest.mark.parametrize("value", [RUN, BATCH, RECORD])
def test_a_newer_peer_may_say_more(value: Any) -> None:
    assert type(value).from_json({**to_json(value), "colour": "blue"}) == value


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = data
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        if value is _GONE:
            del at[last]
        else:
            at[last] = value

    return change


_GONE = object()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("execution", "../x", "batch.execution"),
        ("lane", "", "batch.lane"),
        ("token", "3", "batch.token"),
        ("token", True, "batch.token"),
        ("runs", {}, "batch.runs"),
        ("runs", [1], r"batch.runs\[0\]"),
        ("runs", [to_json(RUN), to_json(RUN)], "twice"),
        ("runs.0.run", "x/y-r2", r"batch.runs\[0\].run"),
        ("runs.0.run", "another-r2", "is not repeat 2"),
        ("runs.0.repeat", 0, "not within"),
        ("runs.0.attempt", _GONE, "attempt: missing"),
        ("runs.0.cpus", [], "at least one"),
        ("runs.0.cpus", [1, 1], "each once"),
        ("runs.0.cpus", [-1], "CPU numbers"),
        ("runs.0.cpus", [True], "int is wanted"),
        ("runs.0.cpus", [0], "keep house"),
        ("runs.0.settle_ns", -1, "not within"),
        ("runs.0.duration_ns", 0, "not within"),
        ("runs.0.duration_ns", 1.5, "int is wanted"),
        ("runs.0.probe.sha256", "a" * 63, "SHA-256"),
        ("runs.0.probe.params", {"-x": "1"}, "option"),
        ("runs.0.probe.params", {"x": 1}, "option"),
        ("runs.0.probe.params", {"x": "a\0b"}, "option"),
        ("runs.0.probe.name", ".hidden", "safe name"),
        ("runs.0.tune", "thp", "list is wanted"),
        ("runs.0.tune", [1], "str is wanted"),
        ("runs.0.tune", ["a b"], "not a safe name"),
        ("runs.0.mode", "fifo", "dict is wanted"),
        ("runs.0.mode.sched", None, "str is wanted"),
        ("runs.0.load.argv", ["a\0"], "NUL"),
        ("runs.0.load.argv", [], "exactly where"),
        ("runs.0.load.kind", "spin", "exactly where"),
    ],
)
def test_a_batch_that_is_wrong_says_where(path: str, value: Any, said: str) -> None:
    data = copy.deepcopy(to_json(BATCH))
    _set(path, value)(data)
    with pytest.raises(SpecError, match=said):
        Batch.from_json(data)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("helpers", [1], "one for each measured CPU"),
        ("helpers", [], "one for each measured CPU"),
        ("probe.helper", "", "exactly where the probe takes one"),
        ("probe.helper", "--x", "not an option"),
        ("helpers", [1, -1], "CPU numbers"),
        ("helpers", [1, 2], r"run.helpers: no housekeeping CPU: \[2\]"),
        ("load_cpus", [0, 9], r"run.load_cpus: no housekeeping CPU: \[9\]"),
        ("load_cpus", [0, 0], "each once"),
        ("control.cpu", 3, r"run.control: no housekeeping CPU: \[3\]"),
        ("control.cpu", True, "int is wanted"),
        ("control.probe.sha256", "x", "SHA-256"),
        ("control", "gap", "an object is wanted"),
    ],
)
def test_who_is_seated_wrongly(path: str, value: Any, said: str) -> None:
    data = copy.deepcopy(to_json(FULL))
    _set(path, value)(data)
    with pytest.raises(SpecError, match=said):
        RunSpec.from_json(data)


def test_who_sits_where() -> None:
    assert (RUN.rest, FULL.rest) == ([0, 1], [1])
    assert [FULL.helper_of(cpu) for cpu in (2, 3, None)] == [1, 1, 1]
    assert RUN.helper_of(2) is None
    old = to_json(RUN)
    for key in ("helpers", "load_cpus", "control"):
        del old[key]
    assert RunSpec.from_json(old) == RUN


@pytest.mark.parametrize(
    ("base", "path", "value", "said"),
    [
        (BESIDE, "control.status", "fine", "neither ok nor unavailable"),
        (BESIDE, "control.validity", _GONE, "validity: missing"),
        (BESIDE, "control.result", [], "dict is wanted"),
        (BESIDE, "control.cpu", None, "int is wanted"),
        (BESIDE, "control", {"cpu": 0, "status": "unavailable"}, "reason: missing"),
        (RECORD, "schema", 99, "newer"),
        (RECORD, "schema", 0, "not within"),
        (RECORD, "status", "fine", "neither"),
        (RECORD, "validity", {}, "state: missing"),
        (RECORD, "validity", {"state": "good"}, "none of"),
        (RECORD, "results", [1], "dict is wanted"),
        (FAILED, "fault", None, "needs a reason"),
        (FAILED, "fault", "weather", "needs a reason"),
        (FAILED, "reason", "", "needs a reason"),
    ],
)
def test_a_record_that_is_wrong(base: RunRecord, path: str, value: Any, said: str) -> None:
    data = copy.deepcopy(to_json(base))
    _set(path, value)(data)
    with pytest.raises(SpecError, match=said):
        RunRecord.from_json(data)


@pytest.mark.parametrize("value", [None, 1, "x", []])
@pytest.mark.parametrize("kind", [RunSpec, Batch, RunRecord, Validity, ModeSpec, LoadSpec, ProbeSpec])
def test_what_is_no_object(kind: Any, value: Any) -> None:
    with pytest.raises(SpecError):
        kind.from_json(value)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "-x", "a" * 121, "a b", "a\n", None, 3])
def test_names_that_are_no_path_component(name: Any) -> None:
    with pytest.raises(SpecError):
        safe_name(name, "it")
