# SPDX-License-Identifier: Apache-2.0
"""Who else traces: found by what processes hold open, and told from ourselves and from what is no tracing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import snapshot
from harness.agent import tracers as tracers_module
from harness.agent.processes import MARKER
from harness.agent.system import Tree
from harness.agent.tracers import tracers

PERF = "anon_inode:[perf_event]"
LINK = "anon_inode:bpf_link"
OWN = 100


def process(root: Path, pid: int, comm: str, fds: list[tuple[str, str]], *, parent: int = 1, mark: str = "") -> None:
    """``fds``: what each links to, and what the kernel says of it."""
    at = root / f"proc/{pid}"
    for folder in ("fd", "fdinfo"):
        (at / folder).mkdir(parents=True)
    (at / "comm").write_text(f"{comm}\n")
    (at / "stat").write_text(f"{pid} ({comm}) S {parent} {pid} {pid} {'0 ' * 40}")
    (at / "environ").write_bytes(f"HOME=/\0{MARKER}={mark}\0".encode())
    for fd, (link, info) in enumerate(fds):
        (at / f"fd/{fd}").symlink_to(link)
        (at / f"fdinfo/{fd}").write_text(f"pos:\t0\nflags:\t02\n{info}")


@pytest.mark.parametrize(
    ("link", "info", "what"),
    [
        (PERF, "", "2 perf events"),
        (LINK, "link_type:\traw_tracepoint\nlink_id:\t3\n", "2 BPF programs of type raw_tracepoint"),
        (LINK, "link_type:\tkprobe_multi\n", "2 BPF programs of type kprobe_multi"),
        (LINK, "link_type:\tperf_event\n", "2 BPF programs of type perf_event"),
        (LINK, "link_type:\ttracing\nattach_type:\t24\n", "2 BPF programs of type tracing"),
        ("anon_inode:bpf-raw-tracepoint", "", "2 BPF programs of type raw_tracepoint"),
        (LINK, "link_type:\ttracing\nattach_type:\t27\n", None),  # a security module's: systemd has one
        (LINK, "link_type:\tcgroup\n", None),
        (LINK, "", None),
        ("anon_inode:bpf-prog", "", None),  # loaded, and attached to nothing by this
        ("anon_inode:[eventfd]", "", None),
        ("/dev/null", "", None),
    ],
)
def test_what_a_descriptor_says(tmp_path: Path, link: str, info: str, what: str | None) -> None:
    process(tmp_path, 7, "watcher", [("/dev/null", ""), (link, info), (link, info)])
    assert tracers(Tree(str(tmp_path)), OWN) == ({} if what is None else {"watcher (7)": [what]})


def test_ourselves_and_what_we_started_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKER, "ours")
    process(tmp_path, OWN, "python3", [(PERF, "")])
    process(tmp_path, 101, "gap", [(PERF, "")], parent=OWN)
    process(tmp_path, 102, "sh", [], parent=OWN)
    process(tmp_path, 103, "perf", [(PERF, "")], parent=102)
    process(tmp_path, 104, "daemon", [(PERF, "")], mark="ours")  # of a load, and left it
    process(tmp_path, 105, "daemon", [(PERF, "")], mark="theirs")
    process(tmp_path, 99, "perf", [(PERF, ""), (LINK, "link_type:\tuprobe_multi\n")])
    assert tracers(Tree(str(tmp_path)), OWN) == {
        "daemon (105)": ["1 perf event"],
        "perf (99)": ["1 BPF program of type uprobe_multi", "1 perf event"],
    }


def test_too_much_to_look_at_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(tmp_path, 7, "perf", [(PERF, "")])
    monkeypatch.setattr(tracers_module, "_LOOK_S", -1.0)
    assert tracers(Tree(str(tmp_path)), OWN) is None


def test_a_machine_without_processes(tmp_path: Path) -> None:
    assert tracers(Tree(str(tmp_path)), OWN) == {}


def test_events_of_broken_hardware_are_no_tracing(tmp_path: Path) -> None:
    """rasdaemon has them on all the time; nothing happens until something breaks."""
    at = tmp_path / "sys/kernel/tracing"
    (at / "instances/rasdaemon").mkdir(parents=True)
    (at / "current_tracer").write_text("nop\n")
    (at / "set_event").write_text("timer:timer_start\n")
    (at / "instances/rasdaemon/current_tracer").write_text("nop\n")
    (at / "instances/rasdaemon/set_event").write_text("ras:mc_event\nmce:mce_record\nblock:block_rq_error\n")
    seen = snapshot.take(Tree(str(tmp_path)), [0])["tracing"]
    assert (seen["events"], seen["on"], seen["instances"]) == (4, ["timer:timer_start"], ["rasdaemon: nop"])
