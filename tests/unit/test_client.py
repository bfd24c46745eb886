# SPDX-License-Identifier: Apache-2.0
"""The controller's end of the wire, against scripted bytes: answers by id, unasked frames, ends, garbage, damage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.frames import MAGIC, Decoder, Frame, encode
from harness.agent.spec import Batch
from harness.deadline import Deadline
from harness.errors import (
    Bug,
    Busy,
    ConnectionLost,
    EnvironmentFault,
    InfrastructureFault,
    StorageFull,
    TargetUnfit,
    UserError,
)
from harness.target.client import AgentClient, BatchRunning, Corrupt, Missing, StaleToken, error_of, split_files
from harness.target.clock import Clock

Answer = Callable[[Frame], bytes]


class Scripted:
    """A channel whose other end answers each request by a function; ``first`` is what it says unasked."""

    def __init__(self, *answers: Answer | None, first: bytes = MAGIC, stderr: str = "", piece: int = 1 << 20) -> None:
        self.sent: list[Frame] = []
        self._answers = list(answers)
        self._waiting = bytearray(first)
        self._decoder = Decoder()
        self._stderr = stderr
        self._piece = piece
        self.closed = False

    def read(self, n: int, deadline: Deadline) -> bytes:
        if not self._waiting:
            if self._answers and self._answers[0] is None:
                raise ConnectionLost(f"no answer within {deadline.budget_s:g} s")
            return b""
        data = bytes(self._waiting[: min(n, self._piece)])
        del self._waiting[: len(data)]
        return data

    def write(self, data: bytes, deadline: Deadline) -> None:
        for frame in self._decoder.feed(data):
            self.sent.append(frame)
            if self._answers and self._answers[0] is not None:
                self._waiting += self._answers.pop(0)(frame)  # type: ignore[misc]

    def close_stdin(self, deadline: Deadline) -> None: ...

    def stderr_tail(self) -> str:
        return self._stderr

    def exit_status(self, deadline: Deadline) -> int | None: ...

    def close(self) -> None:
        self.closed = True


def says(type_: str, body: bytes = b"", before: bytes = b"", **fields: Any) -> Answer:
    return lambda frame: before + encode({"t": type_, "id": frame.head["id"], **fields}, body)


def client_of(*answers: Answer | None, **options: Any) -> tuple[AgentClient, Scripted]:
    channel = Scripted(*answers, **options)
    return AgentClient(channel, "box"), channel


def soon() -> Deadline:
    return Deadline.after(5)


def event(kind: str) -> bytes:
    return encode({"t": "event", "kind": kind})


@given(st.binary(max_size=200).filter(lambda junk: MAGIC not in junk), st.integers(1, 40))
def test_the_magic_is_found_behind_junk_in_any_pieces(junk: bytes, piece: int) -> None:
    client, channel = client_of(says("welcome", agent="x"), first=junk + MAGIC, piece=piece)
    assert client.hello({"id": "me", "who": "w"}, soon())["agent"] == "x"
    assert channel.sent[0].head == {"t": "hello", "id": 1, "proto": 1, "owner": {"id": "me", "who": "w"}}


def test_answers_go_by_id_and_the_unasked_waits_its_turn() -> None:
    late = encode({"t": "ok", "id": 99})  # to a request that was given up long ago
    client, _ = client_of(says("facts", before=event("a") + late + event("b"), facts={"arch": "z"}))
    assert client.facts(soon()) == {"arch": "z"}
    assert [frame.head["kind"] for frame in (client.next(soon()), client.next(soon())) if frame] == ["a", "b"]


def test_silence_is_no_fault_while_listening_but_is_while_waiting_for_an_answer() -> None:
    client, _ = client_of(None)
    assert client.next(Deadline.after(0)) is None
    with pytest.raises(ConnectionLost):
        client.facts(Deadline.after(0))


def test_a_submit_forgets_the_events_of_the_batch_before() -> None:
    run = encode({"t": "run", "run": "x", "files": []})
    client, _ = client_of(says("ok", before=event("batch-finished") + run))
    client.submit(Batch("e", "l", 1, 1, []), soon())
    frame = client.next(soon())
    assert frame is not None
    assert frame.type == "run"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"first": b""}, "before the agent answered: python3: not found"),
        ({}, "closed by the target: python3: not found"),
        ({"first": MAGIC + b"rubbish\n"}, "garbage on the wire: .*python3: not found"),
    ],
)
def test_an_end_comes_with_what_the_target_said(options: dict[str, Any], said: str) -> None:
    client, _ = client_of(stderr="python3: not found\n", **options)
    with pytest.raises(ConnectionLost, match=said):
        client.facts(soon())


def test_what_came_instead_of_an_agent_is_shown() -> None:
    client, _ = client_of(first=b"This account is currently not available.\n")
    with pytest.raises(ConnectionLost, match="currently not available"):
        client.facts(soon())


def test_a_connection_that_takes_nothing() -> None:
    class Broken(Scripted):
        def write(self, data: bytes, deadline: Deadline) -> None:
            raise ConnectionLost("broken pipe")

    with pytest.raises(ConnectionLost, match="broken pipe: sudo: a password is required"):
        AgentClient(Broken(stderr="sudo: a password is required"), "box").facts(soon())


@pytest.mark.parametrize(
    ("fault", "kind", "error"),
    [
        ("infrastructure", "busy", Busy),
        ("infrastructure", "busy-batch", BatchRunning),
        ("infrastructure", "corrupt", Corrupt),
        ("infrastructure", "missing", Missing),
        ("infrastructure", "slow", ConnectionLost),
        ("infrastructure", "stale-token", StaleToken),
        ("infrastructure", "storage-full", StorageFull),
        ("environment", "unsupported", TargetUnfit),
        ("environment", "anything", EnvironmentFault),
        ("infrastructure", "anything", InfrastructureFault),
        ("user", "anything", UserError),
        ("bug", "anything", Bug),
        ("weather", "anything", Bug),
    ],
)
def test_errors_are_raised_as_what_they_stand_for(fault: str, kind: str, error: type[Exception]) -> None:
    client, _ = client_of(says("error", fault=fault, kind=kind, message="it hurts", advice="rest"))
    with pytest.raises(error, match="agent: it hurts") as caught:
        client.facts(soon())
    assert type(caught.value) is error
    assert caught.value.advice == "rest"  # type: ignore[attr-defined]


def test_an_error_nobody_asked_for_ends_it() -> None:
    refusal = encode({"t": "error", "id": None, "fault": "environment", "kind": "x", "message": "not for you"})
    client, _ = client_of(first=MAGIC + refusal)
    with pytest.raises(EnvironmentFault, match="not for you"):
        client.hello({"id": "me", "who": ""}, soon())
    assert str(error_of({})) == "agent: None"


def test_busy_says_who_and_how_long() -> None:
    client, _ = client_of(says("busy", owner={"id": "x", "who": "ann@lab"}, age_s=12.3, expires_s=44.0))
    with pytest.raises(Busy, match="in use by ann@lab for 12 s") as caught:
        client.acquire(60, soon())
    assert "44 s" in str(caught.value.advice)


@pytest.mark.parametrize(
    ("owner", "what"),
    [("quick/20261120T010000Z-1f/box", "quick/20261120T010000Z"), ("doctor/box", "doctor")],
)
def test_busy_says_with_what_and_how_to_end_it(owner: str, what: str) -> None:
    client, _ = client_of(says("busy", owner={"id": owner, "who": "ann@lab"}, age_s=1, expires_s=2))
    with pytest.raises(Busy, match=rf"in use by ann@lab \({what}\) for 1 s") as caught:
        client.acquire(60, soon())
    assert str(caught.value.advice).endswith("isolbench restore --cancel box")


def run_frame(contents: dict[str, bytes], **wrong: Any) -> Answer:
    listed = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()
    ]
    return says("run", b"".join(contents.values()), **{"run": "c-r1", "files": listed, **wrong})


def test_fetched_files_are_checked() -> None:
    files = {"record.json": b"{}", "empty": b"", "log.txt": b"said"}
    client, _ = client_of(run_frame(files))
    assert split_files(client.fetch("e", "c-r1", soon())) == files


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([{"name": "a", "size": 4, "sha256": "0" * 64}], "a was damaged"),
        ([{"name": "a", "size": 5, "sha256": hashlib.sha256(b"data").hexdigest()}], "a was damaged"),
        ([{"name": "a", "size": -1, "sha256": "0" * 64}], "a was damaged"),
        ([{"name": "../a", "size": 4, "sha256": hashlib.sha256(b"data").hexdigest()}], "not a safe name"),
        ([{"size": 4}], "unreadable"),
        ("text", "unreadable"),
        (None, "unreadable"),
        ([], "4 bytes more"),
    ],
)
def test_damage_on_the_way_is_named(files: Any, said: str) -> None:
    client, _ = client_of(run_frame({"a": b"data"}, files=files))
    with pytest.raises(Corrupt, match=said):
        client.fetch("e", "c-r1", soon())


def test_what_is_put_goes_with_its_hash() -> None:
    client, channel = client_of(says("ok"))
    assert client.put("gap", b"probe", soon()) == hashlib.sha256(b"probe").hexdigest()
    assert channel.sent[0].body == b"probe"
    client.close()
    assert channel.closed


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        (lambda c: c.have(["b", "a"], soon()), {"t": "have", "hashes": ["a", "b"]}),
        (lambda c: c.renew(3, 60, soon()), {"t": "renew", "token": 3, "ttl_s": 60}),
        (lambda c: c.release(3, soon()), {"t": "release", "token": 3}),
        (lambda c: c.ack("e", "r", soon()), {"t": "ack", "execution": "e", "run": "r"}),
        (lambda c: c.cancel(soon()), {"t": "cancel"}),
        (lambda c: c.restore(soon()), {"t": "restore"}),
        (lambda c: c.bye(soon()), {"t": "bye"}),
        (lambda c: c.list_runs("e", soon()), {"t": "list", "execution": "e"}),
    ],
)
def test_what_each_call_asks(call: Callable[[AgentClient], Any], request_: dict[str, Any]) -> None:
    kinds: Sequence[str] = {"have": ["have"], "list": ["list"]}.get(request_["t"], ["ok"])
    client, channel = client_of(says(kinds[0]))
    call(client)
    assert channel.sent[0].head == {**request_, "id": 1}


def test_an_answer_of_another_kind_is_a_bug() -> None:
    client, _ = client_of(says("welcome"))
    with pytest.raises(Bug, match="facts was expected, welcome came"):
        client.facts(soon())


class TestClock:
    def test_of_several_readings_the_shortest(self) -> None:
        ahead_ns = 3600 * 10**9

        def theirs(frame: Frame) -> bytes:
            return encode({"t": "clock", "id": frame.head["id"], "realtime_ns": time.time_ns() + ahead_ns})

        clock = client_of(theirs, theirs, theirs)[0].clock(soon())
        assert clock is not None
        assert abs(clock.skew_ns - ahead_ns) <= clock.uncertainty_ns < 10**9

    @pytest.mark.parametrize("said", [None, "noon", -1, 1 << 63, 10**400, 1.5, []])
    def test_what_is_no_time_is_no_clock(self, said: object) -> None:
        assert client_of(says("clock", realtime_ns=said))[0].clock(soon()) is None

    def test_an_older_agent_knows_no_such_request(self) -> None:
        error = says("error", fault="bug", kind="unknown-request", message="this agent knows no 'clock'")
        assert client_of(error)[0].clock(soon()) is None

    @given(
        sent_ns=st.integers(0, 1 << 61), took_ns=st.integers(0, 1 << 40), share=st.floats(0, 1),
        skew_ns=st.integers(-(1 << 61), 1 << 61),
    )  # fmt: skip
    def test_wherever_it_looked_within_the_round_trip_the_skew_lies_within_the_uncertainty(
        self, sent_ns: int, took_ns: int, share: float, skew_ns: int
    ) -> None:
        looked_ns = sent_ns + min(took_ns, int(share * took_ns))
        clock = Clock.read(sent_ns, took_ns, looked_ns + skew_ns)
        assert abs(clock.skew_ns - skew_ns) <= clock.uncertainty_ns <= took_ns // 2 + 1
