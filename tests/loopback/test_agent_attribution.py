# SPDX-License-Identifier: Apache-2.0
"""A run that asks for causes, by the agent: the probe looks for them, and what it found comes back with the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from harness.agent.spec import RunRecord

from .agent_kit import Agent, listen, run_spec, soon, submit, without_measured

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
    assert "attribution" not in plain.results[0]
    lines = heard.runs[attributed.run]["gaps.any.jsonl"].decode().splitlines()
    assert len(lines) == result["gaps"]["stored"]
    if told["level"] == "nothing":
        assert told["reason"]
        return
    assert all("class" in json.loads(line) for line in lines)
    assert sum(each["count"] for each in told["classes"].values()) == told["gaps"]
