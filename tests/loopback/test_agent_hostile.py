# SPDX-License-Identifier: Apache-2.0
"""Probes that hang, crash, fork, talk without end, or leave rubbish; and a disk that is full."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.probe import LOG_HALF
from harness.agent.spec import RunRecord
from harness.target.client import split_files

from .agent_kit import (
    EXECUTION,
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

#: A probe that is a shell script: $out is where it writes, then whatever the test says.
HEAD = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = --out ] && out=$2; shift; done
"""
TASK = {"affinity": str(MEASURED), "policy": "other", "priority": 0, "cpu": MEASURED}
RESULT = json.dumps(
    {
        "schema": 1,
        "cpu": MEASURED,
        "effective": {"start": TASK, "end": TASK},
        "histograms": {"gap_ns": {"file": "gap_ns.hdr"}},
    }
)
GOOD = f"echo x > $out/gap_ns.hdr; echo '{RESULT}' > $out/result.json\n"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        yield agent


def measure(agent: Agent, script: str) -> tuple[RunRecord, dict[str, bytes]]:
    client = agent.attach()
    sha256 = client.put("gap", (HEAD + script).encode(), soon())
    spec = run_spec(1, sha256, duration_ns=1)
    submit(client, [spec])
    files = listen(client).runs[spec.run]
    return RunRecord.from_json(json.loads(files["record.json"])), files


def test_the_stand_in_is_good_enough(agent: Agent) -> None:
    record, files = measure(agent, GOOD)
    assert record.status == "ok"
    assert files[f"gap_ns.cpu{MEASURED}.hdr"] == b"x\n"


@pytest.mark.parametrize(
    ("script", "fault", "said"),
    [
        ("echo 'not allowed: be root' >&2; exit 3", "environment", "not allowed: be root"),
        ("echo 'usage: gap' >&2; exit 2", "user", "does not take what the bench file says: usage: gap"),
        ("echo 'internal' >&2; exit 1", "bug", "exit status 1: internal"),
        ("exit 1", "bug", "it said nothing"),
        ("kill -SEGV $$", "bug", "crashed with signal 11"),
        ("kill -KILL $$", "environment", "was killed"),
        ("exit 0", "bug", "left no result.json"),
        ("echo '{' > $out/result.json", "bug", "unusable"),
        ("echo '[]' > $out/result.json", "bug", "no object"),
        ("echo '{\"schema\": 9}' > $out/result.json", "bug", "schema 9"),
        (f"echo '{RESULT}' > $out/result.json", "bug", "gap_ns.hdr, which is not there"),
        (GOOD + "sed -i s/gap_ns.hdr/..\\\\\\/x/ $out/result.json", "bug", "not a safe name"),
        (GOOD + f'sed -i \'s/"cpu": {MEASURED}, "eff/"cpu": null, "eff/\' $out/result.json', "bug", "says None"),
        ("head -c 5000000 /dev/zero > $out/result.json", "bug", "over 4194304 bytes"),
        ("echo '{\"x\": NaN}' > $out/result.json", "bug", "NaN"),
    ],
)
def test_how_a_probe_ends_is_whose_fault_it_is(agent: Agent, script: str, fault: str, said: str) -> None:
    record, files = measure(agent, script + "\n")
    assert (record.status, record.fault) == ("failed", fault)
    assert said in str(record.reason)
    assert set(files) == {"record.json", "log.txt"}


def test_a_binary_of_another_machine(agent: Agent) -> None:
    client = agent.attach()
    sha256 = client.put("gap", b"\x7fELF\x02\x01\x01" + bytes(100), soon())
    submit(client, [run_spec(1, sha256)])
    [files] = listen(client).runs.values()
    record = json.loads(files["record.json"])
    assert record["fault"] == "environment"
    assert "architecture" in record["reason"]


def test_one_that_hangs_and_ignores_sigterm_is_killed_with_all_it_forked(agent: Agent) -> None:
    client = agent.attach()
    marker = agent.marker()
    script = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo begun >&2; while :; do sleep 1000; done\n"
    sha256 = client.put("gap", (HEAD + script).encode(), soon())
    submit(client, [run_spec(1, sha256, duration_ns=1)])
    heard = listen(client)
    [files] = heard.runs.values()
    record = json.loads(files["record.json"])
    assert (record["status"], record["fault"]) == ("failed", "bug")
    assert "deadline" in record["reason"]
    assert b"begun" in files["log.txt"]
    assert sorted(carrying(marker)) == agent.daemons()


def test_children_that_outlive_a_good_probe_are_gone_too(agent: Agent) -> None:
    marker_before = agent.attach() and agent.marker()
    record, _ = measure(agent, "sleep 1000 & setsid sleep 1000 &\n" + GOOD)
    assert record.status == "ok"
    assert sorted(carrying(marker_before)) == agent.daemons()


def test_one_that_never_stops_talking_is_kept_first_and_last(agent: Agent) -> None:
    record, files = measure(agent, "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last\n" + GOOD)
    assert record.status == "ok"
    log = files["log.txt"]
    assert len(log) < 2 * LOG_HALF + 1000
    assert b"first\nxxx" in log
    assert b"bytes left out" in log
    assert b"xxx\nlast" in log


def test_two_cpus_are_two_probes(agent: Agent) -> None:
    cpus = sorted(os.sched_getaffinity(0))[-2:]
    client = agent.attach()
    task = 'printf \'{"schema":1,"cpu":%s,"histograms":{"gap_ns":{"file":"gap_ns.hdr"}}}\' $cpu > $out/result.json'
    begin = "echo ready; read start; "  # as probes of one run do
    script = (
        HEAD.replace("out=$2; ", 'out=$2; [ "$1" = --cpu ] && cpu=$2; ')
        + f"{begin}echo $cpu > $out/gap_ns.hdr; {task}\n"
    )
    sha256 = client.put("gap", script.encode(), soon())
    submit(client, [run_spec(1, sha256, cpus=cpus, housekeeping=[], duration_ns=1)])
    [files] = listen(client).runs.values()
    record = json.loads(files["record.json"])
    assert [result["cpu"] for result in record["results"]] == cpus
    for cpu in cpus:
        assert files[f"gap_ns.cpu{cpu}.hdr"] == f"{cpu}\n".encode()


def test_a_frozen_controller_costs_two_seconds_once_and_no_run(agent: Agent) -> None:
    client = agent.attach()
    script = HEAD + "head -c 400000 /dev/urandom > $out/gap_ns.hdr; " + GOOD.partition(";")[2]
    sha256 = client.put("gap", script.encode(), soon())
    runs = [run_spec(n, sha256, duration_ns=1) for n in range(1, 6)]
    token = submit(client, runs)
    # Nobody reads any more: more is pushed than the pipes hold, and yet the batch goes on to its end.
    until(lambda: len(list((agent.base / "state/spool" / EXECUTION).glob("gap*/MANIFEST"))) == 5, "it waits for us")
    again = agent.attach()
    listed = again.list_runs(EXECUTION, soon())["runs"]
    assert [entry["status"] for entry in listed] == ["ok"] * 5
    for entry in listed:
        split_files(again.fetch(EXECUTION, entry["run"], soon()))
    until(lambda: again.list_runs(EXECUTION, soon())["batch"] is None, "the batch did not end")
    again.release(token, soon())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(state)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr}")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", str(state)], check=True)
        agent = stack.enter_context(agent_in(tmp_path))
        client = agent.attach()
        small = client.put("gap", (HEAD + GOOD).encode(), soon())
        large = client.put(
            "gap", (HEAD + "head -c 8000000 /dev/zero > $out/gap_ns.hdr; " + GOOD.partition(";")[2]).encode(), soon()
        )
        runs = [run_spec(1, small), run_spec(2, large), run_spec(3, small)]
        submit(client, runs)
        heard = listen(client, ack=False)
        records = {name: json.loads(files["record.json"]) for name, files in heard.runs.items()}
        assert records[runs[0].run]["status"] == "ok"
        failed = records[runs[1].run]
        assert (failed["status"], failed["fault"]) == ("failed", "infrastructure")
        assert "MiB free" in failed["reason"]
        assert records[runs[2].run]["status"] == "ok"  # what the second had written made room again
        (state / "filler").write_bytes(bytes(_free(state)))
        submit(client, [run_spec(4, small)])
        heard = listen(client)
        assert heard.last["stopped"]["kind"] == "storage-full"
        assert heard.last["remaining"] == [run_spec(4, small).run]
        [event] = [event for event in heard.events if event["kind"] == "run-failed"]
        assert (event["run"], event["error"]["kind"]) == (run_spec(4, small).run, "storage-full")
        split_files(client.fetch(EXECUTION, runs[0].run, soon()))


def _free(path: Path) -> int:
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize - 65536
