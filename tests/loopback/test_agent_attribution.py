# SPDX-License-Identifier: Apache-2.0
"""A run that asks for causes, by the agent: the probe looks for them, and what it found comes back with the run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.advice.attribution import forecast
from harness.agent.processes import read_stat
from harness.agent.spec import RunRecord, RunSpec
from harness.agent.system import Tree
from harness.target.client import AgentClient, split_files

from .agent_kit import EXECUTION, Agent, carrying, listen, run_spec, soon, submit, until, without_measured

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))


def test_gaps_come_back_with_their_causes(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    assert sha256 == hashlib.sha256(gap).hexdigest()
    runs = [
        replace(run_spec(1, sha256, mode="shared"), attribution=attribution, cell=cell, run=f"{cell}-r1")
        for attribution, cell in (("perf", "gap.attributed"), ("off", "gap.plain"))
    ]
    token = submit(client, runs)
    heard = listen(client)
    client.release(token, soon())
    client.bye(soon())
    attributed, plain = (RunRecord.from_json(json.loads(heard.runs[spec.run]["record.json"])) for spec in runs)
    assert (attributed.status, plain.status) == ("ok", "ok")
    [result] = attributed.results
    told = result["attribution"]
    assert result["identity"] == {"attribution": told["level"]}
    said = forecast(client.welcome["facts"])  # before anything was opened
    assert said.level == told["level"] or not said.sure
    assert "attribution" not in plain.results[0]
    lines = heard.runs[attributed.run]["gaps.any.jsonl"].decode().splitlines()
    assert len(lines) == result["gaps"]["stored"]
    if told["level"] == "nothing":
        assert told["reason"]
        return
    assert all("class" in json.loads(line) for line in lines)
    assert sum(each["count"] for each in told["classes"].values()) == told["gaps"]


def holders(marker: str) -> dict[int, int]:
    """Who holds events for the batch, and how many."""
    found = {}
    for pid in carrying(marker):
        with contextlib.suppress(OSError):
            if b"--hold-events" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
                found[pid] = links.count("anon_inode:[perf_event]")
    return found


def state_of(pid: int) -> str | None:
    stat = read_stat(Tree(), pid)
    return None if stat is None else stat.state


def attributed(repeat: int, sha256: str, attribution: str = "perf", **options: Any) -> RunSpec:
    return replace(run_spec(repeat, sha256, **options), attribution=attribution)


def next_run(client: AgentClient) -> RunRecord:
    """Up to its arrival: it is not acknowledged, and the next one does not begin for a while."""
    while True:
        frame = client.next(soon())
        assert frame is not None
        if frame.type == "run":
            return RunRecord.from_json(json.loads(split_files(frame)["record.json"]))


def test_events_are_held_open_between_attributed_runs_and_no_longer(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    marker = agent.marker()
    runs = [attributed(n, sha256, word) for n, word in enumerate(("perf", "perf", "off", "perf"), 1)]
    token = submit(client, runs)
    records, seen = [], []
    for spec in runs:
        records.append(next_run(client))
        seen.append(holders(marker))
        client.ack(EXECUTION, spec.run, soon())
    assert listen(client).last["done"] == 4
    assert holders(marker) == {}
    client.release(token, soon())
    client.bye(soon())
    held = [record.effective.get("held_events") for record in records]
    assert held[2] is None
    assert seen[2] == {}
    first, second, _, last = seen
    assert held[0] == held[1] == held[3]
    assert held[0] is not None
    if held[0]["level"] == "nothing":
        assert held[0]["reason"]
        assert seen == [{}] * 4
        return
    assert first == second
    watched = {name for record in records for name in record.facts_before["tracers"] or {}}
    assert not any(f"({pid})" in name for name in watched for pid in (*first, *last))  # we are no tracer to ourselves
    assert [fds >= held[0]["events"] > 0 for fds in first.values()] == [True]
    assert list(first.values()) == list(last.values())
    assert set(first) != set(last)
    told = [record.results[0]["attribution"] for record in records if record.spec["attribution"] == "perf"]
    assert {each["level"] for each in told} == {held[0]["level"]}
    if held[0]["level"] == "tracepoints":  # what a run opens beside them interrupts nobody
        opening = [each["instruments"]["interrupts"]["opening"] for each in told]
        assert max(opening) < held[0]["events"]


@pytest.mark.parametrize("victim", ["worker", "holder"])
def test_held_events_end_with_the_worker_and_are_opened_anew(agent: Agent, gap: bytes, victim: str) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker, marker = client.welcome["pid"], agent.marker()
    submit(client, [attributed(n, sha256, mode="shared") for n in (1, 2)])
    level = next_run(client).effective["held_events"]["level"]
    held = list(holders(marker))
    if level == "nothing":
        assert held == []
        return
    os.kill({"worker": worker, "holder": held[0]}[victim], signal.SIGKILL)
    if victim == "worker":
        until(lambda: not carrying(marker), "something was left running")
    else:
        until(lambda: state_of(held[0]) in (None, "Z"), "it does not die")
        client.ack(EXECUTION, run_spec(1, sha256).run, soon())
        assert next_run(client).effective["held_events"]["level"] == level
        assert held[0] not in holders(marker)
        assert len(holders(marker)) == 1
        client.ack(EXECUTION, run_spec(2, sha256).run, soon())
        listen(client)


def test_a_probe_that_cannot_hold_events_is_measured_all_the_same(agent: Agent) -> None:
    """One that knows no such option, and one that cannot be had: the record says why."""
    script = b"""#!/bin/sh
case "$*" in *--hold-events*) echo "odd: unknown option"; exit 2;; esac
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; [ "$1" = --cpu ] && cpu=$2; shift; done
printf '{"schema": 1, "cpu": %s, "histograms": {}}' "${cpu:-null}" > "$out/result.json"
"""
    client = agent.attach()
    sha256 = client.put("gap", script, soon())
    submit(client, [attributed(1, sha256, mode="shared")])
    heard = listen(client)
    [record] = [RunRecord.from_json(json.loads(files["record.json"])) for files in heard.runs.values()]
    assert record.status == "ok", record.reason
    held = {"scope": "task", "level": "nothing", "events": 0, "reason": "odd: unknown option"}
    assert record.effective["held_events"] == held
