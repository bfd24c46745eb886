# SPDX-License-Identifier: Apache-2.0
"""The parts of attribution, the probes' own code, on recorded and invented bytes, events and gaps."""

from __future__ import annotations

import itertools
import json
import re
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from harness import build

from .csrc_kit import a_cpu

GOLDEN = Path(__file__).parents[1] / "golden"
IDS = {
    "raw_syscalls/sys_enter": 1483, "irq_vectors/local_timer_entry": 1486, "irq_vectors/reschedule_entry": 1487,
    "irq_vectors/call_function_single_entry": 1489, "irq/irq_handler_entry": 1495, "irq/softirq_entry": 1497,
    "timer/hrtimer_expire_entry": 1499, "timer/timer_expire_entry": 1500, "tlb/tlb_flush": 1501,
    "csd/csd_function_entry": 1502, "sched/sched_switch": 1503,
}  # fmt: skip
HEAD, TAIL = 36504, 28672
SAMPLE, LOST, THROTTLE, SWITCH = 9, 2, 5, 14
OURS = 77


@pytest.fixture(scope="module")
def tool() -> Path:
    return build.build_program("tests/tracetest.c", build.native_arch()).path


def call(tool, *argv, given_text=b""):
    text = given_text if isinstance(given_text, bytes) else given_text.encode()
    done = subprocess.run([tool, *map(str, argv)], input=text, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)


# --- formats ---


def format_of(event):
    return (GOLDEN / "trace" / "events" / event / "format").read_text()


def test_fields_are_where_the_kernel_says(tool):
    got = call(
        tool, "format", "next_comm", "next_pid", "prev_state", "no_such", given_text=format_of("sched/sched_switch")
    )
    assert got == {
        "id": int(re.search(r"^ID: (\d+)$", format_of("sched/sched_switch"), re.M)[1]),
        "next_comm": {"offset": 40, "size": 16, "signed": False, "located": False},
        "next_pid": {"offset": 56, "size": 4, "signed": True, "located": False},
        "prev_state": {"offset": 32, "size": 8, "signed": True, "located": False},
        "no_such": None,
    }
    name = call(tool, "format", "name", "irq", given_text=format_of("irq/irq_handler_entry"))["name"]
    assert name == {"offset": 12, "size": 4, "signed": False, "located": True}


def test_a_field_that_moved_or_is_gone_is_found_or_missed(tool):
    """Nothing is assumed of offsets: another kernel has them elsewhere."""
    text = format_of("sched/sched_switch").replace("offset:56;\tsize:4", "offset:72;\tsize:8")
    text = "\n".join(line for line in text.splitlines() if "prev_state;" not in line)
    got = call(tool, "format", "next_pid", "prev_state", given_text=text)
    assert (got["next_pid"]["offset"], got["next_pid"]["size"], got["prev_state"]) == (72, 8, None)


@given(text=st.text(st.sampled_from("field:ofst;,[]_ \tunsigned char0123456789\nID")) | st.text())
def test_what_is_no_format_is_none(tool, text):
    got = call(tool, "format", "vec", given_text=text.replace("\0", ""))
    assert got["vec"] is None or got["vec"]["size"] > 0
    assert got["id"] == -1 or re.search(r"^ID:\s*\d", text, re.M)


# --- records ---


def fields_of(event):
    found = re.findall(
        r"field:([^;]+?)(\w+)(?:\[\w*\])?;\s+offset:(\d+);\s+size:(\d+);\s+signed:(\d)", format_of(event)
    )
    return {name: (kind, int(at), int(size), signed == "1") for kind, name, at, size, signed in found}


def number(raw, field):
    _, at, size, signed = field
    return int.from_bytes(raw[at : at + size], "little", signed=signed) % 2**64


def text_of(raw, field):
    kind, at, size, _ = field
    if "__data_loc" in kind:
        where = int.from_bytes(raw[at : at + size], "little")
        at, size = where & 0xFFFF, where >> 16
    return raw[at : at + size][:23].split(b"\0")[0].decode()


FIELDS = {  # value, extra, text
    "raw_syscalls/sys_enter": ("id", None, None),
    "irq/irq_handler_entry": ("irq", None, "name"),
    "irq/softirq_entry": ("vec", None, None),
    "timer/hrtimer_expire_entry": ("function", None, None),
    "timer/timer_expire_entry": ("function", None, None),
    "tlb/tlb_flush": ("reason", None, None),
    "csd/csd_function_entry": ("func", "csd", None),
    "sched/sched_switch": ("next_pid", "prev_state", "next_comm"),
}


def decoded_here(data, tail, head, other_fields=None):
    """By perf_event_open(2), and nothing of ours."""
    ring = data[tail % len(data) :] + data[: tail % len(data)]
    names, at = {number: name for name, number in IDS.items()}, 0
    while at < head - tail:
        kind, _, size = struct.unpack_from("<IHH", ring, at)
        assert kind == SAMPLE
        number_of_event, _, tid, time_ns, length = struct.unpack_from("<QIIQI", ring, at + 8)
        raw = ring[at + 36 : at + 36 + length]
        event = names[number_of_event]
        fields = fields_of(event)
        value, extra, text = {**FIELDS, **(other_fields or {})}.get(event, ("vector", None, None))
        yield {
            "what": "event", "event": event, "time_ns": time_ns, "tid": tid,
            "value": number(raw, fields[value]),
            "extra": number(raw, fields[extra]) if extra else 0,
            "text": text_of(raw, fields[text]) if text else "",
            "other": 0,
        }  # fmt: skip
        at += size


def with_who_went(expected, data, tid):
    """Where the measured task comes, it is of interest who went."""
    records = decoded_here(data, TAIL, HEAD, {"sched/sched_switch": ("prev_pid", "prev_state", "prev_comm")})
    for told, went in zip(expected, records, strict=True):
        comes = told["event"] == "sched/sched_switch" and told["value"] == tid
        yield {**told, "text": went["text"], "other": went["value"]} if comes else told


def decode(tool, data, tail, head, ids=IDS, tid=OURS):
    pairs = [f"{name}={number}" for name, number in ids.items()]
    return call(tool, "decode", GOLDEN / "trace", len(data), head, tail, tid, *pairs, given_text=bytes(data))


def test_a_recorded_ring_is_decoded(tool):
    data = (GOLDEN / "trace-ring.bin").read_bytes()
    expected = list(decoded_here(data, TAIL, HEAD))
    assert len({each["event"] for each in expected}) == len(IDS)
    assert decode(tool, data, TAIL, HEAD) == {"records": expected, "left": 0}
    assert {"virtio1-req.0", "rcu_preempt"} <= {each["text"] for each in expected}
    switches = [each["value"] for each in expected if each["event"] == "sched/sched_switch"]
    ours = max(switches, key=switches.count)
    again = decode(tool, data, TAIL, HEAD, tid=ours)["records"]
    assert again == list(with_who_went(expected, data, ours))
    assert {each["other"] for each in again} != {0}


def switch(at, tid, went, came):
    event = "sched/sched_switch"
    raw = struct.pack("<HBBi16siiq16sii", IDS[event], 0, 0, went, b"went", went, 120, 1, b"came", came, 120)
    return record(SAMPLE, struct.pack("<QIIQI", IDS[event], tid, tid, at, len(raw)) + raw)


def test_in_a_container_the_task_is_known_by_the_number_that_it_goes_by(tool):
    """A sample has the container's number of its task, a switch the machine's of both."""
    there = 5000
    data = b"".join([
        switch(1, 9, 9, there),  # nothing is known yet
        switch(2, OURS, there, 9),
        switch(3, 9, 9, there),
        switch(4, OURS, there, OURS),  # somebody has there the number that ours has here
        switch(5, 9, OURS, there),
    ])  # fmt: skip
    got = decode(tool, data.ljust(1024, b"\0"), 0, len(data))["records"]
    assert [(each["value"], each["other"], each["text"]) for each in got] == [
        (there, 0, "came"), (9, 0, "came"), (OURS, 9, "went"), (there, 0, "came"), (OURS, there, "went"),
    ]  # fmt: skip


def test_where_a_text_is_may_be_counted_from_its_field(tool, tmp_path):
    """`__rel_loc`, beside `__data_loc` since Linux 5.17: of which of them a field is, its format says."""
    event = "irq/irq_handler_entry"
    folder = tmp_path / "events" / event
    folder.mkdir(parents=True)
    (folder / "format").write_text(format_of(event).replace("__data_loc", "__rel_loc"))
    raw = struct.pack("<HBBiiI", IDS[event], 0, 0, OURS, 9, 0 | 5 << 16) + b"eth0\0"
    data = record(SAMPLE, struct.pack("<QIIQI", IDS[event], OURS, OURS, 1, len(raw)) + raw).ljust(256, b"\0")
    size = struct.unpack_from("<H", data, 6)[0]
    pair = f"{event}={IDS[event]}"
    got = call(tool, "decode", tmp_path, len(data), size, 0, OURS, pair, given_text=data)
    assert [(each["value"], each["text"]) for each in got["records"]] == [(9, "eth0")]


def record(kind, body, misc=0):
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def vector(at, value=236, event="irq_vectors/local_timer_entry", tid=OURS):
    raw = struct.pack("<IiI", 0, tid, value)
    return record(SAMPLE, struct.pack("<QIIQI", IDS[event], tid, tid, at, len(raw)) + raw)


def sample_id(at, tid=OURS):
    return struct.pack("<IIQQ", tid, tid, at, 1)


@given(
    values=st.lists(st.integers(0, 2**32 - 1), max_size=12),
    start=st.integers(0, 2**40).map(lambda n: n * 8),
)
def test_records_wrap_around_wherever_they_lie(tool, values, start):
    stream = b"".join(vector(at, value) for at, value in enumerate(values))
    size = 1024
    ring = bytearray(size)
    for i, byte in enumerate(stream):
        ring[(start + i) % size] = byte
    got = decode(tool, ring, start, start + len(stream))
    assert got["left"] == 0
    signed = [struct.unpack("<i", struct.pack("<I", value))[0] % 2**64 for value in values]
    assert [(each["time_ns"], each["value"]) for each in got["records"]] == list(enumerate(signed))


def test_the_other_records(tool):
    stream = b"".join([
        record(LOST, struct.pack("<QQ", 1, 41) + sample_id(5)),
        record(SWITCH, sample_id(6), misc=1 << 13 | 1 << 14),
        record(SWITCH, sample_id(7), misc=1 << 13),
        record(SWITCH, sample_id(8)),
        record(THROTTLE, struct.pack("<QQQ", 0, 0, 0) + sample_id(9)),
        record(SAMPLE, struct.pack("<QIIQQ", 9, OURS, OURS, 10, 0xDEAD000)),
        record(SAMPLE, struct.pack("<QIIQI", 12345, OURS, OURS, 11, 0)),
        record(SAMPLE, struct.pack("<QIIQI", IDS["irq/softirq_entry"], OURS, OURS, 12, 4000)),
        record(77, sample_id(13)),
    ])  # fmt: skip
    ring = stream + bytes(1024 - len(stream))
    got = decode(tool, ring, 0, len(stream), {**IDS, "software/page_fault": 9})["records"]
    switch = {"what": "event", "event": "software/context_switch", "tid": OURS, "extra": 0, "text": "", "other": 0}
    assert got[0] == {"what": "loss", "lost": 41}
    assert got[1:3] == [{**switch, "time_ns": 6, "value": 1}, {**switch, "time_ns": 7, "value": 0}]
    assert [each["what"] for each in got[3:5]] == ["ignored", "throttled"]
    assert (got[5]["event"], got[5]["extra"]) == ("software/page_fault", 0xDEAD000)
    assert [each["what"] for each in got[6:]] == ["unknown"] * 3


@given(
    data=st.binary(min_size=256, max_size=256)
    | st.lists(st.tuples(st.sampled_from([SAMPLE, LOST, SWITCH]), st.binary(max_size=40)), max_size=6).map(
        lambda records: b"".join(record(kind, body) for kind, body in records)[:256].ljust(256, b"\0")
    ),
    tail=st.integers(0, 40).map(lambda n: 8 * n),
    held=st.integers(0, 300),
)
def test_garbage_is_unknown_and_never_read_beyond(tool, data, tail, held):
    got = decode(tool, data, tail, tail + held)
    assert 0 <= got["left"] <= held
    assert len(got["records"]) <= held // 8


# --- gaps and events ---


ENTRIES = {
    "raw_syscalls/sys_enter": "syscall", "exceptions/page_fault_user": "exception",
    "irq_vectors/local_timer_entry": "interrupt", "irq/irq_handler_entry": "interrupt", "nmi/nmi_handler": "interrupt",
}  # fmt: skip
OWN = {"raw_syscalls/sys_enter", "exceptions/page_fault_user"}


def event(at, source, tid=OURS, value=0, extra=0, text=""):
    return f"event {at} {source} {tid} {value} {extra} {text}"


def match(tool, lines, *, kept=1000, tolerance=0, files=()):
    return call(tool, "match", OURS, 10**9, tolerance, kept, *files, given_text="\n".join(lines) + "\n")


events = st.tuples(
    st.integers(0, 100_000),
    st.sampled_from([*ENTRIES, "irq/softirq_entry", "timer/tick_stop"]),
    st.sampled_from([OURS, 5]),
)


@given(
    edges=st.lists(st.integers(1000, 90_000), min_size=2, max_size=40, unique=True).map(sorted),
    happened=st.lists(events, max_size=60).map(sorted),
    tolerance=st.integers(0, 50),
)
def test_each_event_is_in_the_gap_that_it_lies_in_or_counted(tool, edges, happened, tolerance):
    gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    lines = [event(at, source, tid, 1) for at, source, tid in happened]
    lines += ["before 1000", *(f"gap {a} {b - a}" for a, b in gaps), "until 95000", "after"]
    got = match(tool, lines, tolerance=tolerance)

    counts = dict.fromkeys(("inside", "outside", "before", "after", "foreign"), 0)
    chains = {start: [] for start, _ in gaps}
    for at, source, tid in happened:
        home = next((a for a, b in gaps if a - tolerance <= at < b), None)
        if source in OWN and tid != OURS:
            counts["foreign"] += 1
        elif at + tolerance < 1000:
            counts["before"] += 1
        elif home is not None:
            counts["inside"] += 1
            chains[home].append((max(at - home, 0), source))
        else:
            counts["after" if at + tolerance >= 95_000 else "outside"] += 1
    attribution = got["attribution"]
    assert attribution["placed"] == counts
    for (start, _), told in zip(gaps, got["gaps"], strict=True):
        chain = chains[start]
        entries = [ENTRIES[source] for _, source in chain if source in ENTRIES]
        implied = ["interrupt"] if chain else ["unexplained"]
        assert told["class"] == (entries or implied)[0]
        assert [offset for offset, _ in told["chain"]] == [offset for offset, _ in chain][:12]
        assert told.get("more", 0) == max(0, len(chain) - 12)
        assert (told["cause"] is None) == (not entries)
    assert attribution["gaps"] == len(gaps) == sum(each["count"] for each in attribution["causes"])
    lengths = sorted(b - a for a, b in gaps)
    assert sum(each["stolen_ns"] for each in attribution["classes"].values()) == sum(lengths)
    assert max(each["max_ns"] for each in attribution["causes"]) == lengths[-1]
    assert [each["stolen_ns"] for each in attribution["causes"]] == sorted(
        (each["stolen_ns"] for each in attribution["causes"]), reverse=True
    )


def test_gaps_that_touch_share_no_event(tool):
    got = match(tool, [event(1999, "nmi/nmi_handler"), event(2000, "irq/irq_handler_entry", text="eth0"),
                       "gap 1000 1000", "gap 2000 1000"], tolerance=30)  # fmt: skip
    assert [len(gap["chain"]) for gap in got["gaps"]] == [1, 1]


TIMER, WORK, SWITCHED = "irq_vectors/local_timer_entry", "workqueue/workqueue_execute_start", "sched/sched_switch"
SIGNAL = "signal/signal_deliver"
CAUSES = [
    ([(TIMER, {}), ("timer/hrtimer_expire_entry", {"value": 0x1010})], "interrupt", "hrtimer:tick_nohz_handler"),
    ([(TIMER, {}), ("timer/hrtimer_expire_entry", {"value": 0x1010}), ("irq/softirq_entry", {"value": 1}),
      ("timer/timer_expire_entry", {"value": 0x1020})], "interrupt", "timer:delayed_work_timer_fn"),
    ([("irq/irq_handler_entry", {"value": 36, "text": "nvme0q1"})], "interrupt", "irq:nvme0q1"),
    ([("irq_vectors/call_function_single_entry", {}), ("csd/csd_function_entry", {"value": 0x1030}),
      ("tlb/tlb_flush", {"value": 1})], "interrupt", "call:flush_tlb_func"),
    ([("irq_vectors/call_function_entry", {}), ("tlb/tlb_flush", {"value": 1})], "interrupt", "tlb:remote_shootdown"),
    ([(TIMER, {}), (SWITCHED, {"value": 9, "text": "kworker/1:2"}), (WORK, {"value": 0x1040})],
     "interrupt", "work:vmstat_update"),
    ([(TIMER, {}), (SWITCHED, {"value": 8, "text": "make"}), (TIMER, {}),
      (SWITCHED, {"value": 9, "text": "kworker/1:2"}),
      (WORK, {"value": 0x1040}), (SWITCHED, {"value": OURS, "text": "gap"})], "interrupt", "task:make"),
    ([("irq_vectors/reschedule_entry", {}), (SWITCHED, {"value": 9, "text": "migration/3"})],
     "interrupt", "task:migration"),
    ([("raw_syscalls/sys_enter", {"value": 10**6}), (TIMER, {})], "syscall", "syscall:1000000"),
    ([("exceptions/page_fault_user", {"extra": 0xABC}), (TIMER, {})], "exception", "fault:user"),
    ([("software/page_fault", {"extra": 0xABC})], "exception", "fault:user"),
    ([(SWITCHED, {"value": 9, "text": "make"})], "interrupt", "task:make"),
    ([(SWITCHED, {"value": 9, "extra": 256, "text": "make"})], "interrupt", "task:make"),  # R+: it had to go
    ([(SWITCHED, {"value": 9, "extra": 1, "text": "make"})], "syscall", "task:make"),
    # Ours comes, and was not there before: what was there instead.
    ([(TIMER, {}), ("timer/hrtimer_expire_entry", {"value": 0x1010}),
      (SWITCHED, {"value": OURS, "text": "ksoftirqd/3<9"})], "interrupt", "task:ksoftirqd"),
    ([(SWITCHED, {"value": OURS, "extra": 1, "text": "make<9"})], "interrupt", "task:make"),
    ([(TIMER, {}), (SWITCHED, {"value": OURS, "text": "swapper/3"})], "interrupt", "vector:local_timer"),
    ([("irq_vectors/reschedule_entry", {}), (SIGNAL, {"value": 10}), ("raw_syscalls/sys_enter", {"value": 10**6})],
     "interrupt", "signal:SIGUSR1"),
    ([(TIMER, {}), ("timer/hrtimer_expire_entry", {"value": 0x1010}), (SIGNAL, {"value": 27})],
     "interrupt", "signal:SIGPROF"),
    ([("raw_syscalls/sys_enter", {"value": 10**6}), (SIGNAL, {"value": 64})], "syscall", "signal:64"),
    ([(SIGNAL, {"value": 15}), (SWITCHED, {"value": 9, "text": "make"})], "interrupt", "task:make"),
    ([("software/context_switch", {"value": 1})], "interrupt", "switch:preempted"),
    ([("software/context_switch", {"value": 0})], "syscall", "switch:slept"),
    ([("irq/irq_handler_entry", {"value": 4, "text": "IPI"}), ("ipi/ipi_entry", {"value": 0xFFFF800081230000})],
     "interrupt", "ipi:Rescheduling interrupts"),
    ([("irq/softirq_entry", {"value": 9})], "interrupt", None),
    ([(TIMER, {}), ("timer/hrtimer_expire_entry", {"value": 0x500})], "interrupt", "hrtimer:0x500"),
    ([], "unexplained", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    (folder / "kallsyms").write_text(
        "0000000000000000 A irq_stack\n0000000000001010 t tick_nohz_handler\n0000000000001020 T delayed_work_timer_fn\n"
        "0000000000001028 D data\n0000000000001030 t flush_tlb_func\t[mod]\n0000000000001040 W vmstat_update\n"
    )
    (folder / "printk_formats").write_text('0xffff800081230000 : "Rescheduling interrupts"\n0x1 : "other"\n')
    return folder / "kallsyms", folder / "printk_formats"


@pytest.mark.parametrize(("happened", "class_", "cause"), CAUSES, ids=[str(cause) for _, _, cause in CAUSES])
def test_the_cause_of_a_gap(tool, files, happened, class_, cause):
    lines = [event(1100 + i, source, **more) for i, (source, more) in enumerate(happened)]
    got = match(tool, [*lines, "gap 1000 1000"], files=files)
    assert (got["gaps"][0]["class"], got["gaps"][0]["cause"]) == (class_, cause)
    (total,) = got["attribution"]["causes"]
    assert (total["class"], total["cause"], total["count"], total["stolen_ns"]) == (class_, cause, 1, 1000)


def test_every_signal_has_its_name(tool):
    numbers = sorted(signal.Signals)
    lines = [line for i, number in enumerate(numbers) for line in (
        event(1000 * i + 1100, SIGNAL, value=int(number)), f"gap {1000 * i + 1000} 900")]  # fmt: skip
    causes = [gap["cause"].removeprefix("signal:") for gap in match(tool, lines)["gaps"]]
    plain = [number.name if number < signal.SIGRTMIN - 2 else str(int(number)) for number in numbers]
    assert causes == plain


def test_what_a_gap_says_beside_its_cause(tool):
    got = match(tool, [event(1100, "exceptions/page_fault_user", extra=0xDEADB000),
                       event(1300, SWITCHED, value=4711, text="make"), "gap 1000 1000"])  # fmt: skip
    assert got["gaps"] == [
        {
            "class": "exception", "cause": "task:make", "chain": [[100, "fault:user"], [300, "task:make"]],
            "address": "0xdeadb000", "tid": 4711,
        }
    ]  # fmt: skip
    (total,) = got["attribution"]["causes"]
    assert (total["entry"], total["cause"]) == ("fault:user", "task:make")


CALL_VECTOR, CALLED = "irq_vectors/call_function_single_entry", "csd/csd_function_entry"
CALLER, SENDER = "csd/csd_queue_cpu", "ipi/ipi_send_cpu"
RESCHEDULE = "irq_vectors/reschedule_entry"


def sent(at, source, cpu, tid, extra=0, function=0):
    return f"sent {at} {source} {tid} {0x1010} {extra} {cpu} {function}"


SENT = [
    # A function is known by the structure it was queued with, and whoever queued it last is meant.
    ([sent(10, CALLER, 4, 40, 0xAA), sent(900, CALLER, 5, 50, 0xAA), sent(950, CALLER, 6, 60, 0xBB)],
     [event(1100, CALL_VECTOR), event(1200, CALLED, extra=0xAA)], (5, 50)),
    # One that was queued later cannot have been meant.
    ([sent(900, CALLER, 5, 50, 0xAA), sent(1300, CALLER, 6, 60, 0xAA)],
     [event(1200, CALLED, extra=0xAA)], (5, 50)),
    # The structure was used again, for something else: that it was is not recorded.
    ([sent(900, CALLER, 5, 50, 0xAA, 0x1030)], [event(1200, CALLED, value=0x1040, extra=0xAA)], None),
    ([sent(900, CALLER, 5, 50, 0xAA, 0x1030)], [event(1200, CALLED, value=0x1030, extra=0xAA)], (5, 50)),
    ([sent(900, SENDER, 5, 50), sent(950, SENDER, 6, 60, extra=0x77)], [event(1100, RESCHEDULE)], (5, 50)),
    ([sent(900, CALLER, 5, 50, 0xAA)], [event(1100, RESCHEDULE)], None),
    ([sent(900, SENDER, 5, 50)], [event(1100, "ipi/ipi_entry", value=1)], (5, 50)),
    # What has come is no later one's, of whose own there is no record.
    ([sent(90, SENDER, 5, 50)], [event(100, RESCHEDULE), event(1100, RESCHEDULE)], None),
    ([sent(80, SENDER, 5, 50), sent(90, SENDER, 6, 60)], [event(100, RESCHEDULE), event(1100, RESCHEDULE)], None),
    ([sent(90, SENDER, 5, 50), sent(900, SENDER, 6, 60)], [event(100, RESCHEDULE), event(1100, RESCHEDULE)], (6, 60)),
    ([sent(90, CALLER, 5, 50, 0xAA), sent(95, CALLER, 6, 60, 0xBB)],
     [event(100, CALLED, extra=0xAA), event(1100, CALLED, extra=0xBB)], (6, 60)),
    # What came while another task ran was not for ours.
    ([sent(900, SENDER, 5, 50)], [event(1050, "sched/sched_switch", value=9, text="make"), event(1100, RESCHEDULE)],
     None),
    ([], [event(1100, RESCHEDULE)], None),
]  # fmt: skip


@pytest.mark.parametrize(("others", "happened", "sender"), SENT)
def test_who_sent_an_interrupt(tool, files, others, happened, sender):
    (got,) = match(tool, [*others, *happened, "gap 1000 1000"], files=files)["gaps"]
    if sender is None:
        assert "sender" not in got
    else:
        assert got["sender"] == {"cpu": sender[0], "tid": sender[1], "task": None, "site": "tick_nohz_handler"}


def test_who_raised_an_interrupt_on_arm64(tool, files):
    """It is known by its name alone, which the kernel has one of: who raised that one last."""
    name, other = 0xFFFF800081230000, 0xFFFF800081239999
    raised = [f"sent {at} ipi/ipi_raise {tid} {value} 0 {cpu}"
              for at, tid, value, cpu in ((800, 40, name, 4), (900, 50, name, 5), (950, 60, other, 6))]  # fmt: skip
    (got,) = match(tool, [*raised, event(1100, "ipi/ipi_entry", value=name), "gap 1000 1000"], files=files)["gaps"]
    assert got["sender"] == {"cpu": 5, "tid": 50, "task": None, "site": "Rescheduling interrupts"}


def test_an_interrupt_has_its_number_beside_its_name(tool):
    got = match(tool, [event(1100, "irq/irq_handler_entry", value=36, text="eth0-rx"), "gap 1000 1000"])
    assert (got["attribution"]["causes"][0]["irq"], got["attribution"]["causes"][0]["cause"]) == (36, "irq:eth0-rx")


def test_each_system_call_has_its_name(tool):
    header = Path(f"/usr/include/{build.native_arch()}-linux-gnu/asm/unistd_64.h")
    if not header.is_file():
        pytest.skip(f"no {header}")
    calls = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}
    lines = list(itertools.chain.from_iterable(
        (event(1000 * i + 1, "raw_syscalls/sys_enter", value=number), f"gap {1000 * i} 1000")
        for i, number in enumerate(calls, 1)
    ))  # fmt: skip
    got = match(tool, lines)
    assert [gap["chain"][0][1] for gap in got["gaps"]] == [f"syscall:{name}" for name in calls.values()]


@given(lengths=st.lists(st.integers(50, 10**9), min_size=1, max_size=80))
def test_each_cause_has_its_histogram(tool, lengths):
    starts = list(itertools.accumulate(lengths, lambda at, length: at + length + 10, initial=1000))[:-1]
    lines = [line for at, length in zip(starts, lengths, strict=True)
             for line in (event(at + 20, TIMER), f"gap {at} {length}")]  # fmt: skip
    (cause,) = match(tool, lines)["attribution"]["causes"]
    ours, theirs = HdrHistogram(1, 10**10, 2), HdrHistogram(1, 10**10, 2)
    for low, count in cause["buckets"]:
        ours.record_value(low, count)
    for length in lengths:
        theirs.record_value(length)
    assert list(ours.counts) == list(theirs.counts)
    assert (cause["count"], cause["stolen_ns"], cause["max_ns"]) == (len(lengths), sum(lengths), max(lengths))


def test_more_causes_than_there_is_room_for_are_one(tool):
    lines = [line for i in range(1, 401) for line in (
        event(1000 * i + 1, "irq/irq_handler_entry", value=i, text=f"dev{i}"), f"gap {1000 * i} 1000")]  # fmt: skip
    got = match(tool, lines)["attribution"]
    assert got["gaps"] == 400 == sum(each["count"] for each in got["causes"])
    assert len(got["causes"]) == 253
    assert (got["causes"][0]["class"], got["causes"][0]["cause"], got["causes"][0]["count"]) == (
        "interrupt",
        "other",
        148,
    )


def test_only_the_first_gaps_are_kept_one_by_one(tool):
    lines = [line for i in range(1, 11) for line in (event(1000 * i + 1, TIMER), f"gap {1000 * i} 1000")]
    got = match(tool, lines, kept=3)
    assert [bool(gap) for gap in got["gaps"]] == [True] * 3 + [False] * 7
    assert got["attribution"]["gaps"] == 10 == got["attribution"]["causes"][0]["count"]


# --- conservation ---


def balance(tool, opened, lines):
    return call(tool, "balance", ",".join(opened), given_text="\n".join(lines) + "\n")


def times(source, *ats, value=0):
    return [f"event {at} {source} {value}" for at in ats]


def test_events_are_held_against_the_kernels_counts(tool):
    """Read from 100 to 200 and from 1000 to 1100: what came meanwhile may be in it or not."""
    opened = [TIMER, "irq/irq_handler_entry"]
    counts = ["begin LOC 10", "begin 36 5 IO-APIC eth0", "begin TLB 1", "begin RES 7", "begin HYP 1"]
    ends = ["end LOC 13", "end 36 6 IO-APIC eth0", "end TLB 9", "end RES 9", "end HYP 1"]
    lines = [
        *counts,
        *ends,
        *times(TIMER, 50, 150, 300, 900, 1050, 1200),
        *times("irq/irq_handler_entry", 500, value=36),
    ]
    assert balance(tool, opened, lines) == {
        "known": True,
        "holds": True,
        "rows": [["LOC", 3, 2, 2, True], ["36", 1, 1, 0, True], ["RES", 2, 0, 0, False]],
    }


@pytest.mark.parametrize(("events_", "holds"), [(1, False), (2, True), (3, False)])
def test_one_too_few_or_too_many_does_not_hold(tool, events_, holds):
    lines = ["begin LOC 10", "end LOC 12", *times(TIMER, *range(300, 300 + events_))]
    assert balance(tool, [TIMER], lines)["holds"] is holds


def test_two_vectors_of_one_row_are_added_and_both_are_needed(tool):
    both = ["irq_vectors/call_function_entry", "irq_vectors/call_function_single_entry"]
    lines = ["begin CAL 0", "end CAL 2", *times(both[0], 300), *times(both[1], 400)]
    assert balance(tool, both, lines)["rows"] == [["CAL", 2, 2, 0, True]]
    assert balance(tool, both[:1], lines)["rows"] == [["CAL", 2, 2, 0, False]]


def test_an_interrupt_with_several_handlers_proves_nothing(tool):
    lines = ["begin 9 0 IO-APIC acpi, i801", "end 9 1 IO-APIC acpi, i801",
             *times("irq/irq_handler_entry", 300, 301, value=9)]  # fmt: skip
    assert balance(tool, ["irq/irq_handler_entry"], lines) == {
        "known": True, "holds": True, "rows": [["9", 1, 2, 0, False]],
    }  # fmt: skip


def test_without_a_reading_nothing_is_known(tool):
    assert balance(tool, [TIMER], times(TIMER, 300)) == {"known": False, "holds": False, "rows": []}


# --- long and fast runs ---


@pytest.mark.parametrize("start", [1000, 2**64 - 10**12], ids=["begins low", "the counter wraps"])
def test_an_hour_takes_no_more_memory_than_a_minute(tool, start):
    """Of ever new tasks: those that there was no room for are counted as others, and each gap is."""
    seconds, rate = 3600, 100
    got = call(tool, "soak", seconds, rate, start)
    gaps = seconds * rate
    assert (got["gaps"], got["interrupts"], got["stolen_ns"]) == (gaps, gaps, gaps * 1000)
    assert (got["inside"], got["outside"], got["after"]) == (4 * gaps, 0, 0)
    assert (got["links"], got["causes"], got["kept"]) == (4096, 256, 16)
    assert got["link_overflow"] > 0
    assert got["grown_kib"] < 64


def test_very_many_entries_are_found_or_counted():
    """As many as this machine makes; each is a gap, and an event that was read or is said to be lost."""
    flood = build.build_program("bench/trace_flood.c", build.native_arch()).path
    argv = [flood, "--cpu", str(a_cpu()), "--rate", "200000", "--duration-ms", "400"]
    got = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)
    if got["level"] != "tracepoints":
        pytest.skip(f"no tracepoints here: {got['level']}")
    assert got["made"] > 0
    assert got["unknown"] == 0
    assert got["gaps_matched"] + got["gaps_dropped"] == got["gaps"] >= got["syscalls_found"]
    assert got["made"] <= got["records"] + got["lost"] + got["missing"]
    if not got["lost"] + got["gaps_dropped"]:
        assert got["syscalls_found"] > 0.9 * got["made"]
