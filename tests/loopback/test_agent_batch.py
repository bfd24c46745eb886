# SPDX-License-Identifier: Apache-2.0
"""Controller's client and agent together: the real probe, real knobs, real loads, over a plain pipe."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent.spec import Batch, LoadSpec, RunRecord
from harness.build import build_probe
from harness.deadline import Deadline
from harness.errors import Bug, BuildError, Busy, ConnectionLost
from harness.target.client import BatchRunning, Corrupt, Missing, StaleToken, split_files

from .agent_kit import (
    EXECUTION,
    HOUSEKEEPING,
    MEASURED,
    Agent,
    agent_in,
    carrying,
    listen,
    run_spec,
    settings,
    soon,
    submit,
    until,
    without_measured,
)

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))
ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def gap() -> bytes:
    try:
        return build_probe("gap", platform.machine()).path.read_bytes()
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        yield agent


def record_of(files: dict[str, bytes]) -> RunRecord:
    return RunRecord.from_json(json.loads(files["record.json"]))


def test_a_whole_batch(agent: Agent, gap: bytes) -> None:
    before = settings()
    client = agent.attach()
    sha256 = hashlib.sha256(gap).hexdigest()
    assert client.have([sha256], soon()) == [sha256]
    assert client.put("gap", gap, soon()) == sha256
    assert client.have([sha256], soon()) == []
    modes = ["shared", "pinned"] + (["fifo"] if ROOT else [])
    runs = [
        run_spec(1, sha256, mode=mode, load=LoadSpec(load, load), cell=f"gap.{mode}.{load}", settle_ns=1000)
        for mode in modes
        for load in ("idle", "spin")
    ]
    token = submit(client, runs)
    heard = listen(client)
    assert [event["kind"] for event in heard.events[:2]] == ["batch-started", "run-started"]
    assert (heard.last["done"], heard.last["failed"], heard.last["remaining"]) == (len(runs), 0, [])
    assert heard.last["restored"] == []
    assert list(heard.runs) == [run.run for run in runs]
    sequence = []
    for spec in runs:
        files = heard.runs[spec.run]
        record = record_of(files)
        sequence.append(record.sequence)
        where = "any" if spec.mode.where == "shared" else f"cpu{MEASURED}"
        assert set(files) == {"record.json", "log.txt", f"gap_ns.{where}.hdr", f"gaps.{where}.jsonl"}
        assert record.status == "ok"
        assert record.spec["run"] == spec.run
        assert {each["name"] for each in record.files} == set(files) - {"record.json"}
        for listed in record.files:
            assert hashlib.sha256(files[listed["name"]]).hexdigest() == listed["sha256"]
        [result] = record.results
        assert result["cpu"] == (None if where == "any" else MEASURED)
        task = record.effective["tasks"]["any" if where == "any" else str(MEASURED)]["end"]
        assert task["policy"] == ("fifo" if spec.mode.name == "fifo" else "other")
        assert record.elapsed_ns >= spec.duration_ns
        assert record.facts_before["boot_id"] == record.facts_after["boot_id"]
        assert record.validity["state"] in ("valid", "suspect", "invalid")
        assert record.load["kind"] == spec.load.kind
        if spec.load.kind == "spin":
            assert record.load["cpus"] == HOUSEKEEPING
            assert record.load["cpu_time_ns"] > 0
        assert [knob["name"] for knob in record.knobs][:2] == (
            [] if where == "any" else ["irq-affinity", "cpu-dma-latency"]
        )
        if spec.mode.name == "fifo":
            knobs = {knob["name"]: knob for knob in record.knobs}
            assert knobs["rt-throttling"]["effective"] == "-1"
            assert knobs["cpu-dma-latency"]["effective"] in ({str(MEASURED): "n/a"}, 0)  # the device's, without a file
    assert sequence == sorted(set(sequence))
    assert settings() == before
    assert client.list_runs(EXECUTION, soon())["runs"] == []
    client.release(token, soon())
    client.bye(soon())


def test_an_inherited_policy_is_not_measured(tmp_path: Path, gap: bytes) -> None:
    chrt, nice = shutil.which("chrt"), shutil.which("nice")
    if chrt is None or nice is None:
        pytest.skip("no chrt and nice (util-linux, coreutils) here")
    if ROOT and os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd starts the agent here: it inherits nothing from us")
    with agent_in(tmp_path, prefix=[nice, "-n", "5", chrt, "--batch", "0"]) as agent:
        client = agent.attach()
        sha256 = client.put("gap", gap, soon())
        submit(client, [run_spec(1, sha256, mode="shared"), run_spec(2, sha256, mode="pinned")])
        heard = listen(client)
    for files in heard.runs.values():
        [task] = record_of(files).effective["tasks"].values()
        assert (task["start"]["policy"], task["end"]["policy"]) == ("other", "other")
        assert task["nice"] == 5


def test_what_nobody_fetched_stays_and_is_not_measured_again(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    runs = [run_spec(repeat, sha256, mode="shared") for repeat in (1, 2)]
    submit(client, runs)
    client.close()  # gone without a word
    client = agent.attach()
    until(lambda: client.list_runs(EXECUTION, soon())["batch"] is None, "the batch did not end")
    listed = client.list_runs(EXECUTION, soon())["runs"]
    assert [(entry["run"], entry["status"], entry["attempt"]) for entry in listed] == [
        (run.run, "ok", 1) for run in runs
    ]
    first = split_files(client.fetch(EXECUTION, runs[0].run, soon()))
    submit(client, runs)
    heard = listen(client)
    assert heard.runs[runs[0].run] == first
    client.ack(EXECUTION, runs[0].run, soon())
    with pytest.raises(Missing):
        client.fetch(EXECUTION, runs[0].run, soon())
    submit(client, [run_spec(2, sha256, mode="shared", attempt=2), run_spec(1, sha256, mode="shared")])
    again = listen(client)
    assert record_of(again.runs[runs[0].run]).sequence > record_of(first).sequence


def test_cancel_during_a_measurement_acts_at_once(agent: Agent, gap: bytes) -> None:
    before = settings()
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    load = LoadSpec("sleepy", "argv", ["/bin/sh", "-c", "sleep 1000 & setsid sleep 1000 & while :; do :; done"])
    hour = 3600 * 10**9
    submit(client, [run_spec(1, sha256, duration_ns=hour, load=load), run_spec(2, sha256, duration_ns=hour)])
    marker = agent.marker()
    until(lambda: [pid for pid in carrying(marker) if _command(pid).startswith(b"sleep")], "the load did not start")
    until(lambda: [pid for pid in carrying(marker) if b"--duration" in _command(pid)], "the probe did not start")
    state = client.list_runs(EXECUTION, soon())["batch"]
    assert state["running"] == run_spec(1, sha256).run
    assert [spec["repeat"] for spec in state["pending"]] == [1, 2]
    ended = client.cancel(soon())
    assert ended is not None
    assert (ended["execution"], len(ended["remaining"])) == (EXECUTION, 2)
    assert {entry["ok"] for entry in ended["restored"]} == {True}
    # It is all over when the answer comes, not some time later.
    assert settings() == before
    assert sorted(carrying(marker)) == agent.daemons()
    heard = listen(client)
    assert heard.last["cancelled"]
    assert len(heard.last["remaining"]) == 2
    listing = client.list_runs(EXECUTION, soon())
    assert (listing["runs"], listing["batch"]) == ([], None)
    assert not client.cancel(soon())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_second_owner_gets_busy_and_the_first_may_return(agent: Agent, gap: bytes) -> None:
    first = agent.attach("me")
    sha256 = first.put("gap", gap, soon())
    old = first.acquire(1000, soon())
    second = agent.attach("you")
    with pytest.raises(Busy, match=r"in use by me@test for \d+ s") as caught:
        second.acquire(1000, soon())
    assert "its lease ends in" in str(caught.value.advice)
    again = agent.attach("me")
    token = again.acquire(1000, soon())
    assert token == old + 1
    with pytest.raises(ConnectionLost):  # its connection was taken for dead
        first.renew(old, 1000, soon())
    with pytest.raises(StaleToken):
        again.submit(Batch(EXECUTION, "lane", old, 1, [run_spec(1, sha256)]), soon())
    hour = run_spec(1, sha256, mode="shared", duration_ns=3600 * 10**9)
    again.submit(Batch(EXECUTION, "lane", token, 1, [hour]), soon())
    with pytest.raises(BatchRunning):
        again.submit(Batch(EXECUTION, "lane", token, 1, [hour]), soon())
    with pytest.raises(Busy):
        second.cancel(soon())
    assert again.cancel(soon())
    again.release(token, soon())
    assert second.acquire(1000, soon()) == token + 1


def test_during_a_measurement_only_what_must_be_answered_is(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    token = submit(client, [run_spec(1, sha256, mode="shared", duration_ns=3600 * 10**9)])
    marker = agent.marker()
    until(lambda: [pid for pid in carrying(marker) if b"--duration" in _command(pid)], "the probe did not start")
    client.renew(token, 500, soon())
    with pytest.raises(ConnectionLost, match=r"no answer to facts|nothing came"):
        client.facts(Deadline.after(0.3))
    other = agent.attach("me")  # a returning controller is welcome meanwhile
    assert other.welcome["lease"]["token"] == token
    assert other.cancel(soon())


def test_a_corrupt_spool_is_named(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    submit(client, [run_spec(1, sha256, mode="shared")])
    heard = listen(client, ack=False)
    [run] = heard.runs
    path = agent.base / "state/spool" / EXECUTION / run / "gap_ns.any.hdr"
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(Corrupt, match=r"gap_ns.any.hdr is not what was written"):
        client.fetch(EXECUTION, run, soon())
    client.ack(EXECUTION, run, soon())


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"t": "nonsense"}, Bug, "knows no 'nonsense'"),
        ({"t": "acquire", "ttl_s": "long"}, Bug, "a number is wanted"),
        ({"t": "have", "hashes": "x"}, Bug, "a list of strings"),
        ({"t": "have", "hashes": ["../../etc/passwd"]}, Bug, "not a SHA-256"),
        ({"t": "put", "name": "gap", "sha256": "0" * 64}, Corrupt, "damaged on its way"),
        ({"t": "put", "name": "../gap", "sha256": "0" * 64}, Bug, "not a safe name"),
        ({"t": "fetch", "execution": "..", "run": "x"}, Bug, "not a safe name"),
        ({"t": "fetch", "execution": "no", "run": "x"}, Missing, "not in the spool"),
        ({"t": "submit", "batch": {}}, Bug, "missing"),
        ({"t": "hello", "proto": 99, "owner": {"id": "me"}}, Exception, "speaks protocol 1"),
    ],
)
def test_requests_that_are_wrong_get_an_answer(agent: Agent, request_: dict[str, Any], error: Any, said: str) -> None:
    client = agent.attach()
    with pytest.raises(error, match=said):
        client._request(request_, soon())
    assert client.facts(soon())["arch"] == platform.machine()  # and the agent goes on


def test_garbage_from_a_controller_ends_its_connection_only(agent: Agent) -> None:
    client = agent.attach()
    agent.channels[0].write(b"\xff\xfe rubbish\n", soon())
    with pytest.raises(ConnectionLost, match="not a frame"):
        client.facts(soon())
    assert agent.attach().welcome["t"] == "welcome"


def test_a_batch_without_its_probe_is_refused(agent: Agent) -> None:
    client = agent.attach()
    with pytest.raises(Missing, match="not uploaded"):
        submit(client, [run_spec(1, "0" * 64)])


def test_what_this_machine_cannot_do_is_a_failed_run_with_the_reason(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    runs = [
        run_spec(1, sha256, cpus=[4095]),
        run_spec(2, sha256, mode="fifo", housekeeping=[]),
        run_spec(3, sha256, load=LoadSpec("gone", "argv", ["/no/such/command"])),
        run_spec(4, sha256, load=LoadSpec("short", "argv", ["/bin/true"]), mode="shared"),
        run_spec(5, sha256, params={"threshold": "nonsense"}, mode="shared"),
    ]
    submit(client, runs)
    heard = listen(client)
    records = [record_of(heard.runs[run.run]) for run in runs]
    assert [(record.status, record.fault) for record in records] == [
        ("failed", "environment"),
        ("failed", "environment"),
        ("failed", "environment"),
        ("ok", None),
        ("failed", "user"),
    ]
    assert "CPU 4095 is not online" in str(records[0].reason)
    assert "starve" in str(records[1].reason)
    assert "/no/such/command" in str(records[2].reason)
    assert {reason["rule"] for reason in records[3].validity["reasons"]} >= {"load-ended"}
    assert records[3].validity["state"] == "invalid"
    assert "does not take what the bench file says" in str(records[4].reason)
    assert heard.last["failed"] == 4


def test_the_daemon_ends_by_itself_and_comes_again(tmp_path: Path) -> None:
    with agent_in(tmp_path, idle_s=0.1) as agent:
        client = agent.attach()
        first = client.welcome["pid"]
        client.bye(soon())
        client.close()
        until(lambda: not agent.daemons(), "it did not end when idle")
        assert agent.attach().welcome["pid"] != first


def test_many_attach_at_once_and_there_is_one_daemon(agent: Agent) -> None:
    clients = [agent.attach(f"owner-{number}", hello=False) for number in range(6)]
    found = {client.hello({"id": str(number), "who": ""}, soon())["pid"] for number, client in enumerate(clients)}
    assert len(found) == 1
    until(lambda: len(agent.daemons()) == 2, "more than a supervisor and its worker stayed")


def test_facts_and_restore_as_commands(agent: Agent) -> None:
    facts = json.loads(agent.command("facts").stdout)
    assert facts["cpus"]["online"]
    assert agent.command("restore").stdout == "nothing to put back\n"
    agent.attach()
    assert agent.command("restore").stdout == "nothing to put back\n"
    assert agent.command("start").returncode == 0
    wrong = agent.command("dance")
    assert wrong.returncode == 2
    assert "usage:" in wrong.stderr


def test_an_agent_that_cannot_start_says_why_on_the_wire(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with agent_in(tmp_path) as agent, pytest.raises(Exception, match=r"no folder for the spool: .*/state: "):
        agent.attach()


def test_the_agent_keeps_off_the_measured_cpu(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    worker = client.welcome["pid"]
    usual = os.sched_getaffinity(worker)
    submit(client, [run_spec(1, sha256, duration_ns=3600 * 10**9)])
    marker = agent.marker()
    until(lambda: [pid for pid in carrying(marker) if b"--duration" in _command(pid)], "the probe did not start")
    assert os.sched_getaffinity(worker) == set(HOUSEKEEPING)
    client.cancel(soon())
    assert os.sched_getaffinity(worker) == usual
