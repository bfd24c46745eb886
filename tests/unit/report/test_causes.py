# SPDX-License-Identifier: Apache-2.0
"""What reports say of causes: what took most comes first, how far it is to be trusted, and what does not compare."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.report import cause_view, caused, causes
from harness.report.cause_plots import Axis, axis_of, bars
from harness.report.html import render
from harness.report.model import build_view
from harness.stats.causes import Row, total

from . import fake_causes
from . import fake_execution as fake
from .test_html import HOSTILE, Page, data_of


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return fake_causes.realistic(tmp_path_factory.mktemp("causes"))


@pytest.fixture(scope="module")
def page(night):
    return Page(render(night))


def seen(*rows: tuple[str | None, int], seconds: float = 1.0, level: str = "tracepoints", **more):
    gaps = {("interrupt" if name else "unexplained", name and "vector:x", name): [ns] for name, ns in rows}
    return total([fake_causes.told(gaps, level, **more)], [seconds])


def test_the_answer_names_what_took_most_whatever_began_it():
    gaps = {("interrupt", entry, "task:find"): [300_000_000] for entry in ("vector:reschedule", "vector:local_timer")}
    gaps |= {("interrupt", "vector:local_timer", fake_causes.TICK): [250_000_000], ("unexplained", None, None): [10]}
    gaps |= {("interrupt", f"irq:{name}", f"irq:{name}"): [50_000_000] for name in "abc"}
    found = total([fake_causes.told(gaps)], [10.0])
    assert causes.lost(found, late=False) == "10 % of the time was stolen"
    assert causes.answer(found, False) == (
        "60 % of it by task find, 25 % by timer tick, 5.0 % by device interrupt a, 10 % by 3 others"
    )


@pytest.mark.parametrize(
    ("level", "scope", "late", "blind"),
    [
        ("tracepoints", "task", True, True),
        ("software", "task", True, True),
        ("tracepoints", "cpu", True, False),
        ("tracepoints", "task", False, False),  # a gap is of a task that ran: what interrupts it leaves an event
    ],
)
def test_what_nobody_looked_at_is_not_called_a_cause(level, scope, late, blind):
    found = seen((None, 970), ("task:a", 30), level=level, scope=scope)
    said = "97 % of it not looked at, 3.0 % by task a" if blind else "97 % of it unexplained, 3.0 % by task a"
    assert causes.answer(found, late) == said
    assert any("was not looked at" in note.text for note in causes.notes(found, late)) == blind


def test_of_late_wake_ups_that_nobody_looked_at_there_is_no_advice_and_no_headline(tmp_path):
    facts = {"arch": "x86_64"}
    view = build_view(fake_causes.late(tmp_path, {"shared": "task", "pinned": "cpu"}))
    (section,) = view.targets[0].sections
    blind, looked = (tuple(mode for mode in section.modes if mode.name == name) for name in ("shared", "pinned"))
    assert any("unexplained" in each.names for each in caused.advised(looked, facts, {}, {}, None, late=True))
    assert not any("unexplained" in each.names for each in caused.advised(blind, facts, {}, {}, None, late=True))
    assert "unexplained under pinned (8" in cause_view.headline(view.targets[0], section)
    assert cause_view.headline(view.targets[0], section).endswith("; not looked at under shared.")
    page = Page(render(view.path)).text
    assert "What is unexplained was not looked at: while a task waits, only tracepoints of a CPU" in page
    assert "shared: what is unexplained was not looked at; the causes do not compare." in page
    assert "Causes beside each other" not in page


def test_a_task_that_nobody_names_is_a_thing_that_took_the_time():
    found = seen(("switch:preempted", 90), ("switch:slept", 10), level="software")
    assert causes.answer(found, late=False) == "90 % of it by an unnamed task, 10 % by its own sleep"


@given(st.floats(0, 1))
@example(0.9991)
def test_a_share_is_never_nothing_where_there_is_something(share):
    text = causes.percent(share)
    assert (text == "0 %") == (share == 0)
    assert share == 1 or text != "100 %"
    number = re.fullmatch(r"(?:under )?([\d.]+) %", text)
    assert number
    assert float(number[1]) == pytest.approx(100 * share, rel=0.06, abs=0.01)


def test_the_level_is_said_and_why_it_is_not_more():
    assert causes.notes(seen(("task:a", 5)), False)[0] == causes.Note(
        "", "Seen by tracepoints, all that the CPU did.", "seen"
    )
    by_software = causes.notes(seen(("switch:preempted", 5), level="software"), False)[0]
    assert by_software.state == "suspect"
    assert "no interrupts): perf_event_paranoid is 2" in by_software.text
    (nothing,) = causes.notes(seen(level="nothing"), False)
    assert (nothing.state, "perf_event_paranoid is 3" in nothing.text) == ("suspect", True)
    mixed = total([fake_causes.told({}), fake_causes.told({}, "nothing")], [1.0, 1.0])
    assert "1 by tracepoints, 1 by nothing" in causes.notes(mixed, False)[0].text


def test_what_is_missing_is_said_with_its_rows():
    rows = {
        "LOC": {"events": 1021, "edge": 2, "interrupts": 1025},
        "36": {"events": 7, "edge": 0, "interrupts": 9},
        "RES": {"events": 3, "edge": 0, "interrupts": 3},
    }
    ring = {"lost": 7, "missing": 20, "unknown": 0}
    found = seen(
        ("task:a", 5_000_000),
        conservation={"holds": False, "rows": rows, "unseen": {"TRM": 2}},
        ring=ring,
        placed={"inside": 90, "outside": 4},
        gaps_dropped=1,
        tracer="function_graph",
    )
    texts = {note.text: note.state for note in causes.notes(found, False)}
    said = " ".join(texts)
    assert "not complete" in said.lower()
    assert "LOC: 1,021 to 1,023 of 1,025, irq 36: 7 of 9." in said
    assert "RES" not in said
    assert "TRM (2)" in said
    assert (
        "7 found no room in the ring, 20 were counted by the kernel and never written, 4 lay outside every gap" in said
    )
    assert "1 gap came faster" in said
    assert "the tracer function_graph traced as well" in said
    assert "lay outside" not in " ".join(note.text for note in causes.notes(found, late=True))  # between wake-ups


def test_the_instruments_own_part_is_stated():
    found = seen(
        ("task:a", 10_200), instruments={"events": 3, "cost_ns": 1020.0, "interrupts": {"own": 0}}, steal_ns=99
    )
    said = " ".join(note.text for note in causes.notes(found, False))
    assert (
        "3 events at some 340 ns each, 1.02 µs in all, at most 10 % of the stolen time; no interrupt of theirs" in said
    )
    assert "The host took 99 ns (steal)" in said


def test_what_looked_by_other_means_is_not_compared_in_silence():
    traced, blind = seen(("task:a", 5)), seen(level="nothing")
    assert causes.differ([("shared", traced), ("pinned", traced)], late=False) == ""
    said = causes.differ([("6.1", traced), ("6.12", blind), ("rt", None), ("next", traced)], late=False)
    assert "do not compare" in said
    assert "6.1, next: attribution by tracepoints; 6.12: attribution by nothing; rt: no attribution." in said


def test_the_page_answers_first_then_shows_how_it_knows(page):
    top = page.text.partition("At a glance")[0]
    assert re.search(
        r"nuc, gap attribution=perf, load idle: most stolen time was taken by timer tick under shared \(6\d %\) "
        r"and unexplained under fifo \(8\d %\)\.",
        top,
    )
    assert re.search(r"under shared \(median [\d.]+ % stolen\)", top)  # and what they took over all runs is another
    part = page.text[page.text.index("Stolen time by cause") :]
    assert re.search(
        r"shared : 0\.2\d % of the time was stolen over all runs, 6\d % of it by timer tick, 2\d % by device", part
    )
    assert "hrtimer:tick_nohz_handler by vector:local_timer" in part
    assert "irq:nvme0q4, irq 36" in part
    assert "Complete by the kernel's own count of interrupts." in part
    assert "pinned : no causes" in part
    assert "Causes were asked for, and none could be had: perf_event_paranoid is 3" in part
    assert part.index("timer tick") < part.index("device interrupt nvme0q4") < part.index("system call getppid")


def test_every_class_that_came_is_in_the_legend_and_is_text_in_its_rows(page):
    legend = page.text[page.text.index("Stolen time by cause") :][:400]
    for name in ("interrupt:", "exception:", "syscall:", "unexplained:"):
        assert name in legend
    assert "exception: a page fault of the task's own" in page.text


def test_who_sent_it_and_what_the_tick_was_needed_for(page):
    assert re.search(r"call:flush_tlb_func by vector:call_function_single .*?sent by munmapper \(4\d\)", page.text)
    assert re.search(r"interrupt: the timer tick needed for POSIX_TIMER \(2,\d{3}\)", page.text)


def test_who_sent_it_stands_once_whatever_a_cause_came_by(tmp_path):
    calls = [("interrupt", entry, "call:flush_tlb_func", 40, 3_100.0) for entry in (fake_causes.TIMER, "vector:call")]
    fake_causes.attributed(tmp_path, causes=calls)
    page = Page(render(tmp_path)).text
    assert page.count("call:flush_tlb_func by ") == 2
    assert page.count("sent by munmapper") == 1


def test_the_newest_sensitivity_of_each_kernel_is_stated(tmp_path, monkeypatch):
    asked = []

    def newest(results, target, identity, warnings):
        asked.append((results, target, identity["kernel_release"]))
        return None if identity["kernel_release"] == "6.1" else identity

    monkeypatch.setattr(caused.sensitivity, "newest", newest)
    monkeypatch.setattr(caused.sensitivity, "sentence", lambda found, target: "sensitivity: x" if found else "never")
    text = Page(render(fake_causes.kernels(tmp_path))).text
    assert asked == [(tmp_path, "nuc", "6.1"), (tmp_path, "nuc", "6.2")]
    assert "6.1: never" in text
    assert "6.2: sensitivity: x" in text


def test_what_would_take_it_away_says_whether_it_is_so_here(page):
    part = page.text[page.text.index("What would take it away") :]
    tick = part[part.index("timer tick") :][:900]
    assert re.search(r"(not )?in effect here", tick)
    assert "Documentation/" in tick
    assert "isolbench doctor --sensitivity nuc" in page.text


def test_what_helps_a_fifo_task_is_not_what_helps_another(tmp_path):
    preempted = [("interrupt", fake_causes.TIMER, "task:python", 50, 900_000)]
    pages = {}
    for name in ("pinned", "fifo"):
        fake_causes.attributed(tmp_path / name, causes=preempted, mode=fake.MODES[name])
        page = Page(render(tmp_path / name)).text
        pages[name] = page[page.index("What would take it away") :]
    assert "no fair server" in pages["fifo"]
    assert "no fair server" not in pages["pinned"]
    assert "(in the application; " in pages["pinned"]


def test_modes_stand_beside_each_other_the_most_changed_first(page):
    part = page.text[page.text.index("Causes beside each other") :]
    rows = part[: part.index("What would take it away")]
    assert rows.index("timer tick") < rows.index("task rcu_preempt")
    assert re.search(r"timer tick hrtimer:tick_nohz_handler by vector:local_timer 1\.\d\d ms/s .*?×0\.0\d+", rows)
    assert re.search(r"timer clocksource_watchdog .*?none .*?new", rows)
    assert re.search(r"device interrupt nvme0q4 .*?none gone", rows)


def test_hostile_names_of_causes_leave_no_place(tmp_path):
    made = [("interrupt", HOSTILE, f"task:{HOSTILE}", 5, 9_000.0), (*fake_causes.NOISY[0],)]
    folder = fake_causes.attributed(tmp_path, causes=made, told_more={"reason": HOSTILE, "tracer": HOSTILE})
    document = json.loads((folder / "run.json").read_text())
    told = document["results"][0]["attribution"]
    told["causes"][0]["class"] = HOSTILE
    told["causes"].append({"class": HOSTILE, "count": 10**40, "stolen_ns": "x", "buckets": [[HOSTILE, 1], 5]})
    told["conservation"] = {"holds": False, "rows": {HOSTILE: {"events": 1, "interrupts": 3}}, "unseen": {HOSTILE: 1}}
    (folder / "run.json").write_text(json.dumps(document))
    fake_causes.attributed(tmp_path / "clean")
    text = render(tmp_path)
    page = Page(text)
    clean = Page(render(tmp_path / "clean"))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags}
    assert len(page.scripts) == len(clean.scripts)
    assert "alert(1)</script>" not in text
    for character in ("\x1b", "\u2028", "\u202e"):
        assert character not in text
    for _, attrs in page.tags:
        assert not {name for name in attrs if name.startswith("on") or name in ("src", "style")}


def test_many_causes_and_gaps_cost_little(tmp_path):
    """256 causes with their histograms, 5,000 gaps: a page has the rows and columns that it has room for."""
    many = [("interrupt", "vector:local_timer", f"timer:function_{n:03}", 20, 2_000.0 + 50 * n) for n in range(256)]
    plain = len(render(fake.simple_run(tmp_path / "plain").parents[2]))
    fake_causes.attributed(tmp_path / "many", causes=many)
    text = render(tmp_path / "many")
    assert len(text) - plain < 50_000
    page = Page(text)
    assert page.text.count(" by vector:local_timer") == cause_view.MOST_ROWS
    assert re.search(r"and 246 causes more: [\d.]+ ms \(9\d %\) in \d,\d{3} gaps", page.text)


def test_many_cells_share_the_room_of_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(cause_view, "ROWS", 20)
    monkeypatch.setattr(cause_view, "COLUMNS", 150)
    for number in range(5):
        options = {"cell": f"gap.pinned.idle-{number:012x}", "target": f"rpi5-{number:02}", "seed": number}
        fake_causes.attributed(tmp_path, causes=fake_causes.NOISY[2:], **options)
    page = Page(render(tmp_path))
    assert page.text.count("longest of each class in each 1/30 of its time") == 5
    tables = re.findall(r"lengths .*? log (.*?) and (\d) causes more", page.text)
    assert [more for _, more in tables] == ["2"] * 5
    columns = [attrs["d"].count("V") for tag, attrs in page.tags if tag == "path" and "V" in attrs.get("d", "")]
    assert len(columns) >= 5
    assert all(number <= 2 * 30 for number in columns)


def test_without_attribution_nothing_is_said_of_causes(tmp_path):
    text = render(fake.simple_run(tmp_path / "off").parents[2])
    assert "by cause" not in text
    assert "--k0" not in text
    assert "attribution" not in Page(text).text


def test_a_run_that_is_opened_says_what_took_its_time(tmp_path):
    fake_causes.attributed(tmp_path)
    details = data_of(Page(render(tmp_path)))["data-details"]
    groups = dict(details["pool"][place] for place in details["runs"][0]["groups"])
    rows = dict(groups["causes"])
    assert re.match(r"0\.2\d % of the time was stolen, 6\d % of it by timer tick, ", rows["taken"])
    assert rows["complete"] == "Complete by the kernel's own count of interrupts."
    assert set(rows) >= {"seen", "lost", "instruments"}


def test_pieces_that_were_slow_have_causes_and_no_rate_of_their_own(tmp_path):
    folder = fake_causes.attributed(tmp_path)
    document = json.loads((folder / "run.json").read_text())
    document["results"][0]["slow"] = document["results"][0].pop("gaps")
    document["metrics"] = [each for each in document["metrics"] if each["unit"] != "Hz"]
    (folder / "run.json").write_text(json.dumps(document))
    page = Page(render(tmp_path))
    assert "Stolen time by cause" in page.text
    assert "slow/s" not in page.text


def test_a_timeline_is_of_the_run_that_lost_the_most(tmp_path):
    quiet = fake_causes.QUIET[:1]
    fake_causes.attributed(tmp_path, causes=quiet, repeat=1)
    fake_causes.attributed(tmp_path, causes=fake_causes.NOISY, repeat=2)
    fake_causes.attributed(tmp_path, causes=quiet, repeat=3)
    page = Page(render(tmp_path))
    assert "Run 2, the worst, CPU 3: the longest of each class in each 1/160 of its time, of 3," in page.text
    drawn = {attrs.get("class"): attrs["d"] for tag, attrs in page.tags if tag == "path" and "V" in attrs.get("d", "")}
    assert {"k-interrupt", "k-exception", "k-syscall", "k-unexplained"} <= set(drawn)


def test_an_axis_has_room_for_all_and_bars_are_where_their_values_are():
    row = Row("interrupt", None, "task:a", None, 30, 9, 5_000_000, ((1_000, 10), (63_096, 19), (3_981_072, 1)))
    axis = axis_of([total([fake_causes.told({("interrupt", "a", "b"): [1_200, 5_000_000]})])])
    assert (axis.low, axis.high) == (1_000, 10_000_000)
    places = [(int(place), int(height)) for place, height in re.findall(r"M(\d+) \d+v-(\d+)", bars(row, axis))]
    assert places == [(0, 9), (9, 18), (18, 1)]
    assert Axis(1_000, 100_000).share(10_000) == pytest.approx(0.5)
