# SPDX-License-Identifier: Apache-2.0
"""As on a machine booted with isolcpus: the agent is born with an affinity that leaves the measured CPU out.

A cpuset would forbid that CPU; an inherited affinity does not, and neither does isolcpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from harness.agent.spec import LoadSpec, RunRecord
from harness.agent.system import format_cpus, parse_cpus

from .agent_kit import HOUSEKEEPING, MEASURED, agent_in, listen, run_spec, soon, submit, without_measured

pytestmark = [
    pytest.mark.skipif(without_measured() is not None, reason=str(without_measured())),
    pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed"),
]


def test_each_mode_is_where_it_belongs(gap: bytes, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(gap).hexdigest()
    with agent_in(tmp_path, prefix=("taskset", "-c", format_cpus(HOUSEKEEPING))) as agent:
        client = agent.attach()
        facts = client.hello({"id": "me", "who": "me@test"}, soon())["facts"]
        assert MEASURED in facts["cpus"]["allowed"]
        client.put("gap", gap, soon())
        modes = ["shared", "pinned", *(["fifo"] if os.geteuid() == 0 else [])]
        runs = [
            run_spec(1, sha256, mode=mode, load=LoadSpec("spin", "spin"), cell=f"gap.{mode}", settle_ns=1000)
            for mode in modes
        ]
        submit(client, runs)
        heard = listen(client)
        for spec in runs:
            record = RunRecord.from_json(json.loads(heard.runs[spec.run]["record.json"]))
            assert record.status == "ok", record.reason
            [task] = record.effective["tasks"].values()
            expected = HOUSEKEEPING if spec.mode.name == "shared" else [MEASURED]
            for when in ("start", "end"):
                assert parse_cpus(task[when]["affinity"]) == expected
                assert task[when]["cpu"] in expected
            watched = [int(cpu) for cpu in record.facts_before["steal_ticks"]]
            assert watched == expected
            for reason in record.validity["reasons"]:
                if reason["rule"] == "load-short" and spec.mode.name == "shared":
                    assert "not 90%" not in reason["text"]  # it shared the load's CPUs, as asked
        [supervisor, worker] = sorted(agent.daemons())
        assert sorted(os.sched_getaffinity(worker)) == sorted(os.sched_getaffinity(supervisor)) == HOUSEKEEPING
