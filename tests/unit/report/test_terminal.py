# SPDX-License-Identifier: Apache-2.0
"""The summary: what a pipe gets, what it must say, and that nobody's text can act."""

from __future__ import annotations

import hashlib
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from harness.report.detail import show, sparkline
from harness.report.document import document
from harness.report.html import render
from harness.report.model import build_view
from harness.report.terminal import summary
from harness.report.words import totals
from harness.store.runs import run_dirs, write_run

from . import fake_causes
from . import fake_execution as fake


def printed(what, path, width=80, terminal=False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None)
    what(path, console)
    return stream.getvalue()


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return fake.realistic(tmp_path_factory.mktemp("night"), repeat=2)


def flat(text: str) -> str:
    return " ".join(text.split())


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_pipe_gets_an_item_a_line_without_padding(night):
    text = printed(summary, night)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(line.endswith("the kernel's RT throttling stopped the task for 50 ms in every second") for line in lines)
    assert text == printed(summary, night, width=200)


def test_a_terminal_of_80_columns_shows_all_and_cuts_nothing(night):
    text = uncoloured(printed(summary, night, terminal=True))
    assert max(map(len, text.splitlines())) <= 80
    for word in ("p99.9999", "max", "gaps/s", "stolen", "runs"):
        assert re.search(rf"^  mode .*{word}", text, re.MULTILINE), word
    # What goes on in the next line does so under its own text.
    (first,) = [number for number, line in enumerate(text.splitlines()) if "the kernel's RT throttling" in line]
    assert text.splitlines()[first].startswith("    fifo")
    assert text.splitlines()[first + 1].startswith("      ")
    assert flat(text).count("RT throttling stopped the task for 50 ms in every second") == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_a_modes_name_is_never_cut(tmp_path, terminal):
    names = [f"pinned-fifo{number}-and-a-rather-long-name" for number in (50, 60)]
    for place, name in enumerate(names, 1):
        mode = {**fake.MODES["fifo"], "name": name}
        fake.simple_run(tmp_path, mode=mode, cell=f"gap.{name}.idle-{place:012x}")
    text = uncoloured(printed(summary, tmp_path, terminal=terminal))
    for name in names:
        assert re.search(rf"^  {name} ", text, re.MULTILINE)


def test_a_terminal_gets_colour(night):
    assert "\x1b[32m2 valid" in printed(summary, night, terminal=True).replace("\x1b[0m", "")


def test_it_says_what_there_is(night):
    text = flat(printed(summary, night))
    assert "22 of 22 runs: 17 valid, 4 suspect, 1 invalid; 1 attempt failed; 13 of 22 budget checks failed; " in text
    assert "nuc: 6.18.5-rt2" in text
    assert "box: 6.12.48+deb13-amd64" in text
    assert "virtual machine (kvm)" in text
    assert "box: fifo (load spin): SCHED_FIFO was refused (EPERM)" in text
    assert "fifo (load spin), 1 run invalid: the kernel's RT throttling" in text
    assert "advice: set kernel.sched_rt_runtime_us to -1" in text
    assert "shared (all loads): no valid run, the numbers are of suspect ones" in text
    assert "nuc, 1 attempt (environment): gap.pinned.spin: the probe was killed" in text
    assert f"isolbench show nightly/{fake.EXECUTION} gap.pinned.spin-000000000004-r2-a1" in text
    assert "fifo: 0 gaps over 1 µs in 20 s: below 0.150 /s with 95 % confidence" in text
    assert "p99.99 over runs: shared" in text


def test_rows_have_the_quantiles_with_units(night):
    row = next(line for line in printed(summary, night).splitlines() if line.startswith("  fifo"))
    assert row.split()[:7] == ["fifo", "38", "ns", "40", "ns", "41", "ns"]
    assert re.search(r"<0\.150 +0 +0 ppm +0 ppm  2 valid  [▁-█]{9}$", row)


def test_the_worst_run_stands_beside_the_median(tmp_path):
    for repeat, gaps in ((1, 0), (2, 0), (3, 900)):
        noise = [(2_000_000, 0.1, 0, gaps)] if gaps else []
        histogram = fake.counts(np.random.default_rng(repeat), quiet=40, noise=noise)
        fake.simple_run(tmp_path, repeat=repeat, histogram=histogram)
    lines = printed(summary, tmp_path).splitlines()
    head, row = (re.split(r"  +", line.strip()) for line in lines if re.match("  (mode|shared) ", line))
    cells = dict(zip(head[:9], row[:9], strict=True))
    assert (cells["gaps/s"], cells["worst"]) == ("0", "90.0")
    assert re.search(r"gaps/s +worst +stolen +worst +runs", "\n".join(lines))
    assert re.search(r"0 ppm +18\d,\d00 ppm +3 valid", "\n".join(lines))


def test_of_one_run_there_is_no_worst(tmp_path):
    fake.simple_run(tmp_path)
    assert "worst" not in printed(summary, tmp_path)


def test_shapes_of_a_section_have_one_scale_and_no_point_that_n_is_too_small_for(tmp_path):
    for place, (mode, value, number) in enumerate((("shared", 10**6, 10**9), ("pinned", 10**3, 10**4)), 1):
        values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
        values[[fake.GEOMETRY.index(10), fake.GEOMETRY.index(value)]] = number, 1
        histogram = fake.Counts(fake.GEOMETRY, values)
        fake.simple_run(tmp_path, mode=fake.MODES[mode], cell=f"gap.{mode}.idle-{place:012x}", histogram=histogram)
    rows = [line for line in printed(summary, tmp_path).splitlines() if re.match("  (shared|pinned) ", line)]
    assert [row.split()[-1] for row in rows] == ["▁▁▁▁????▄", "▁▁▁▁▁▁▁▁█"]


def test_a_row_for_each_of_several_cpus(tmp_path):
    made, files = fake.record(histogram=fake.counts(np.random.default_rng(1), quiet=40, noise=[]), cpu=3)
    other, its = fake.record(
        histogram=fake.counts(np.random.default_rng(2), quiet=90, noise=[(900_000, 0.1, 0, 40)]), cpu=2
    )
    files |= {name: data for name, data in its.items() if name != "log.txt"}
    made["results"] += other["results"]
    made["files"] = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
    write_run(tmp_path, "nuc", made, files, fake.context())
    rows = [re.split(r"  +", line.strip()) for line in printed(summary, tmp_path).splitlines()]
    (shared,) = [row for row in rows if row[0] == "shared"]
    two, three = [row for row in rows if row[0].startswith("CPU ")]
    assert (two[0], three[0]) == ("CPU 2", "CPU 3")
    assert shared[1:7] == two[1:7]  # the worst of the two
    assert three[1] != two[1]
    assert three[6].endswith(" ns")
    found = document(build_view(tmp_path))["targets"][0]["cells"][0]["cpus"]
    assert [each["cpu"] for each in found] == [2, 3]
    assert found[1]["max"]["high"] < 200 < found[0]["max"]["high"]


def test_budgets_are_a_row_a_cell(night):
    text = printed(summary, night)
    part = text[text.index("  budgets") : text.index("  unsupported")]
    assert "    gap_ns p99.9999, at most 20 µs" in part
    assert "    stolen_ppm, at most 100 ppm" in part
    assert re.search(r"^      box, gap, shared, idle  fail +[\d.]+ µs  2 runs, suspect$", part, re.MULTILINE)
    assert re.search(r"^      nuc, gap, fifo, spin    pass +\d+ ns  1 run$", part, re.MULTILINE)
    assert len(part.splitlines()) == 1 + 2 * (2 + 11) + 1


def test_many_kept_budgets_are_counted(tmp_path):
    for number in range(1, 25):
        fake.simple_run(tmp_path, cell=f"gap.m{number}.idle-{number:012x}", mode={"name": f"m{number}"})
    budget = {"bench": "gap", "metric": "gap_ns", "quantile": "p50", "at_most": "1ms"}
    fake.plan(tmp_path, ["nuc"], [], 1, [budget])
    text = printed(summary, tmp_path)
    assert "and 24 that passed" in text
    assert "m7, idle" not in text


def test_a_budget_kept_beside_missed_periods_is_never_only_counted(tmp_path):
    for number in range(1, 25):
        missed = {7: 3, 8: 5000}.get(number, 0)
        name = f"m{number}"
        fake.wake_run(tmp_path, cell=f"wake.{name}.idle-{number:012x}", mode={"name": name}, missed=missed)
    budget = {"bench": "wake", "metric": "wake_ns", "quantile": "p99", "at_most": "1ms"}
    fake.plan(tmp_path, ["nuc"], [], 1, [budget])
    text = flat(printed(summary, tmp_path))
    assert "and 22 that passed" in text
    assert re.search(
        r"m7, idle pass [\d.]+ µs 1 run .* m7, idle: 3 periods were missed, each counted as later than any", text
    )
    assert re.search(r"m8, idle fail missed 1 run .* m8, idle: 5,000 periods were missed", text)


def test_too_few_samples_are_said(tmp_path):
    counts = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    counts[40] = 5000
    fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, counts))
    text = flat(printed(summary, tmp_path))
    assert "n too small" in text
    assert "p99.99 29,956, p99.9999 2,995,731" in text


def test_totals_without_a_plan(tmp_path):
    fake.simple_run(tmp_path)
    assert totals(build_view(tmp_path)) == "1 run: 1 valid"


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\r\u202e"


def hostile(path):
    facts = {
        **fake.FACTS,
        "virtual": HOSTILE,
        "firmware": HOSTILE,
        "kernel": {**fake.FACTS["kernel"], "release": HOSTILE},
    }
    reason = {"rule": HOSTILE, "state": "suspect", "text": HOSTILE, "advice": HOSTILE}
    run = fake.simple_run(path, state="suspect", reasons=[reason], facts=facts)
    fake.lane(
        path, "nuc", facts, [{"cell": "x", "bench": HOSTILE, "mode": HOSTILE, "load": HOSTILE, "reason": HOSTILE}]
    )
    return run


@pytest.mark.parametrize("terminal", [False, True])
def test_a_targets_text_does_not_act(tmp_path, terminal):
    run = hostile(tmp_path)
    for text in (printed(summary, tmp_path, 400, terminal), printed(show, run, 400, terminal)):
        assert "[2J" not in text.replace("\\x1b[2J", "")
        assert "\x07" not in text
        assert "\r" not in text
        assert "\u202e" not in text
        assert "[red]x[/red]" in text


def test_show_tells_one_run(night):
    folder = next(
        path for path in run_dirs(night) if path.name.startswith("gap.fifo.idle") and path.parent.name == "nuc"
    )
    text = flat(printed(show, folder))
    assert "validity: valid" in text
    assert "gap_ns, CPU 3" in text
    assert "p99.999" in text
    assert "gap_rate_hz: 0 Hz (95 % upper bound 0.300 Hz)" in text
    assert "mode: name fifo, where pinned, sched fifo:1, hold none" in text
    assert "asked bench: gap threshold=1us" in text
    assert "load: idle duration: 10 s settle: 1 s" in text
    assert "read back, CPU 3: affinity 3, policy fifo" in text
    assert f"Command line: {fake.FACTS['kernel']['cmdline']}" in text
    assert "▁" in text
    assert str(folder).replace(" ", "") in printed(show, folder, 400)


def test_a_minimum_below_the_clocks_step_is_explained(tmp_path):
    values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    values[[0, 10]] = 5, 10**6
    folder = fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, values))
    (line,) = [line for line in printed(show, folder).splitlines() if line.strip().startswith("min")]
    assert re.search(r"min +0 ns +the clock steps by 0\.413 ns", line)


def test_facts_go_on_under_their_own_text(night):
    folder = next(path for path in run_dirs(night) if path.parent.name == "nuc")
    lines = uncoloured(printed(show, folder, terminal=True)).splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("    Command line: ")]
    assert lines[first + 1].startswith("      ")
    assert "  files" in lines
    assert max(map(len, lines)) <= 80


def test_the_sparkline_rises_with_the_curve():
    quiet, noisy = (
        fake.counts(np.random.default_rng(1), quiet=40, noise=noise) for noise in ([], [(10_000_000, 0.2, 0, 3000)])
    )
    line = sparkline(noisy)
    assert len(line) == 40
    assert (line[0], line[-1]) == ("▁", "█")
    assert [ord(c) for c in line] == sorted(ord(c) for c in line)
    assert sparkline(noisy) != sparkline(quiet)
    assert sparkline(fake.Counts(fake.GEOMETRY, np.zeros(fake.GEOMETRY.length, dtype=np.int64))) == "empty"


def test_what_the_bars_mean_is_said_once_a_target(night):
    text = flat(printed(summary, night))
    assert text.count("p50 to max: a bar each for p50, p90, ") == 2


def test_a_quantile_that_reads_as_the_next_one_is_left_out(tmp_path):
    values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    values[fake.GEOMETRY.index(10)], values[fake.GEOMETRY.index(4_000_000)] = 10**8, 200
    fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, values))
    head = next(line for line in printed(summary, tmp_path).splitlines() if line.startswith("  mode"))
    assert head.split()[:5] == ["mode", "p50", "p99.99", "p99.9999", "max"]


def test_a_cell_says_in_a_line_what_took_its_time(tmp_path):
    text = uncoloured(printed(summary, fake_causes.realistic(tmp_path, 2)))
    own = text[text.index("stolen time by cause") :]
    assert re.search(r"shared: 0\.2\d % of the time was stolen over all runs, 6\d % of it by timer tick, \d+ %", own)
    assert re.search(r"fifo: \d\d\.\d µs of each second was stolen over all runs, 8\d % of it unexplained", own)
    blind = own[own.index("box:") :]
    assert "pinned: Causes were asked for, and none could be had: perf_event_paranoid is 3" in blind
    assert "% of the time" not in blind


def test_why_it_is_not_more_is_said_once_of_all_modes(tmp_path):
    blind = fake_causes.late(tmp_path, {"fifo": "task", "shared": "task"})
    text = flat(uncoloured(printed(summary, blind)))
    assert "fifo, shared: What is unexplained was not looked at" in text
    assert text.count("was not looked at") == 1


def test_a_run_has_a_table_of_its_causes(tmp_path):
    loud = {"ring": {"lost": 3}, "placed": {"inside": 5}}
    folder = fake_causes.attributed(tmp_path, told_more=loud)
    text = flat(printed(show, folder))
    own = text[text.index("stolen time by cause") : text.index("other metrics")]
    assert re.search(r"cause share per s Hz longest hrtimer:tick\S+ by \S+ 6\d % 1\.\d\d ms 2\d\d \S+ µs", own)
    assert "hrtimer:tick_nohz_handler by local_timer" in own
    assert "unexplained" in own
    assert "3 found no room in the ring" in own
    narrow = uncoloured(printed(show, folder, terminal=True))
    assert re.search(r"\n +cause +share +per s +Hz +longest\n", narrow)  # one table at 80 columns
    assert "by cause" not in printed(show, fake.simple_run(tmp_path / "plain"))


def test_what_was_booted_has_its_causes_beside_each_other(tmp_path):
    text = flat(printed(summary, fake_causes.kernels(tmp_path)))
    own = text[text.index("stolen a second by cause") :]
    assert re.search(r"hrtimer:tick_nohz_handler by local_timer 1\.\d\d ms 5\.\d+ µs 0\.00", own)
    assert re.search(r"irq:nvme0q4 \S+ µs - gone", own)
    assert re.search(r"and \d more", own)
    for line in printed(summary, fake_causes.kernels(tmp_path / "80"), terminal=True).splitlines():
        assert len(uncoloured(line)) <= 80


def test_causes_by_other_means_are_not_compared_in_silence(tmp_path):
    for level, words in (("software", "software events only"), ("nothing", "nothing")):
        folder = fake_causes.kernels(tmp_path / level, next_level=level)
        said = f"default plain: attribution by tracepoints; next plain: attribution by {words}."
        assert said in flat(printed(summary, folder))
        assert render(folder).count(said) == 1


def test_nobodys_name_of_a_cause_reaches_the_terminal_as_it_is(tmp_path):
    made = [("interrupt", "vector:\x1b[2J", "task:\x1b]0;x\x07[red]", 5, 9_000.0)]
    folder = fake_causes.attributed(tmp_path, causes=made)
    for what, path in ((show, folder), (summary, tmp_path)):
        text = printed(what, path)
        assert "\x1b" not in text
        assert "[red]" in text


def test_machines_get_the_causes_too(tmp_path):
    cells = document(build_view(fake_causes.realistic(tmp_path, 1)))["targets"][0]["cells"]
    causes = cells[0]["causes"]
    assert causes["rows"][0]["cause"] == fake_causes.TICK
    assert sum(row["share"] for row in causes["rows"]) == pytest.approx(1)
    json.dumps(causes, allow_nan=False)
    fake.simple_run(tmp_path / "plain")
    assert document(build_view(tmp_path / "plain"))["targets"][0]["cells"][0]["causes"] is None
