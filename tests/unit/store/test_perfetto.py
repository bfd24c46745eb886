# SPDX-License-Identifier: Apache-2.0
"""The trace for the Perfetto viewer, read with Perfetto's own definitions of its format."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

from harness.advice.known import KNOWN
from harness.store.causes import in_words
from harness.store.documents import LARGEST
from harness.store.export import export
from harness.store.perfetto import COUNTED, write_trace
from harness.store.pftrace import TraceWriter, number, text
from harness.store.runs import load_run

from .attributed import BEGIN, CALL, GAPS, HOST, TICK, attributed_run, change, write_list

TYPES = {value: name.removeprefix("TYPE_") for name, value in proto.TrackEvent.Type.items()}


@dataclass
class Event:
    at_ns: int
    kind: str
    track: str
    name: str = ""
    category: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    value: int = 0


@dataclass
class Read:
    """A trace as its reader sees it: tracks by their path, events in order of time."""

    packets: list[Any]
    tracks: list[str]
    events: list[Event]
    clocks: list[dict[str, int]]

    def of(self, track: str, *kinds: str) -> list[Event]:
        return [each for each in self.events if each.track.endswith(track) and each.kind in (kinds or TYPES.values())]


def parse(data: bytes) -> Read:
    trace = proto.Trace.FromString(data)
    known = proto.Trace.FromString(data)
    known.DiscardUnknownFields()
    assert known == trace  # no field that the format does not have
    names: dict[str, dict[int, str]] = defaultdict(dict)
    paths: dict[int, str] = {}
    events, clocks = [], []
    clock = None
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id > 1 << 16  # other writers count from 1
        if packet.sequence_flags & proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
            names.clear()
            clock = packet.trace_packet_defaults.timestamp_clock_id
        for kind in ("event_categories", "event_names", "debug_annotation_names"):
            names[kind].update({each.iid: each.name for each in getattr(packet.interned_data, kind)})
        if packet.HasField("track_descriptor"):
            told = packet.track_descriptor
            assert told.uuid not in paths
            parent = f"{paths[told.parent_uuid]}/" if told.HasField("parent_uuid") else ""
            assert f"{parent}{told.name}" not in paths.values()
            paths[told.uuid] = f"{parent}{told.name}"
        if packet.HasField("clock_snapshot"):
            builtin = {each.clock_id: each.timestamp for each in packet.clock_snapshot.clocks}
            assert packet.clock_snapshot.primary_trace_clock == clock
            assert clock in builtin
            clocks.append({proto.BuiltinClock.Name(key): value for key, value in builtin.items()})
        if packet.HasField("track_event"):
            assert packet.sequence_flags == proto.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            told = packet.track_event
            event = Event(packet.timestamp, TYPES[told.type], paths[told.track_uuid], value=told.counter_value)
            if told.category_iids:
                event.name = names["event_names"][told.name_iid]
                event.category = names["event_categories"][told.category_iids[0]]
            for each in told.debug_annotations:
                value = each.string_value if each.HasField("string_value") else each.int_value
                event.args[names["debug_annotation_names"][each.name_iid]] = value
            events.append(event)
    events.sort(key=lambda each: each.at_ns)  # as the viewer does: what is of one time stays in the file's order
    return Read(list(trace.packet), list(paths.values()), events, clocks)


def exported(path: Path, warnings: list[str] | None = None) -> Read:
    out = io.BytesIO()
    found: list[str] = []
    write_trace(path, out, found)
    if warnings is None:
        assert found == []
    else:
        warnings.extend(found)
    return parse(out.getvalue())


def slices(read: Read, track: str) -> list[tuple[Event, int, int]]:
    """Begin, length and depth of each slice of the tracks that are called so. All are closed, the innermost first."""
    found: list[tuple[Event, int, int]] = []
    for path in (path for path in read.tracks if path.endswith(track)):
        open_ones: list[Event] = []
        for event in (each for each in read.events if each.track == path):
            if event.kind == "SLICE_BEGIN":
                open_ones.append(event)
            elif event.kind == "SLICE_END":
                begun = open_ones.pop()
                found.append((begun, event.at_ns - begun.at_ns, len(open_ones)))
        assert not open_ones
    return found


def test_each_gap_is_a_slice_that_says_why(tmp_path):
    attributed_run(tmp_path / "e")
    read = exported(tmp_path)
    found = slices(read, "gaps of CPU 3")
    assert [(event.name, event.category, length) for event, length, _ in found] == [
        ("timer tick", "interrupt", 20_000),
        ("TLB shootdown by another CPU", "interrupt", 9_000),
        ("page fault", "exception", 2_000),
        ("unexplained", "unexplained", 1_500),
    ]
    assert [event.at_ns - BEGIN["boottime_ns"] for event, _, _ in found] == [each["at_ns"] for each in GAPS]
    tick, call, fault, host = (event.args for event, _, _ in found)
    assert tick["length (ns)"] == 20_000
    assert tick["cause"] == "hrtimer:tick_nohz_handler"
    assert call["chain"] == "700 vector:call_function_single, 1700 call:flush_tlb_func"
    assert {key: value for key, value in call.items() if key.startswith("sender")} == {
        "sender cpu": 0,
        "sender tid": 4711,
        "sender task": "make",
        "sender site": "smp_call_function_many_cond",
    }
    assert (fault["address"], fault["chain"]) == ("0x7f0012345678", "100 fault:user, and 3 more")
    assert set(host) == {"length (ns)", "class"}


def test_the_events_in_a_gap_are_instants_within_it(tmp_path):
    outside = {
        **TICK,
        "chain": [[-40, "vector:local_timer"], [99_000, "softirq:TIMER"]],
    }
    attributed_run(tmp_path / "e", [CALL, {**outside, "at_ns": 3_000_000}])
    read = exported(tmp_path)
    begin = BEGIN["boottime_ns"]
    assert [(each.at_ns - begin, each.name, each.args["event"]) for each in read.of("gaps of CPU 3", "INSTANT")] == [
        (2_000_700, "call from another CPU", "vector:call_function_single"),
        (2_001_700, "TLB shootdown by another CPU", "call:flush_tlb_func"),
        (3_000_000, "local timer interrupt", "vector:local_timer"),
        (3_020_000, "softirq TIMER", "softirq:TIMER"),
    ]
    kinds = [each.kind for each in read.of("gaps of CPU 3")]
    assert kinds == ["SLICE_BEGIN", "INSTANT", "INSTANT", "SLICE_END"] * 2


def test_stolen_time_adds_up_by_cause(tmp_path):
    attributed_run(tmp_path / "e", [TICK, CALL, {**TICK, "at_ns": 3_000_000}, HOST])
    read = exported(tmp_path)
    counters = defaultdict(list)
    for each in read.of("", "COUNTER"):
        counters[each.track.rpartition("/")[2]].append(each.value)
    assert counters == {
        "all": [0, 20_000, 29_000, 49_000, 50_500],
        "timer tick": [0, 20_000, 40_000],
        "TLB shootdown by another CPU": [0, 9_000],
        "unexplained": [0, 1_500],
    }
    told = [each.track_descriptor for each in read.packets if each.track_descriptor.HasField("counter")]
    assert {each.counter.unit for each in told} == {proto.CounterDescriptor.UNIT_TIME_NS}
    assert len({each.counter.y_axis_share_key for each in told}) == 1


def test_small_causes_share_a_counter(tmp_path):
    lines = [{**TICK, "at_ns": at * 10_000, "gap_ns": 9_000 - at, "cause": f"timer:f{at}"} for at in range(30)]
    attributed_run(tmp_path / "e", lines)
    counted = {each.track.rpartition("/")[2]: each.value for each in exported(tmp_path).of("", "COUNTER")}
    assert set(counted) == {"all", "other causes", *(f"timer f{at}" for at in range(COUNTED))}
    assert counted["other causes"] == sum(each["gap_ns"] for each in lines[COUNTED:])


def test_a_run_is_a_group_and_says_what_it_is(tmp_path):
    folder = attributed_run(tmp_path / "e", state="suspect", reasons=[{"text": "steal"}])
    told = {"requested": "perf", "level": "software", "reason": "no tracepoints: EPERM"}
    change(folder, attribution=told, gaps={"count": 9, "stored": 4, "dropped": 5})
    read = exported(tmp_path)
    top = f"nuc {folder.name}"
    assert read.tracks[0] == top
    assert all(path.startswith(f"{top}/") for path in read.tracks[1:])
    told = [each.track_descriptor for each in read.packets if each.HasField("track_descriptor")]
    assert {each.sibling_merge_behavior for each in told} == {proto.TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE}
    [(event, length, _)] = slices(read, folder.name)
    assert (event.name, event.category, length) == ("gap shared idle", "suspect", 10_000_000)
    assert event.args["reasons"] == "steal"
    assert event.args["attribution, CPU 3"] == "software: no tracepoints: EPERM"
    assert event.args["gaps counted and not kept, CPU 3"] == 5
    assert event.args["kernel"] == "6.18.5-rt2"


def test_times_are_those_of_the_machines_other_traces(tmp_path):
    folder = attributed_run(tmp_path / "e")
    read = exported(tmp_path)
    assert read.clocks == [
        {
            "BUILTIN_CLOCK_REALTIME": BEGIN["realtime_ns"],
            "BUILTIN_CLOCK_BOOTTIME": BEGIN["boottime_ns"],
            "BUILTIN_CLOCK_MONOTONIC_RAW": BEGIN["monotonic_raw_ns"],
            "BUILTIN_CLOCK_MONOTONIC": BEGIN["boottime_ns"] - 3_000_000,
        }
    ]
    assert read.packets[0].trace_packet_defaults.timestamp_clock_id == proto.BUILTIN_CLOCK_BOOTTIME
    # NTP makes the clock slower than the counter by 100 ppm: 300 ns after 3 ms.
    later = {"realtime_ns": 9_999_000, "boottime_ns": 9_999_000, "monotonic_raw_ns": 10_000_000}
    change(folder, ended={key: BEGIN[key] + each for key, each in later.items()})
    read = exported(tmp_path)
    assert [each.at_ns - BEGIN["boottime_ns"] for each in read.of("gaps of CPU 3", "SLICE_BEGIN")] == [
        999_900,
        1_999_800,
        2_999_700,
        3_999_600,
    ]
    assert read.clocks[1]["BUILTIN_CLOCK_BOOTTIME"] == BEGIN["boottime_ns"] + 9_999_000
    # Never asleep: both clocks are one, and were read one after the other.
    document = json.loads((folder / "run.json").read_text())
    document["facts_before"].update(boottime_ns=10_000, monotonic_ns=10_700)
    (folder / "run.json").write_text(json.dumps(document))
    assert exported(tmp_path).clocks[0]["BUILTIN_CLOCK_MONOTONIC"] == BEGIN["boottime_ns"]
    # A clock that was set meanwhile says nothing about its rate.
    change(folder, ended={key: BEGIN[key] + each * 2 ** (key != "monotonic_raw_ns") for key, each in later.items()})
    assert exported(tmp_path).of("gaps of CPU 3")[0].at_ns == BEGIN["boottime_ns"] + TICK["at_ns"]


def test_runs_of_one_boot_lie_in_order_on_one_time_line(tmp_path):
    later = {key: at + 20_000_000 for key, at in BEGIN.items()}
    attributed_run(tmp_path / "e", [TICK], repeat=1, begin=later)
    attributed_run(tmp_path / "e", [TICK], repeat=2)
    read = exported(tmp_path)
    assert [path[-3:] for path in read.tracks if "/" not in path] == ["-r2", "-r1"]
    assert [clock["BUILTIN_CLOCK_BOOTTIME"] for clock in read.clocks] == [BEGIN["boottime_ns"], later["boottime_ns"]]


def test_runs_of_several_boots_lie_at_the_time_of_day(tmp_path):
    for execution, boot in (("20261120T010000Z", "b-1"), ("20261121T010000Z", "b-2")):
        attributed_run(tmp_path / execution, [TICK], boot=boot)
    read = exported(tmp_path)
    assert all(set(clock) == {"BUILTIN_CLOCK_REALTIME"} for clock in read.clocks)
    assert read.of("gaps of CPU 3")[0].at_ns == BEGIN["realtime_ns"] + TICK["at_ns"]
    assert len({path for path in read.tracks if "/" not in path}) == 2  # one cell of two executions


def test_gaps_that_nobody_explained_are_there_as_well(tmp_path):
    plain = [{"at_ns": 10, "gap_ns": 20}, {"at_ns": 100, "gap_ns": 30}]
    change(attributed_run(tmp_path / "e", plain), attribution=None)
    read = exported(tmp_path)
    assert [(event.name, event.category, length) for event, length, _ in slices(read, "gaps of CPU 3")] == [
        ("gap", "gap", 20),
        ("gap", "gap", 30),
    ]
    assert [each.value for each in read.of("CPU 3/all", "COUNTER")] == [0, 20, 50]
    assert not [each for each in read.tracks if each.endswith("other causes")]


def test_what_comes_late_is_exported_like_a_gap(tmp_path):
    folder = attributed_run(tmp_path / "e")
    change(folder, gaps=None, late={"count": 1, "stored": 1, "dropped": 0})
    write_list(folder, "late", [{"cpu": 3, "at_ns": 5, "wake_ns": 70, "class": "interrupt", "cause": "irq:eth0"}])
    [(event, length, _)] = slices(exported(tmp_path), "late wake-ups of CPU 3")
    assert (event.name, length) == ("device interrupt eth0", 70)


def test_disturbances_are_instants_beside_the_gaps(tmp_path):
    folder = attributed_run(tmp_path / "e")
    change(folder, disturbances={"count": 3, "stored": 3, "dropped": 0})
    done = [
        {"cpu": 3, "kind": "signal", "at_ns": 100, "end_ns": 900, "effect_ns": 700},
        {"cpu": 3, "kind": "syscall", "at_ns": 2_000, "end_ns": 2_100, "name": "getppid"},
        {"cpu": 3, "kind": "none", "at_ns": 5_000, "end_ns": 5_000},
    ]
    write_list(folder, "disturbances", done)
    found = exported(tmp_path).of("disturbances of CPU 3")
    assert [(each.kind, each.at_ns - BEGIN["boottime_ns"], each.name, each.args) for each in found] == [
        ("INSTANT", 100, "signal", {"done after (ns)": 800, "effect after (ns)": 600}),
        ("INSTANT", 2_000, "syscall", {"done after (ns)": 100, "name": "getppid"}),
        ("INSTANT", 5_000, "nothing, on purpose", {"done after (ns)": 0}),
    ]


def test_the_control_has_tracks_of_its_own(tmp_path):
    folder = attributed_run(tmp_path / "e")
    document = json.loads((folder / "run.json").read_text())
    begin = {key: at + 1_000 for key, at in BEGIN.items()}
    result = {"cpu": 0, "started": begin, "duration_ns": 10, "gaps": {"count": 1, "stored": 1, "dropped": 0}}
    document["control"] = {"cpu": 0, "status": "ok", "validity": {"state": "valid", "reasons": []}, "result": result}
    (folder / "run.json").write_text(json.dumps(document))
    write_list(folder, "control.gaps", [{"cpu": 0, "at_ns": 5, "gap_ns": 7}])
    [event, _] = exported(tmp_path).of("control, gaps of CPU 0")
    assert event.at_ns == begin["boottime_ns"] + 5


def test_each_cpu_has_its_own_track_and_begin(tmp_path):
    folder = attributed_run(tmp_path / "e")
    document = json.loads((folder / "run.json").read_text())
    [result] = document["results"]
    later = {key: at + 7_000 for key, at in BEGIN.items()}
    document["results"].append({**result, "cpu": 2, "started": later})
    (folder / "run.json").write_text(json.dumps(document))
    write_list(folder, "gaps", [{"cpu": 2, **TICK}, {"cpu": 3, **TICK}, {"cpu": 9, **TICK}, {"cpu": 3, **CALL}])
    read = exported(tmp_path, warnings := [])
    begins = {cpu: read.of(f"gaps of CPU {cpu}", "SLICE_BEGIN")[0].at_ns - BEGIN["boottime_ns"] for cpu in (2, 3)}
    assert begins == {2: TICK["at_ns"] + 7_000, 3: TICK["at_ns"]}
    assert [each.value for each in read.of("from CPU 2/all", "COUNTER")] == [0, TICK["gap_ns"]]
    assert warnings == [f"{folder}: gaps of CPU 9, which was not measured"]
    assert len(slices(read, "gaps of CPU 3")) == 2  # what comes after it is there


def test_overlapping_ones_lie_beside_each_other(tmp_path):
    """Of a waker that does not wait, wake-ups overlap; slices of one track must not."""
    lines = [{"at_ns": at * 10, "gap_ns": 35} for at in range(4)]
    attributed_run(tmp_path / "e", lines)
    read = exported(tmp_path)
    assert len([each for each in read.tracks if each.rpartition("/")[2].startswith("gaps of CPU 3")]) == 4
    warnings: list[str] = []
    attributed_run(tmp_path / "f", [{"at_ns": at, "gap_ns": 100} for at in range(20)])
    read = exported(tmp_path / "f", warnings)
    assert ["12 that overlap too many others" in each for each in warnings] == [True]
    assert len(read.of("", "SLICE_BEGIN")) == 8 + 1


def test_contiguous_ones_lie_on_one_track(tmp_path):
    """One may reach into the next by a nanosecond, since time and length are rounded each."""
    lines = [{"at_ns": 100, "gap_ns": 51}, {"at_ns": 150, "gap_ns": 1}, {"at_ns": 151, "gap_ns": 30}]
    attributed_run(tmp_path / "e", [{**TICK, **each} for each in lines])
    read = exported(tmp_path)
    assert [each for each in read.tracks if "at the same time" in each] == []
    found = slices(read, "gaps of CPU 3")
    assert [(each.at_ns - BEGIN["boottime_ns"], length) for each, length, _ in found] == [
        (100, 51),
        (151, 0),
        (151, 30),
    ]
    assert [each.args["length (ns)"] for each, _, _ in found] == [51, 1, 30]


HOSTILE = [
    '{"cpu":3,"at_ns":10,"gap_ns":5,"class":"interrupt","cause":"task:\\ud800\\u001b[31m<script>alert(1)</script>"}',
    '{"cpu":3,"at_ns":20,"gap_ns":5,"class":7,"cause":["x"],"chain":[1,[2],["a","b"],[3,4],[1,"irq:ok"]],"sender":[]}',
    '{"cpu":3,"at_ns":30,"gap_ns":5,"class":"interrupt","sender":{"cpu":"x","task":"' + "y" * 5_000 + '"}}',
    *("[]", '"gap"', "7", "{}", '{"cpu":3,"at_ns":1}'),
    '{"cpu":3,"at_ns":1.5,"gap_ns":2}',
    '{"cpu":3,"at_ns":1,"gap_ns":-2}',
    '{"cpu":3,"at_ns":1,"gap_ns":99999999999999999999999}',
    '{"cpu":-1,"at_ns":1,"gap_ns":2}',
]


def test_what_a_target_says_is_data(tmp_path):
    folder = attributed_run(tmp_path / "e")
    write_list(folder, "gaps", HOSTILE)
    warnings: list[str] = []
    found = slices(exported(tmp_path, warnings), "gaps of CPU 3")
    assert [event.name for event, _, _ in found] == [
        "task \\ud800\x1b[31m<script>alert(1)</script>",
        "gap",
        "interrupt",
    ]
    assert found[1][0].args == {"length (ns)": 5, "chain": "1 irq:ok"}
    assert found[2][0].args["sender task"] == "y" * 5_000
    assert [each.partition(": ")[2] for each in warnings] == ["lines that are not of their shape: 9"]
    write_list(folder, "gaps", ['{"cpu":3,"at_ns":1,"gap_ns":2}', "{"])
    read = exported(tmp_path, warnings := [])
    assert len(slices(read, "gaps of CPU 3")) == 1
    assert "gaps.jsonl.gz" in warnings[0]


def test_cpus_without_end_that_were_not_measured_are_a_few_names(tmp_path):
    attributed_run(tmp_path / "e", [{**TICK, "cpu": cpu} for cpu in range(10, 1_000)])
    exported(tmp_path, warnings := [])
    assert [each.rpartition(": ")[2] for each in warnings] == ["gaps of CPU 10, 11, 12, 13, 14, which was not measured"]


def test_what_was_counted_never_falls(tmp_path):
    attributed_run(tmp_path / "e", [{**TICK, "at_ns": at, "gap_ns": LARGEST - 1} for at in range(5)])
    counted = [each.value for each in exported(tmp_path).of("", "COUNTER") if each.track.endswith("/all")]
    assert counted == [0, LARGEST - 1, *[LARGEST] * (len(counted) - 2)]
    assert len(counted) > 3


def test_runs_that_do_not_say_when_they_began_are_named(tmp_path):
    folder = attributed_run(tmp_path / "e")
    change(folder, started={"realtime_ns": "yesterday"})
    assert exported(tmp_path).of("gaps of CPU 3")  # the agent's own reading is there
    document = json.loads((folder / "run.json").read_text())
    document["started"] = None
    (folder / "run.json").write_text(json.dumps(document))
    read = exported(tmp_path, warnings := [])
    assert read.events == []
    assert warnings == [f"{folder}: no time of its begin"]


def test_names_without_end_do_not_fill_the_memory():
    out = io.BytesIO()
    writer = TraceWriter(out, "boottime")
    writer.track(1, "t")
    for at in range(10_000):
        writer.plain_instant(at, 1, f"name {at}", "event", f"label {at}")
        assert len(writer._names) < 5_000
    writer.plain_instant(10_000, 1, "name 0", "event", "label 0")  # long forgotten, and told again
    events = parse(out.getvalue()).events
    assert [(each.name, each.args) for each in events] == [
        (f"name {at}", {"event": f"label {at}"}) for at in [*range(10_000), 0]
    ]


@given(st.integers(-(2**63), 2**64 - 1), st.text())
def test_fields_are_as_the_library_reads_them(value, words):
    event = proto.TrackEvent.FromString(number(30, value) + number(11, value))
    assert event.counter_value % 2**64 == event.track_uuid == value % 2**64
    try:
        words.encode()
    except UnicodeEncodeError:
        words = words.encode(errors="backslashreplace").decode()
    assert proto.TrackDescriptor.FromString(text(2, words)).name == words


GAP = st.fixed_dictionaries(
    {"at_ns": st.integers(-50, 400), "gap_ns": st.integers(0, 60)},
    optional={
        "class": st.sampled_from(["interrupt", "unexplained"]),
        "cause": st.sampled_from(["irq:a", "timer:b"]),
        "chain": st.lists(st.tuples(st.integers(-5, 70), st.sampled_from(["irq:a", "softirq:c"])), max_size=3),
    },
)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return attributed_run(tmp_path_factory.mktemp("any") / "e")


@given(st.lists(GAP, max_size=12))
def test_any_gaps_make_slices_that_do_not_cross(run_folder, gaps):
    write_list(run_folder, "gaps", [{"cpu": 3, **each} for each in gaps])
    read = exported(run_folder, warnings := [])
    found = [each for path in read.tracks if "gaps of" in path for each in slices(read, path)]
    left_out = sum(int(each.split(": ")[2].split()[0]) for each in warnings)
    assert len(found) + left_out == len(gaps)
    assert all(length >= 0 and depth == 0 for _, length, depth in found)
    total = [each.value for each in read.of("CPU 3/all", "COUNTER")]
    assert not total or max(total) == sum(event.args["length (ns)"] for event, _, _ in found)


def test_causes_in_words():
    assert in_words("syscall:read") == "system call read"
    assert in_words("irq:eth0:rx") == "device interrupt eth0:rx"
    assert in_words("mystery:x") == "mystery:x"
    assert in_words("task:") == "task:"
    assert in_words("") == ""


def test_every_kind_that_advice_knows_has_words():
    kinds = {known.kind for known in KNOWN} - {"idle", "other", "unexplained"}  # those stand for themselves
    assert [kind for kind in kinds if in_words(f"{kind}:x") == f"{kind}:x"] == []


def test_the_same_run_has_the_same_tracks_in_any_trace(tmp_path):
    folder = attributed_run(tmp_path / "e")
    attributed_run(tmp_path / "e", repeat=2, begin={key: at + 10**9 for key, at in BEGIN.items()})
    both, one = (
        {each.track_descriptor.uuid: each.track_descriptor.name for each in exported(path).packets}
        for path in (tmp_path, folder)
    )
    assert one.items() <= both.items()
    assert load_run(folder).name in one[next(uuid for uuid in one if uuid)]


KEYS = ["cpu", "at_ns", "gap_ns", "class", "cause", "chain", "sender", "started", "ended", "gaps", "stored", "dropped"]
KEYS += ["realtime_ns", "boottime_ns", "monotonic_raw_ns", "attribution", "causes", "stolen_ns", "level", "reason"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.lists(JSON, max_size=4), st.dictionaries(st.sampled_from(KEYS), JSON), st.booleans(), JSON)
def test_whatever_a_run_says_a_trace_comes_of_it(run_folder, lines, result, alone, control):
    """What is not of its shape is left out; the rest is a trace, and a table."""
    before = (run_folder / "run.json").read_text()
    document = json.loads(before)
    try:
        document["results"] = [result if alone else document["results"][0] | result, control]
        document["control"] = {"validity": {}, "result": control}
        (run_folder / "run.json").write_text(json.dumps(document))
        for name in ("gaps", "disturbances"):
            write_list(run_folder, name, [*lines, {"cpu": 3, "at_ns": 1, "gap_ns": 2, "kind": "x", "end_ns": 3}])
        read = exported(run_folder, [])
        assert all(event.kind in TYPES.values() for event in read.events)
        export(run_folder, "parquet", io.BytesIO(), gaps=True)
    finally:
        (run_folder / "run.json").write_text(before)
