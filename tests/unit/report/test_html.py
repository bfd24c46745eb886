# SPDX-License-Identifier: Apache-2.0
"""The page as text: complete without scripts, the same each time, sealed off, and small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from harness.errors import UserError
from harness.report.html import render, write_report
from harness.report.units import printable

from . import fake_execution as fake


class Page(HTMLParser):
    """Tags with their attributes, all text outside scripts and styles, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.inside = ""
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self.inside == "style":
            self.styles.append(data)
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return fake.realistic(tmp_path_factory.mktemp("night"), repeat=3)


@pytest.fixture(scope="module")
def page(night):
    return Page(render(night))


def test_the_same_execution_gives_the_same_bytes(night, tmp_path):
    write_report(night, tmp_path / "a.html")
    write_report(night, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert render(night).encode() == (tmp_path / "a.html").read_bytes()


def test_it_says_what_was_measured_and_what_was_not(page):
    for sentence in (
        "33 of 33 runs: 26 valid, 6 suspect, 1 invalid; 1 attempt failed; 13 of 22 budget checks failed; ",
        "nuc, gap, load idle: the longest interval was",
        "box is a virtual machine (kvm): its figures include what the host took.",
        "SCHED_FIFO was refused (EPERM)",
        "the kernel's RT throttling stopped the task for 50 ms in every second",
        "To change it: set kernel.sched_rt_runtime_us to -1",
        "shared (all loads) : no valid run; the numbers are of suspect ones",
        "% stolen, suspect runs only).",
        "fifo (load spin) , 1 run invalid:",
        "gap_ns p99.9999",
        "the probe was killed: no progress for 16 s",
        fake.FACTS["kernel"]["cmdline"],
        "6.12.48+deb13-amd64",
        "TSC constant, nonstop, trusted",
        "The probe itself takes 38.2 ns per interval",
        "under 0.0999 /s (95 %)",
    ):
        assert sentence in page.text, sentence


def test_it_claims_no_significance(page):
    assert re.search(r"significan", page.text.replace("Nothing here is a claim of significance.", "")) is None


def data_of(page: Page) -> dict[str, object]:
    """The page's data, by the id of its place."""
    return {attrs["id"]: json.loads(text) for attrs, text in page.scripts if attrs.get("type") == "application/json"}


def test_three_plots_and_their_data_for_each_target_bench_and_load(page):
    plots = [attrs["data-kind"] for tag, attrs in page.tags if tag == "div" and attrs.get("class") == "plot"]
    assert plots == ["percentiles", "density", "events"] * 4
    figures = [data for key, data in data_of(page).items() if re.fullmatch(r"data-f\d+", key)]
    assert [[line["name"] for line in figure["lines"]] for figure in figures] == [
        ["shared", "pinned", "fifo"], ["shared", "pinned", "fifo"], ["shared", "pinned", "fifo"], ["shared", "pinned"],
    ]  # fmt: skip
    assert [line["dash"] for figure in figures for line in figure["lines"] if line["name"] == "shared"] == [
        False, False, True, True,
    ]  # fmt: skip
    assert {line["runs"] for figure in figures for line in figure["lines"]} == {3, 2}  # one is invalid
    assert len({json.dumps(figure["scale"]) for figure in figures}) == 1


def test_a_plot_says_what_it_leaves_out(page):
    found = re.search(r"([\d,]+) of ([\d,]+) gaps over 1 µs: the longest of each 1/60 of a run's time", page.text)
    assert found
    drawn, seen = (int(number.replace(",", "")) for number in found.groups())
    assert drawn < seen
    assert re.search(r"[\d,]+ more were counted by the probe and not kept", page.text)


def test_small_plots_stand_side_by_side(page):
    groups = data_of(page)["data-beside"]
    assert [group["title"] for group in groups] == ["gap, load idle: gap_ns", "gap, load spin: gap_ns"]
    assert groups[0]["panels"] == [["nuc", "f1"], ["box", "f3"]]


def test_without_scripts_the_tables_are_there_and_the_rest_is_named(page):
    assert "The tables below say the same of every mode" in page.text
    for tag, attrs in page.tags:
        if tag == "figure" or attrs.get("class") == "tool" or attrs.get("id") == "beside":
            assert "hidden" in attrs, (tag, attrs)


def test_nothing_is_fetched_and_only_our_own_runs(page):
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = page.styles
    library, script = [text for attrs, text in page.scripts if "type" not in attrs]
    for text in (style, library, script):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {name for name in attrs if name.startswith("on") or name in ("src", "style", "srcset")}, tag
        assert attrs.get("href", "#").startswith("#")
    assert "@import" not in style
    assert "url(" not in style


HOSTILE = "</script><script>alert(1)</script><!--\u2028\u202e\x1b[2J\"'><img src=x onerror=alert(1)>&amp;{{7*7}}"


def hostile_execution(path):
    kernel = dict.fromkeys(fake.FACTS["kernel"], HOSTILE)
    facts = {**fake.FACTS, "virtual": HOSTILE, "cpu_model": HOSTILE, "kernel": kernel}
    reason = dict.fromkeys(("rule", "text", "advice"), HOSTILE) | {"state": "suspect"}
    folder = fake.simple_run(path, state="suspect", reasons=[reason], facts=facts)
    document = json.loads((folder / "run.json").read_text())  # names are checked on arrival, not in old files
    document["spec"].update(bench=HOSTILE, mode={"name": HOSTILE, "where": HOSTILE}, load={"name": HOSTILE})
    (folder / "run.json").write_text(json.dumps(document))
    unsupported = dict.fromkeys(("cell", "bench", "mode", "load", "reason"), HOSTILE)
    fake.lane(path, "nuc", facts, [unsupported])
    fake.plan(path, ["nuc", HOSTILE], [{"cell": HOSTILE, "target": HOSTILE, "mode": HOSTILE, "load": HOSTILE}], 1)


def test_nobodys_text_leaves_its_place(tmp_path):
    clean = Page(render(fake.simple_run(tmp_path / "clean", state="suspect", reasons=[fake.STEAL]).parents[2]))
    hostile_execution(tmp_path / "hostile")
    text = render(tmp_path / "hostile")
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags} | {"small", "b", "nav"}
    assert len(page.scripts) == len(clean.scripts)
    assert "alert(1)</script>" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", page.text)
    for character in ("\x1b", "\u2028", "\u202e"):
        assert character not in text
    data = data_of(page)
    assert data["data-f1"]["lines"][0]["name"] == printable(HOSTILE)
    assert printable(HOSTILE) in data["data-table"]["strings"]


def test_variants_have_a_plot_a_table_and_a_row_each(tmp_path):
    for number, threshold in enumerate(("1000ns", "5000ns"), 1):
        cell = f"gap.shared.idle-{number:012x}"
        fake.simple_run(tmp_path, cell=cell, params={"threshold": threshold}, seed=number)
    page = Page(render(tmp_path))
    assert page.text.count("gap threshold=1us, load idle") == 3  # headline, at a glance, its own part
    assert page.text.count("gap threshold=5us, load idle") == 3
    assert len([attrs for tag, attrs in page.tags if tag == "figure"]) == 2


def test_max_is_the_longest_of_any_run(tmp_path):
    for repeat, longest in ((1, 5_000), (2, 70_000), (3, 9_000)):
        values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
        values[fake.GEOMETRY.index(40)] = 10**6
        values[fake.GEOMETRY.index(longest)] = 1
        fake.simple_run(tmp_path, repeat=repeat, histogram=fake.Counts(fake.GEOMETRY, values))
    text = Page(render(tmp_path)).text
    assert re.search(r"70\.\d µs median 9\.\d\d µs", text)


def test_budgets_have_a_part_of_their_own_failures_first(page):
    part = page.text[page.text.index("Budgets The median") : page.text.index("What this machine is")]
    assert part.count(" fail ") == 13
    assert part.rindex(" fail ") < part.index(" pass ")
    assert "gap, shared, idle gap_ns p99.9999" in part
    assert "suspect only" in part


def test_the_full_name_of_a_mode_is_in_legend_and_plot(tmp_path):
    for place, name in enumerate(("pinned-fifo50", "pinned-fifo60"), 1):
        fake.simple_run(tmp_path, mode={**fake.MODES["fifo"], "name": name}, cell=f"gap.{name}.idle-{place:012x}")
    page = Page(render(tmp_path))
    for place, name in enumerate(("pinned-fifo50", "pinned-fifo60")):
        assert data_of(page)["data-f1"]["lines"][place]["name"] == name
    assert re.search("pinned-fifo50 pinned-fifo60", page.text)


def test_a_row_for_each_of_several_cpus(tmp_path):
    fake.run_on_two_cpus(tmp_path)
    page = Page(render(tmp_path))
    rows = re.search(r"shared .*? CPU 2 (.*?) CPU 3 (.*?) Per run", page.text)
    assert rows
    assert rows[1].startswith("90 ns")
    assert rows[2].startswith("39 ns")
    assert "below it each CPU by itself" in page.text
    run = data_of(page)["data-details"]["runs"][0]
    assert [each["cpu"] for each in run["measured"]] == [3, 2]
    assert [cpu for cpu, _ in run["events"][0]["moments"]] == ["2"]  # the other had no gap
    (line,) = data_of(page)["data-f1"]["lines"]
    assert line["curve"]["ends"][0] > 900_000  # the worst of them


def test_a_control_has_a_part_of_its_own(tmp_path):
    fake.with_control(fake.simple_run(tmp_path), cpu=0, worse=7)
    page = Page(render(tmp_path))
    assert "gap, load idle, control" in page.text
    assert page.text.count("the longest interval was") == 1
    measured = data_of(page)["data-details"]["runs"][0]["measured"]
    assert [(each["role"], each["cpu"]) for each in measured] == [("measured", 3), ("control", 0)]


def test_what_cannot_be_read_is_named(tmp_path):
    for repeat in (1, 2):
        broken = fake.simple_run(tmp_path, repeat=repeat)
    (broken / "histograms.hlog").write_text("Tag=gap_ns.cpu3,0,1,2,HISTF\n")
    page = Page(render(tmp_path))
    assert "Result files that could not be read" in page.text
    assert "Of 1 of 2 runs, the median" in page.text


@pytest.mark.parametrize("state", ["invalid", "valid"])
def test_little_is_enough_for_a_page(tmp_path, state):
    """One run without a plan, a lane or facts; and one that gives no numbers at all."""
    reasons = [fake.THROTTLED] if state == "invalid" else []
    empty = fake.Counts(fake.GEOMETRY, np.zeros(fake.GEOMETRY.length, dtype=np.int64))
    fake.simple_run(tmp_path, histogram=empty, state=state, reasons=reasons)
    assert f"1 run: 1 {state}" in Page(render(tmp_path)).text


def test_a_clock_that_steps_does_not_cost_two_decades(tmp_path):
    counts = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    counts[[0, 40, fake.GEOMETRY.index(9_000)]] = 5, 10**6, 3
    fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, counts))
    assert data_of(Page(render(tmp_path)))["data-f1"]["scale"]["low"] == 20


def test_a_hundred_runs_cost_little_each(tmp_path):
    """At most 2 MB plus data, and the data of a run are no more than what is its own."""
    fake.simple_run(tmp_path, repeat=1)
    one = len(render(tmp_path))
    for repeat in range(2, 102):
        fake.simple_run(tmp_path, repeat=repeat)
    assert one < 200_000
    assert len(render(tmp_path)) - one < 100 * 2_000


def test_what_is_no_execution_is_said(tmp_path):
    with pytest.raises(UserError):
        write_report(tmp_path, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_what_failed_stands_at_the_top_with_its_number_and_the_limit(page, night):
    top = page.text.partition("At a glance")[0]
    assert "over budget nuc, gap, shared, idle: gap_ns p99.9999 " in top
    assert re.search(r"gap_ns p99\.9999 [\d.]+ µs against at most 20 µs", top)
    assert '<a href="#budgets">and 5 more budget checks</a>' in render(night)


def test_what_holds_for_all_runs_is_said_once(tmp_path):
    fake.simple_run(tmp_path, state="suspect")
    top = Page(render(tmp_path)).text.partition("At a glance")[0]
    assert top.count("suspect runs") == 1
    assert "No run is valid: all of these are of suspect runs." in top
