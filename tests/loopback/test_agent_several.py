# SPDX-License-Identifier: Apache-2.0
"""Several probes in one run: all CPUs at once, the control beside, a helper. The real agent, the real probes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.agent.probe import START_AHEAD_NS
from harness.agent.spec import ControlSpec, LoadSpec, ProbeSpec, RunRecord, RunSpec
from harness.build import build_probe
from harness.errors import BuildError
from harness.target.client import AgentClient

from .agent_kit import (
    CPUS,
    HOUSEKEEPING,
    MEASURED,
    Agent,
    agent_in,
    carrying,
    listen,
    run_spec,
    soon,
    submit,
    until,
    without_measured,
)

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))
BESIDE = HOUSEKEEPING[-1] if HOUSEKEEPING else -1


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with agent_in(tmp_path_factory.mktemp("agent"), idle_s=5.0) as agent:
        yield agent


@pytest.fixture(scope="module")
def client(agent: Agent) -> AgentClient:
    return agent.attach()


def uploaded(client: AgentClient, name: str, data: bytes) -> str:
    client.put(name, data, soon())
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def gap(client: AgentClient) -> str:
    return uploaded(client, "gap", probe("gap"))


def probe(name: str) -> bytes:
    try:
        return build_probe(name, platform.machine()).path.read_bytes()
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


def carried_out(client: AgentClient, spec: RunSpec) -> tuple[RunRecord, dict[str, bytes]]:
    submit(client, [spec])
    files = listen(client).runs[spec.run]
    return RunRecord.from_json(json.loads(files["record.json"])), files


def with_control(spec: RunSpec, sha256: str, cpu: int = BESIDE) -> RunSpec:
    return replace(spec, control=ControlSpec(ProbeSpec("gap", sha256, {"threshold": "2us"}), cpu))


def test_every_cpu_at_once(client: AgentClient, gap: str) -> None:
    record, files = carried_out(client, run_spec(1, gap, cpus=CPUS, housekeeping=(), cell="gap.all-1"))
    assert record.status == "ok", record.reason
    assert [result["cpu"] for result in record.results] == CPUS
    assert set(record.effective["tasks"]) == set(map(str, CPUS))
    assert {name for name in files if name.endswith(".hdr")} == {f"gap_ns.cpu{cpu}.hdr" for cpu in CPUS}
    # They were told when to begin, and each measures for as long as was asked from there on.
    starts = [result["started"]["boottime_ns"] for result in record.results]
    assert min(starts) >= record.started["boottime_ns"] + START_AHEAD_NS
    exact = [result["started"]["monotonic_raw_ns"] for result in record.results]
    assert record.effective["start_skew_ns"] == max(exact) - min(exact)
    assert record.control == {}


@pytest.mark.parametrize("mode", ["pinned", "shared"])
def test_the_control_is_measured_beside_and_kept_apart(client: AgentClient, gap: str, mode: str) -> None:
    spec = with_control(run_spec(1, gap, mode=mode, cell=f"gap.control-{mode}"), gap)
    record, files = carried_out(client, spec)
    assert record.status == "ok", record.reason
    assert [result["cpu"] for result in record.results] == [MEASURED if mode == "pinned" else None]
    where = f"cpu{MEASURED}" if mode == "pinned" else "any"
    own = {f"gap_ns.{where}.hdr", f"gaps.{where}.jsonl"}
    its = {f"control.gap_ns.cpu{BESIDE}.hdr", f"control.gaps.cpu{BESIDE}.jsonl"}
    assert set(files) == {"record.json", "log.txt", *own, *its}
    assert (record.control["cpu"], record.control["status"]) == (BESIDE, "ok")
    result = record.control["result"]
    assert (result["cpu"], result["probe"], result["params"]["threshold_ns"]) == (BESIDE, "gap", 2000)
    assert result["effective"]["start"] | {"cpu": BESIDE} == {
        "affinity": str(BESIDE), "policy": "other", "priority": 0, "cpu": BESIDE,
    }  # fmt: skip
    assert result["duration_ns"] >= 0.99 * spec.duration_ns
    rules = {reason["rule"] for reason in record.control["validity"]["reasons"]}
    assert not rules & {"wrong-cpu", "affinity-lost", "load-short", "sibling-busy"}


SILENT = b"#!/bin/sh\nexit 0\n"
REFUSED = b"#!/bin/sh\necho 'gap: error: not here; try elsewhere' >&2\nexit 3\n"
ENDLESS = b"#!/bin/sh\nexec sleep 600\n"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (None, "was not uploaded"),
        (b"not a program", "cannot be executed here"),
        (SILENT, "left no result.json"),
        (REFUSED, "not here; try elsewhere"),
        (ENDLESS, "did not end by its deadline"),
    ],
    ids=["missing", "no-program", "silent", "refused", "endless"],
)
def test_a_control_that_fails_costs_no_measurement(
    client: AgentClient, gap: str, request: Any, what: bytes | None, says: str
) -> None:
    sha256 = "0" * 64 if what is None else uploaded(client, "gap", what)
    spec = with_control(run_spec(1, gap, cell=f"gap.{request.node.callspec.id}"), sha256)
    record, files = carried_out(client, spec)
    assert record.status == "ok", record.reason
    assert record.validity["state"] in ("valid", "suspect", "invalid")
    assert record.control["status"] == "unavailable"
    assert says in record.control["reason"]
    assert set(files) == {"record.json", "log.txt", f"gap_ns.cpu{MEASURED}.hdr", f"gaps.cpu{MEASURED}.jsonl"}
    if what is REFUSED:
        assert f"--- control on CPU {BESIDE} ---" in files["log.txt"].decode()


def test_a_control_that_cannot_have_its_cpu(client: AgentClient, gap: str) -> None:
    absent = 4095
    spec = run_spec(1, gap, cell="gap.absent-1", housekeeping=[*HOUSEKEEPING, absent])
    record, _ = carried_out(client, with_control(replace(spec, load_cpus=HOUSEKEEPING), gap, absent))
    assert record.status == "ok", record.reason
    assert f"CPU {absent}" in record.control["reason"]


def test_a_cancel_ends_the_control_too(agent: Agent, client: AgentClient, gap: str) -> None:
    spec = with_control(run_spec(1, gap, cell="gap.cancelled-1", duration_ns=600 * 10**9), gap)
    submit(client, [spec])
    spare = set(agent.daemons())
    until(lambda: len(set(carrying(agent.marker())) - spare) >= 2, "probe and control are under way")
    assert client.cancel(soon())
    assert set(carrying(agent.marker())) == spare


def test_a_helper_is_put_where_the_plan_says(client: AgentClient, tmp_path: Path) -> None:
    sha256 = uploaded(client, "xwake", probe("xwake"))
    spec = run_spec(1, sha256, cell="xwake.helper-1", load=LoadSpec("spin", "spin"), duration_ns=100_000_000)
    spec = replace(spec, bench="xwake", probe=ProbeSpec("xwake", sha256, {}, "waker-cpu"), helpers=[BESIDE])
    record, _ = carried_out(client, spec)
    assert record.status == "ok", record.reason
    assert record.effective["tasks"][str(MEASURED)]["helper_cpu"] == BESIDE
    assert record.results[0]["detail"]["waker"]["cpu"] == BESIDE


@pytest.mark.skipif(len(HOUSEKEEPING) < 2, reason="one housekeeping CPU: load and control cannot be told apart")
def test_the_load_keeps_off_the_controls_cpu(client: AgentClient, gap: str) -> None:
    spec = run_spec(1, gap, cell="gap.loaded-1", load=LoadSpec("spin", "spin"))
    record, _ = carried_out(client, with_control(replace(spec, load_cpus=HOUSEKEEPING[:-1]), gap))
    assert record.load["cpus"] == HOUSEKEEPING[:-1]
