# SPDX-License-Identifier: Apache-2.0
"""`show` of one run: its longest gaps with all that is known of each, and what its files hold."""

from __future__ import annotations

import io
import json

from rich.console import Console

from harness.report.detail import show

from ..store.attributed import CALL, FAULT, GAPS, HOST, TICK, attributed_run, change, write_list


def shown(folder) -> list[str]:
    stream = io.StringIO()
    show(folder, Console(file=stream, width=80))
    return stream.getvalue().splitlines()


def section(lines: list[str], title: str) -> list[str]:
    begin = lines.index(f"  {title}") + 1
    return lines[begin : lines.index("", begin) if "" in lines[begin:] else None]


def test_the_longest_first_each_with_why_and_who(tmp_path):
    small = [{**HOST, "at_ns": 5_000_000 + at, "gap_ns": 1_000 + at} for at in range(9)]
    folder = attributed_run(tmp_path / "e", [*small, *GAPS])
    assert section(shown(folder), "the longest gaps") == [
        "    20.0 µs at 0.00100 s: interrupt, timer tick",
        "      in it, after µs: 0.600 vector:local_timer, 1.50 hrtimer:tick_nohz_handler",
        "    9.00 µs at 0.00200 s: interrupt, TLB shootdown by another CPU, from CPU 0 (make)",
        "      in it, after µs: 0.700 vector:call_function_single, 1.70 call:flush_tlb_func",
        "    2.00 µs at 0.00300 s: exception, page fault, at 0x7f0012345678",
        "      in it, after µs: 0.100 fault:user, 3 more",
        "    1.50 µs at 0.00400 s: unexplained",
        "    1.01 µs at 0.00500 s: unexplained",
    ]


def test_a_long_chain_is_cut_and_counted(tmp_path):
    chain = [[at * 100, f"softirq:s{at}"] for at in range(12)]
    folder = attributed_run(tmp_path / "e", [{**TICK, "chain": chain, "more": 4}])
    assert section(shown(folder), "the longest gaps")[1].endswith("0.500 softirq:s5, 10 more")


def test_without_causes_they_have_a_time(tmp_path):
    folder = attributed_run(tmp_path / "e", [{"at_ns": 7_000_000, "gap_ns": 1_200}])
    change(folder, attribution=None)
    assert section(shown(folder), "the longest gaps") == ["    1.20 µs at 0.00700 s"]


def test_late_wake_ups_and_none_at_all(tmp_path):
    folder = attributed_run(tmp_path / "e", [])
    assert "  the longest gaps" not in shown(folder)
    change(folder, gaps=None, late={"count": 1, "stored": 1, "dropped": 0})
    write_list(folder, "late", [{"cpu": 3, "at_ns": 0, "wake_ns": 70_000, "class": "interrupt", "cause": "irq:eth0"}])
    assert section(shown(folder), "the latest wake-ups") == ["    70.0 µs at 0 s: interrupt, device interrupt eth0"]


def test_of_several_cpus_each_says_which_and_the_controls_are_not_among_them(tmp_path):
    folder = attributed_run(tmp_path / "e", [{**TICK, "cpu": 3}, {**HOST, "cpu": 2}])
    document = json.loads((folder / "run.json").read_text())
    document["control"] = {"result": {"cpu": 0, "gaps": {"count": 1, "stored": 1, "dropped": 0}}}
    (folder / "run.json").write_text(json.dumps(document))
    write_list(folder, "control.gaps", [{**TICK, "cpu": 0, "gap_ns": 77_000}])
    assert [line for line in section(shown(folder), "the longest gaps") if " at 0.00" in line] == [
        "    20.0 µs at 0.00100 s on CPU 3: interrupt, timer tick",
        "    1.50 µs at 0.00400 s on CPU 2: unexplained",
    ]
    assert "77.0 µs" not in " ".join(shown(folder))


def test_what_a_target_says_cannot_act(tmp_path):
    folder = attributed_run(tmp_path / "e", [{**CALL, "cause": "task:\x1b[2J[red]x", "chain": [[1, "irq:\x1b]0;x"]]}])
    text = "\n".join(shown(folder))
    assert "\x1b" not in text
    assert "task \\x1b[2J[red]x" in text
    write_list(folder, "gaps", ["{"])
    [line] = section(shown(folder), "the longest gaps")
    assert line.startswith("    not read: ")


def test_the_files_say_what_they_hold(tmp_path):
    folder = attributed_run(tmp_path / "e", [FAULT])
    files = section(shown(folder), "files")
    assert files[0] == f"    {folder}"
    assert [line.split(":")[0].strip() for line in files[1:]] == [
        "gaps.jsonl.gz",
        "histograms.hlog",
        "log.txt",
        "run.json",
        "on a time line",
    ]
    assert files[-1].endswith(f"isolbench export {folder} --format perfetto --out trace.pftrace")
