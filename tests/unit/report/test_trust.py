# SPDX-License-Identifier: Apache-2.0
"""How far causes are to be trusted, what is advised against them, and what a page leaves out of them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.report import cause_view, rundata
from harness.report.causes import notes
from harness.report.detail import show
from harness.report.html import render
from harness.report.model import build_view
from harness.report.remedies import counted
from harness.report.view import Advised
from harness.stats.causes import OTHER, total

from ..stats.test_causes import cause, told
from . import fake_causes
from . import fake_execution as fake
from .fake_causes import TICK, TIMER, Cause
from .test_html import Page

NOT_ISOLATED = {**fake.FACTS["kernel"], "cmdline": "quiet", "version": "#1 of another kernel"}
WORK: Cause = ("interrupt", TIMER, "work:vmstat_update", 20, 9_000.0)


def test_whose_events_were_opened_meanwhile_is_said() -> None:
    def of(opened: int) -> list[str]:
        instruments = {"events": 1, "opened_by_others": opened}
        found = total([told(cause("task:cat", 1), instruments=instruments)], [1.0])
        return [note.text for note in notes(found, late=False) if note.about == "others"]

    assert of(3) == ["Others opened 3 perf events on the machine meanwhile."]
    assert of(0) == []


def test_of_many_who_were_behind_it_a_few_are_named() -> None:
    found = [("python", 1_200), ("sshd", 3), ("CPU 0", 2), ("a", 1), ("b", 1)]
    assert counted(found) == "python (1,200), sshd (3), CPU 0 (2) and 2 others"
    assert counted(found[:3]) == "python (1,200), sshd (3), CPU 0 (2)"


def advised(execution: Path, causes: Sequence[Cause], facts: Any = fake.FACTS, newest: Any = fake.FACTS) -> Any:
    """By cause; ``facts`` are of the runs, ``newest`` of the last contact."""
    cell = "gap.pinned.idle-000000000001"
    fake_causes.attributed(execution, causes=causes, cell=cell, facts=facts)
    fake.lane(execution, "nuc", newest, [])
    fake.plan(execution, ["nuc"], [fake.plan_cell(cell, "nuc", "pinned", "idle", attribution="perf")], 1)
    [target] = build_view(execution).targets
    found: tuple[Advised, ...] = target.sections[0].advised
    return {name: each.remedies for each in found for name in each.names}


def test_what_took_next_to_nothing_asks_for_nothing(tmp_path: Path) -> None:
    little: Cause = ("interrupt", TIMER, "work:wb_workfn", 1, 1_000.0)
    assert set(advised(tmp_path, [("interrupt", TIMER, TICK, 100, 9_000.0), little])) == {"timer tick"}


def test_nothing_helps_against_what_was_not_told_apart(tmp_path: Path) -> None:
    assert set(advised(tmp_path, [WORK, ("interrupt", TIMER, OTHER, 99, 9_000.0)])) == {"kernel work vmstat_update"}


def test_what_is_not_in_effect_comes_first(tmp_path: Path) -> None:
    knobs = {"stat-interval": {"available": True, "value": "120", "needed": True}}
    [first, *rest] = advised(tmp_path, [WORK], {**fake.FACTS, "knobs": knobs}, {**fake.FACTS, "knobs": knobs}).values()
    order = [each.in_effect for each in first]
    assert rest == []
    assert None in order or False in order
    assert order == sorted(order, key=[False, None, True].index)


@pytest.mark.parametrize("own", [fake.FACTS, {**fake.FACTS, "kernel": NOT_ISOLATED}])
def test_advice_is_held_against_the_kernel_that_was_measured(tmp_path: Path, own: Any) -> None:
    """And not against the one that the last contact found."""
    [other] = [each for each in (fake.FACTS, {**fake.FACTS, "kernel": NOT_ISOLATED}) if each != own]
    [remedies] = advised(tmp_path, [("interrupt", TIMER, TICK, 100, 9_000.0)], own, other).values()
    lacking = [each for each in remedies if each.text.startswith("boot with nohz_full=3") and each.in_effect is False]
    assert bool(lacking) == (own is not fake.FACTS)


def test_of_very_many_cells_each_shows_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        options = {"cell": f"gap.pinned.idle-{number:012x}", "target": f"rpi5-{number:02}", "seed": number}
        fake_causes.attributed(tmp_path, **options)

    def drawn() -> tuple[int, bool, list[int]]:
        text = render(tmp_path)
        page = Page(text)
        opened = [attrs for tag, attrs in page.tags if tag == "details" and attrs.get("class") == "cell"]
        lists = re.findall(r'<ul class="reasons remedies">(.*?)</ul>', text, re.DOTALL)
        return (
            sum("open" in attrs for attrs in opened),
            "sent by munmapper" in page.text,
            [each.count("<li>") for each in lists],
        )

    opened, sent, advice = drawn()
    assert (opened, sent, len(advice)) == (3, True, 3)
    assert min(advice) > 2
    monkeypatch.setattr(cause_view, "OPEN", 2)
    monkeypatch.setattr(cause_view, "ADVISED", 6)
    assert drawn() == (0, False, [2, 2, 2])


def test_very_many_cells_are_not_compared_each_with_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = fake_causes.realistic(tmp_path, 1)
    assert "Causes beside each other" in Page(render(night)).text
    monkeypatch.setattr(cause_view, "COMPARISONS", 2)
    assert "Causes beside each other" not in Page(render(night)).text


def test_a_control_has_no_causes(tmp_path: Path) -> None:
    fake.with_control(fake_causes.attributed(tmp_path), cpu=0)
    [target] = build_view(tmp_path).targets
    assert all(mode.causes is not None for section in target.sections for mode in section.modes)
    assert target.controls
    assert all(mode.causes is None for section in target.controls for mode in section.modes)


def test_gaps_without_end_are_not_all_read_for_who_sent_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = tmp_path / "nightly" / fake.EXECUTION
    fake_causes.attributed(execution, causes=[("interrupt", TIMER, TICK, 500, 9_000.0)])
    monkeypatch.setattr(rundata, "TRAILED", 7)
    assert "needed for POSIX_TIMER (7)" in Page(render(execution)).text


def test_numbers_that_nothing_can_hold_cost_no_page(tmp_path: Path) -> None:
    """JSON has whole numbers of any length, and a target may send them."""
    folder = fake_causes.attributed(tmp_path / "nightly" / fake.EXECUTION, causes=fake_causes.NOISY[:2])
    document = json.loads((folder / "run.json").read_text())
    [result] = document["results"]
    for key in ("attribution", "clock", "loop", "gaps"):
        result[key] = huge(result[key])
    for number in (result, huge(result)):
        (folder / "run.json").write_text(json.dumps({**document, "results": [number]}))
        assert "At a glance" in Page(render(folder.parents[2])).text
        show(folder, Console(file=io.StringIO()))


def huge(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: huge(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [huge(inner) for inner in value]
    return 10**400 if type(value) in (int, float) else value
