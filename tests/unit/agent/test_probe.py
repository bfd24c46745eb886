# SPDX-License-Identifier: Apache-2.0
"""How a probe is called, how long it may take, what is kept of what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import build
from harness.agent import modes
from harness.agent.probe import BoundedLog, command, result_files, spooled_name, start_of
from harness.agent.processes import read_stat
from harness.agent.spec import ControlSpec, ProbeSpec, SpecError, allowance_ns
from harness.agent.system import Tree

from .specs import spec_of

S = 10**9


PROBE = ProbeSpec("gap", "a" * 64, {"threshold": "1000ns", "digits": "2"})


@pytest.mark.parametrize(
    ("mode", "cpu", "place"),
    [
        ("shared", None, ["--sched", "other"]),
        ("pinned", 3, ["--cpu", "3", "--sched", "other"]),
        ("fifo", 3, ["--cpu", "3", "--sched", "fifo:1"]),
    ],
)
def test_the_probes_command_line(mode: str, cpu: int | None, place: list[str]) -> None:
    argv = command("/b/gap", spec_of(mode, probe=PROBE, duration_ns=5), modes.from_name(mode), cpu, "/out")
    options = ["--duration", "5ns", "--digits", "2", "--threshold", "1000ns", "--out", "/out"]
    assert argv == ["/b/gap", *place, *options]


def test_a_helper_and_a_common_start_are_options_of_the_probe() -> None:
    spec = spec_of(
        "pinned", cpus=[3, 2], probe=ProbeSpec("xwake", "a" * 64, {}, "waker-cpu"), helpers=[0, 1], duration_ns=5
    )
    mode = modes.from_name("pinned")
    assert command("/b/x", spec, mode, 2, "/out", together=True)[1:] == [
        *("--cpu", "2", "--sched", "other", "--duration", "5ns"),
        *("--waker-cpu", "1", "--start-at", "-", "--out", "/out"),
    ]
    assert command("/b/x", spec, modes.from_name("shared"), None, "/out")[5:7] == ["--waker-cpu", "0"]


def test_causes_are_looked_for_where_they_are_asked_for() -> None:
    mode = modes.from_name("pinned")
    assert "--attribution" not in command("/b/gap", spec_of("pinned", probe=PROBE), mode, 3, "/out")
    argv = command("/b/gap", spec_of("pinned", probe=PROBE, attribution="perf"), mode, 3, "/out")
    at = argv.index("--attribution")
    assert argv[at + 1] == "perf"


def test_only_several_probes_wait_for_each_other() -> None:
    control = ControlSpec(ProbeSpec("gap", "c" * 64), 0)
    assert not spec_of("pinned").together
    assert spec_of("pinned", control=control).together
    assert spec_of("pinned", cpus=[2, 3]).together
    assert not spec_of("shared", cpus=[2, 3]).together  # one task, wherever it runs


def test_many_probes_take_longer_to_be_told_when_to_begin() -> None:
    two, many, most = (start_of(processes, 5) for processes in (2, 200, 50000))
    assert 5 < two < many < most < 5 + 10 * S  # a probe takes no more ahead


@given(st.integers(1, 10**6 * S))
def test_the_agent_waits_until_the_probes_own_timer_is_over(duration_ns: int) -> None:
    source = (build.csrc_dir() / "core/probe.c").read_text()
    extra = re.search(r"SAFETY_EXTRA_NS UINT64_C\((\d+)\)", source)
    asked = re.search(r"START_ASKED_MAX_NS UINT64_C\((\d+)\)", source)
    events = re.search(r"ATTRIBUTION_MAX_NS UINT64_C\((\d+)\)", source)
    assert extra is not None
    assert asked is not None
    assert events is not None
    alone = duration_ns + duration_ns // 2 + int(extra[1])
    assert allowance_ns(duration_ns) >= alone + S
    assert allowance_ns(duration_ns, together=True) >= alone + int(asked[1]) + S
    assert allowance_ns(duration_ns, attribution="perf") >= alone + int(events[1]) + S


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_the_log_keeps_first_and_last(pieces: list[bytes], half: int) -> None:
    log = BoundedLog(half)
    for piece in pieces:
        log.feed(piece)
    whole, kept = b"".join(pieces), log.bytes()
    if len(whole) <= 2 * half:
        assert kept == whole
    else:
        assert kept == whole[:half] + b"\n[... %d bytes left out ...]\n" % (len(whole) - 2 * half) + whole[-half:]


def test_names_in_the_spool() -> None:
    assert spooled_name("gap_ns.hdr", "gap_ns", 1) == "gap_ns.cpu1.hdr"
    assert spooled_name("gap_ns.hdr", "gap_ns", None) == "gap_ns.any.hdr"
    assert spooled_name("gaps.jsonl", "gaps", 12) == "gaps.cpu12.jsonl"


def test_every_file_that_a_result_names_is_taken() -> None:
    result = {
        "histograms": {"wake_ns": {"file": "wake_ns.hdr"}},
        "late": {"file": "late.jsonl", "count": 1, "stored": 1, "dropped": 0},
        "loop": {"iterations": 3},
    }
    assert result_files(result) == {"wake_ns.hdr": "wake_ns", "late.jsonl": "late"}
    with pytest.raises(SpecError):
        result_files({"late": {"file": "../late.jsonl", "stored": 0}})


def test_a_process_whose_name_tries_to_fool_us(tmp_path: Path) -> None:
    (tmp_path / "proc/5").mkdir(parents=True)
    numbers = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "proc/5/stat").write_text(f"5 (a) S 1 (b) R 2 3 {numbers}")
    stat = read_stat(Tree(str(tmp_path)), 5)
    assert stat is not None
    assert (stat.state, stat.parent, stat.group, stat.session) == ("R", 2, 3, 4)
