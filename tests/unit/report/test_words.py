# SPDX-License-Identifier: Apache-2.0
"""Benches that are not ``gap``: their own words and columns in every report, and nothing lost in silence."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from harness.report.detail import show
from harness.report.document import document
from harness.report.html import headlines, render
from harness.report.model import build_view
from harness.report.modes import run_view
from harness.report.terminal import summary
from harness.store.catalogue import load
from harness.store.hdr import QUANTILES
from harness.store.runs import load_run
from harness.store.values import value_with_missed

from . import fake_execution as fake
from .test_html import Page
from .test_terminal import flat, printed

NOT_OURS = re.compile(r"gaps?\b|stolen|interval|iteration", re.IGNORECASE)
GENERAL = "one for each interval, wake-up or piece of work"


def of_page(execution) -> str:
    return Page(render(execution)).text.replace(GENERAL, "")


def heats(execution) -> list[str]:
    """The colours of the row of ``wake`` at a glance."""
    row = next(part for part in render(execution).split("<tr>") if "wake_ns</small>" in part)
    return re.findall(r'<td class="(h\d)"', row)


def test_wake_ups_are_not_told_in_the_words_of_gaps(tmp_path):
    fake.wake_run(tmp_path, late=4)
    text, page = flat(printed(summary, tmp_path)), of_page(tmp_path)
    assert "late: over 100 µs" in text
    assert re.search(r"max late/s runs p50 to max shared 6\d\.\d µs", text)
    assert "Counted as late: wake-ups over 100 µs" in page
    assert "share of all wake-ups that took at most so long" in page
    assert "the longest wake-up was" in page
    assert "0.400 late/s" in page
    for found in (text, page):
        assert NOT_OURS.findall(found) == []


def test_a_probe_without_events_has_no_rate_and_no_threshold(tmp_path):
    fake.wake_run(tmp_path, cell="work.shared.idle-000000000002", late=None, spread=1.25)
    text, page = flat(printed(summary, tmp_path)), of_page(tmp_path)
    assert re.search(r"max spread runs p50 to max shared .* 1\.25 p99/p50 1 valid", text)
    assert "spread p99/p50" in page
    for found in (text, page):
        assert "/s" not in found.replace("runs/s", "")
        assert "over" not in re.findall(r"threshold|over \d", found)
        assert NOT_OURS.findall(found) == []


def test_missed_periods_are_said_everywhere(tmp_path):
    for repeat, missed in ((1, 0), (2, 500)):
        folder = fake.wake_run(tmp_path, repeat=repeat, missed=missed)
    said = "shared: 500 of 20,000 periods missed (2.50 %): each counts as later than any"
    text, page = flat(printed(summary, tmp_path)), of_page(tmp_path)
    assert said in text
    assert re.search(r"late/s worst missed runs p50 to max shared .* 500 2 valid", text)
    assert said in page
    assert page.count("500 periods missed") == 2  # at a glance, and in the table
    assert "Missed Periods that passed" in page
    assert "recorded: 9,500, 500 missed" in printed(show, folder)
    assert load(tmp_path).missed.sum() == 500


def test_a_quantile_of_the_tables_is_that_of_the_budgets(tmp_path):
    """A run that misses periods leaves fewer values: a table of those alone would look the better the worse it was."""
    missing = {"cell": "wake.fifo.idle-000000000002", "mode": {"name": "fifo"}, "missed": 500}
    folder = fake.wake_run(tmp_path, value=60_000, **missing)
    view = build_view(tmp_path)
    (section,) = view.targets[0].sections
    (mode,) = section.modes
    levels = {name: value_with_missed(load_run(folder), "wake_ns", name) for name in QUANTILES}
    assert {each.name: each.spread.median for each in mode.quantiles} == levels
    assert (levels["p90"] < math.inf, levels["p99"]) == (True, math.inf)
    row = next(line for line in printed(summary, tmp_path).splitlines() if line.startswith("  fifo"))
    assert re.search(r"fifo  6\d\.\d µs +missed", row)
    assert re.search(r"p99 +missed", printed(show, folder))
    cells = document(view)["targets"][0]["cells"][0]["quantiles"]
    assert (cells["p90"]["median"], cells["p99"]["median"]) == (levels["p90"], None)
    (row,) = [row for row in load(tmp_path).itertuples() if row.metric == "wake_ns"]
    assert (row.p50, row.p90, row.missed) == (levels["p50"], levels["p90"], 500)
    assert pd.isna(row.p99)
    assert "missed" in of_page(tmp_path)


def test_every_period_missed_is_no_value_and_not_no_run(tmp_path):
    fake.wake_run(tmp_path, missed=10_000)
    page = of_page(tmp_path)
    assert "no value 1 valid 10,000 periods missed" in page
    assert "10,000 of 10,000 periods missed (100 %)" in flat(printed(summary, tmp_path))


def test_periods_that_the_probe_left_out_are_said(tmp_path):
    fake.wake_run(tmp_path, missed=10, awake=40)
    said = (
        "10 of 10,000 periods missed (0.100 %): each counts as later than any; "
        "40 of 10,000 periods left out by the probe (0.400 %): no quantile knows of them"
    )
    assert said in flat(printed(summary, tmp_path))
    assert said in of_page(tmp_path)


def test_nothing_is_said_where_nothing_was_missed(tmp_path):
    fake.wake_run(tmp_path)
    assert "missed" not in printed(summary, tmp_path)
    assert "issed" not in of_page(tmp_path)


def test_no_late_wake_up_is_bounded(tmp_path):
    fake.wake_run(tmp_path)
    assert "shared: 0 late over 100 µs in 10 s: below 0.300 /s" in flat(printed(summary, tmp_path))
    assert "0 late, under 0.300 /s" in of_page(tmp_path)


def test_choices_set_variants_apart(tmp_path):
    for number, method in enumerate(("clock_nanosleep", "timerfd"), 1):
        fake.wake_run(tmp_path, cell=f"wake.shared.idle-{number:012x}", params={"method": method})
    (target,) = build_view(tmp_path).targets
    assert [each.title for each in target.sections] == ["wake method=clock_nanosleep", "wake method=timerfd"]


def test_percentiles_are_explained_by_how_often_there_is_a_value(tmp_path):
    fake.wake_run(tmp_path)
    page = of_page(tmp_path)
    assert "They count wake-ups, not time: there are some 1,000 a second here." in page
    assert "one in 10,000, that is one in 10 s" in page


def test_all_probes_of_a_target_are_named(tmp_path):
    fake.simple_run(tmp_path)
    fake.wake_run(tmp_path)
    (target,) = build_view(tmp_path).targets
    assert re.fullmatch(r"gap 0\.1\.0 · [^;]*; wake 0\.1\.0 · [^;]*", dict(target.facts)["Probe"])


def test_colours_compare_within_a_metric(tmp_path):
    """The quieter of two modes is the palest of its row, however short the intervals of another bench are."""
    fake.simple_run(tmp_path)
    for number, name in enumerate(("shared", "fifo"), 2):
        fake.wake_run(tmp_path, cell=f"wake.{name}.idle-{number:012x}", mode=fake.MODES[name])
    assert heats(tmp_path) == ["h0", "h0"]


def test_a_small_difference_is_a_pale_one(tmp_path):
    for number, (name, longest) in enumerate((("shared", 60_000), ("pinned", 66_000), ("fifo", 9_000_000)), 1):
        fake.wake_run(tmp_path, cell=f"wake.{name}.idle-{number:012x}", mode=fake.MODES[name], value=longest)
        if name == "pinned":
            assert heats(tmp_path) == ["h0", "h0"]
    assert sorted(heats(tmp_path)) == ["h0", "h0", "h6"]


def test_what_only_the_probe_knows_is_shown(tmp_path):
    text = printed(show, fake.wake_run(tmp_path))
    assert "wake's own" in text
    assert "woke_elsewhere: 7" in text
    assert "offset: before (low -70.1, high 70.1), synchronised True" in text


@pytest.mark.parametrize(("better", "worst"), [("higher", 3.0), ("lower", 9.0)])
def test_of_several_cpus_the_worst_counts(tmp_path, better, worst):
    run = load_run(fake.simple_run(tmp_path))
    numbers = [{"metric": "m", "kind": "scalar", "unit": "", "better": better, "value": v} for v in (3.0, 9.0)]
    run = replace(run, document={**run.document, "metrics": [*run.metrics, *numbers]})
    assert run_view(run, "gap_ns").scalars["m"] == worst


def test_a_headline_without_a_word_for_its_values(tmp_path):
    folder = fake.wake_run(tmp_path)
    path = folder / "run.json"
    path.write_text(
        path.read_text().replace('"sample": "wake-up"', '"sample": null').replace('"sample":"wake-up"', '"sample":null')
    )
    assert "the longest value was" in headlines(build_view(tmp_path))[0]
