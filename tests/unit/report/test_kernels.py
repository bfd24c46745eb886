# SPDX-License-Identifier: Apache-2.0
"""Campaigns that boot: the report opens with how kernels and boot profiles compare, and says who they are, once."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.report import words
from harness.report.account import asked
from harness.report.booted import boot_of, difference
from harness.report.document import document
from harness.report.html import render
from harness.report.model import build_view
from harness.report.terminal import print_view
from harness.store.runs import iter_runs

from . import fake_execution as fake
from . import fake_kernels
from .test_html import HOSTILE, Page

COLUMNS = [(kernel, boot) for kernel in ("default", "rt", "next") for boot in ("plain", "quiet")]


@pytest.fixture(scope="module")
def execution(tmp_path_factory):
    return fake_kernels.kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def view(execution):
    return build_view(execution)


@pytest.fixture(scope="module")
def page(execution):
    return Page(render(execution))


def row_of(view, mode, load="idle"):
    (one,) = view.targets[0].comparisons
    assert list(one.columns) == COLUMNS
    return next(row for row in one.rows if (row.mode, row.load) == (mode, load)).cells


def test_a_ratio_is_of_two_medians_over_runs(view):
    first, quiet, rt, rt_quiet, *_ = row_of(view, "shared")
    for cell in (quiet, rt, rt_quiet):
        for own, base in zip(cell.numbers, first.numbers, strict=True):
            assert own.ratio == own.spread.median / base.spread.median
        assert [number.label for number in cell.numbers] == ["p99.99", "max", "gaps/s"]
        assert cell.mode.number("valid") == 4
    assert all(number.ratio is None for number in first.numbers)
    section = first.section
    assert first.numbers[1].spread.median == sorted(run.max for run in first.mode.runs)[2]
    assert (section.base, section.booted) == ("gap", ("default", "plain"))


def test_interrupts_are_counted_on_the_cpu_that_was_measured(view):
    plain, quiet, *_ = row_of(view, "pinned")
    assert [cell.number("interrupts").spread.median for cell in (plain, quiet)] == [250, 1]
    assert quiet.number("interrupts").ratio == 1 / 250
    assert row_of(view, "shared")[0].number("interrupts") is None  # it was on no CPU for good


def test_what_has_no_number_says_why(view):
    plain, quiet, rt_plain, _, next_plain, next_quiet = row_of(view, "nohz-full")
    assert (plain.why, plain.reason) == (rt_plain.why, rt_plain.reason) == ("unsupported", fake_kernels.NOHZ)
    assert (quiet.why, [number.ratio for number in quiet.numbers]) == ("", [None] * 4)  # beside nothing
    assert {(cell.why, cell.reason) for cell in (next_plain, next_quiet)} == {("boot failed", fake_kernels.PANIC)}


def test_who_was_booted_and_how_often(view):
    box = view.targets[0]
    default, rt, following = box.kernels
    assert (default.release, rt.preempt, rt.build_id[:6]) == ("6.1.0-50-amd64", "PREEMPT_RT", "77ac01")
    assert following.release == ""
    plain, quiet, rt_plain, *_, next_quiet = box.booted
    assert (plain.first, plain.added, plain.removed) == (True, (), ())
    assert (quiet.added, quiet.removed) == ((*fake_kernels.QUIET.split(), "panic=10"), ("splash",))
    assert (rt_plain.added, rt_plain.removed) == (("panic=10",), ())
    assert [each.boots for each in box.booted] == [2, 2, 2, 2, 0, 0]
    assert plain.took_s == (26.0, 27.0)
    (failure,) = next_quiet.failures
    assert (failure.reason, failure.sessions, failure.number, failure.given_up) == (fake_kernels.PANIC, (1, 2), 3, 2)
    assert not {"Kernel", "Command line", "Preemption"} & {label for label, _ in box.facts}


def test_without_events_the_folders_say_it(tmp_path):
    execution = fake_kernels.kernels(tmp_path, modes=("pinned",), repeat=1)
    (execution / "events.jsonl").unlink()
    booted = build_view(execution).targets[0].booted
    assert [each.boots for each in booted] == [2, 2, 2, 2, 0, 0]
    assert [sum(failure.given_up for failure in each.failures) for each in booted] == [0, 0, 0, 0, 2, 2]
    assert booted[0].took_s == ()


def test_the_page_opens_with_the_comparison(page):
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section" and "id" in attributes]
    assert ids == ["kernels", "target-1", "runs", "unsupported", "reading"]
    for sentence in (
        "next plain, next quiet: 6 boots failed, 4 sessions not measured : came back with the kernel",
        "Kernel panic - not syncing: VFS",
        "box: gap, gap_ns default 6.1.0-50-amd64 PREEMPT_DYNAMIC rt 6.1.0-50-rt-amd64 PREEMPT_RT next plain",
        "+ nohz_full=3 + rcu_nocbs=3 + panic=10 − splash",
        "next never seen running",
        "2 boots, each proved 26 to 27 s each",
        "6 boots failed",
    ):
        assert sentence in page.text, sentence
    assert page.text.index("×0.") < page.text.index("What this machine is")
    assert page.text.count(fake_kernels.KERNELS["rt"]["version"]) == 1
    assert "boot failed" in page.text
    assert not re.search(r"\b(regressed|improved|unchanged|undecided)\b", page.text)


def test_the_table_has_a_number_for_each_kernel_and_boot(page, view):
    """Every row of a number is as wide as there are columns that were measured."""
    text = page.text[page.text.index("shared load idle") :]
    number = r"\S+ ns {}\S+ ns – \S+ ns "
    assert re.match(
        rf"shared load idle p99\.99 {number.format('')}({number.format('×[0-9.]+ ')}){{3}}boot failed", text
    )


def test_small_plots_are_of_the_figures_there_are(page):
    data = {attributes["id"]: text for attributes, text in page.scripts if "id" in attributes}
    (group,) = json.loads(data["data-compare-1"])
    assert (group["load"], [boot["name"] for boot in group["boots"]]) == (
        "idle", ["default plain", "default quiet", "rt plain", "rt quiet"],
    )  # fmt: skip
    figures = [json.loads(data[f"data-{boot['figure']}"]) for boot in group["boots"]]
    assert [len(figure["lines"]) for figure in figures] == [2, 3, 2, 3]
    assert len({json.dumps(figure["scale"]) for figure in figures}) == 1  # common axes
    assert len({boot["slot"] for boot in group["boots"]}) == 4


def test_a_kernel_that_was_installed_is_known_by_its_artefact(page, view):
    assert [kernel.artefact_sha256 for kernel in view.targets[0].kernels] == ["", fake_kernels.ARTEFACT, ""]
    assert fake_kernels.ARTEFACT[:12] in page.text
    out = io.StringIO()
    print_view(view, Console(file=out, width=200))
    assert f"artefact {fake_kernels.ARTEFACT[:12]}" in out.getvalue()


def test_a_campaign_that_boots_nothing_has_none_of_it(tmp_path):
    text = render(fake.realistic(tmp_path, repeat=1))
    for word in ('id="kernels"', "multiples", ".compare", "boot-failed", "Kernels and boots"):
        assert word not in text


def test_the_terminal_compares_in_eighty_columns(view):
    out = io.StringIO()
    print_view(view, Console(file=out, width=80, force_terminal=True, color_system=None, highlight=False))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    row, *_ = re.findall(r"shared, load idle\n.*\n( +default quiet .*)", text)
    assert len(re.findall(r" 0\.\d+", row)) == 3
    assert text.count("next plain: boot failed") == 3  # once for each mode, also where a table becomes two
    assert re.search(r"pinned, load idle\n +default plain +250 +4\n +default quiet +1 +0\.00400 +4\n", text)
    assert text.index("kernel rt: 6.1.0-50-rt-amd64") < text.index("gap: gap_ns, median of runs, and x times that")
    assert "boot rt plain: +panic=10; 2 boots, each proved; 26 to 27 s each" in text


def test_machines_are_told_the_same(view):
    box = json.loads(json.dumps(document(view)))["targets"][0]
    assert [kernel["name"] for kernel in box["kernels"]] == ["default", "rt", "next"]
    assert {(each["kernel"], each["boot"]) for each in box["cells"]} == set(COLUMNS[:4])
    assert box["boots"][5]["failures"][0]["given_up"] == 2
    assert box["boots"][1]["removed"] == ["splash"]


def test_what_a_board_says_of_itself_stays_text(tmp_path):
    execution = fake_kernels.kernels(tmp_path, kernels=("default",), modes=("pinned",), repeat=1)
    for path in [*execution.rglob("run.json"), execution / "events.jsonl"]:
        path.write_text(path.read_text().replace("6.1.0-50-amd64", json.dumps(HOSTILE)[1:-1]).replace("splash", "a<b"))
    text = render(execution)
    assert HOSTILE not in text
    assert "a<b" not in text
    assert "a&lt;b" in text


PARAMETER = st.sampled_from(["ro", "quiet", "a=1", "a=2", 'b="x y"', "console=ttyS0", "console=tty0"])


@given(st.lists(PARAMETER), st.lists(PARAMETER))
def test_a_difference_leads_from_one_command_line_to_the_other(own, base):
    marks = ["BOOT_IMAGE=/x", "isolbench.boot=1/q", "initrd=y"]
    added, removed = difference(" ".join([*own, *marks]), " ".join(base))
    assert sorted([*base, *added]) == sorted([*own, *removed])
    assert not set(added) & set(removed)
    assert difference(" ".join(own), " ".join(own)) == ((), ())


def test_a_run_says_for_what_it_was_booted(execution):
    runs = [run.document for run in iter_runs(execution)]
    rows = {(run["kernel"], run["boot"], run["session"]): dict(asked(run).rows).get("booted") for run in runs}
    assert rows["rt", "quiet", 2] == "rt quiet, for session 2"
    assert rows["default", "plain", 1] is None


def test_a_boot_that_failed_and_then_did_not(tmp_path):
    execution = fake_kernels.kernels(tmp_path, kernels=("default", "rt"), modes=("pinned",), repeat=1)
    failed = {"kind": "boot-failed", "target": "box", "kernel": "rt", "boot": "quiet", "session": 2, "retried": True}
    switched = {"kind": "power-cycled", "target": "box", "message": "did not come back"}
    with (execution / "events.jsonl").open("a") as file:
        for event in ({**failed, "message": "no answer within 61 s"}, {**failed, "message": "no answer within 60 s"}):
            file.write(json.dumps(event) + "\n" + json.dumps(switched) + "\n")
    box = build_view(execution).targets[0]
    assert words.boot_failures(box) == [("rt quiet: 2 boots failed, then it booted", "e.g. no answer within 61 s")]
    assert (words.boots(box.booted[3]), box.power_cycles) == ("2 boots, each proved", 2)
    assert row_of_two(box)[3].why == ""


def row_of_two(target):
    (one,) = target.comparisons
    (row,) = one.rows
    return row.cells


def test_reasons_of_boots_are_told_from_others():
    assert boot_of("boot of rt quiet: did not come back: 5 min") == (("rt", "quiet"), "did not come back: 5 min")
    assert boot_of("the probe was killed") is None
