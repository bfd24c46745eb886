# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what a mouse, a finger, the keys and a screen reader get, and that nothing is fetched."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from harness.report.html import render, write_report

from . import fake_execution as fake
from .browser import CHROMIUM, Page
from .test_html import HOSTILE, hostile_execution

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in (Debian: chromium)")

PLOT = 'figure[data-plot="f1"] .plot[data-kind="{}"]'
PERCENTILES, DENSITY, EVENTS = (PLOT.format(kind) for kind in ("percentiles", "density", "events"))


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return fake.realistic(tmp_path_factory.mktemp("night"), repeat=5)


@pytest.fixture(scope="module")
def report(night):
    path = night / "report.html"
    write_report(night, path)
    return path


def drawn(page: Page, selector: str) -> None:
    """Scroll there, and wait for the plot, which is made when it comes near."""
    page.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
    page.until(f"Boolean(document.querySelector({json.dumps(selector)}).plot)")


def tip(page: Page, selector: str) -> str:
    found: str = page.js(
        f"(document.querySelector({json.dumps(selector + ' .tip:not([hidden])')}) || {{}}).innerText || ''"
    )
    return " ".join(found.split())


def table(page: Page) -> list[list[str]]:
    """The rows of the table of runs, its text by cell."""
    page.js("document.querySelector('#runs').scrollIntoView()")
    page.until(
        "document.querySelectorAll('#runs tbody tr').length > 0 || document.querySelector('#runs-said').textContent"
    )
    found: list[list[str]] = page.js(
        "[...document.querySelectorAll('#runs tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return found


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_without_complaint_and_fetches_nothing(browser, report, width, dark):
    page = browser.open(report, width=width, dark=dark)
    for figure in ("f1", "f2", "f3", "f4"):
        drawn(page, PERCENTILES.replace("f1", figure))
    table(page)
    assert page.js("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert page.complaints == []
    assert page.requests == []


def test_a_mouse_reads_the_values_of_the_table(browser, report):
    page = browser.open(report)
    drawn(page, PERCENTILES)
    x, y, _, height = page.box(f"{PERCENTILES} .u-over")
    at = page.js(f"document.querySelector({json.dumps(PERCENTILES)}).plot.valToPos(4, 'x')")
    page.point(x + at, y + height / 2)
    said = tip(page, PERCENTILES)
    assert said.startswith("99.99 % shared ")
    cell = page.js("document.querySelector('#target-1 tbody tr').cells[4].innerText").split("\n")  # p99.99
    assert f"shared {cell[0]} ({cell[1]})" in said


def test_the_arrow_keys_move_the_cursor_and_it_is_said(browser, report):
    page = browser.open(report)
    drawn(page, PERCENTILES)
    page.js(f"document.querySelector({json.dumps(PERCENTILES)}).focus()")
    page.key("Home")
    page.key("ArrowRight")
    first = page.js("document.querySelector('#said').textContent")
    assert re.match(r"21 %: shared \d+ ns( \([^)]+\))?, pinned \d+ ns( \([^)]+\))?, fifo \d+ ns", first)
    assert tip(page, PERCENTILES).startswith("21 % shared")
    page.key("End")
    assert re.search(
        r"shared [\d.]+ ms \([\d.]+ \S+ – 2\.\d+ ms\)", page.js("document.querySelector('#said').textContent")
    )
    page.key("Escape")
    assert tip(page, PERCENTILES) == ""


def test_a_finger_moves_the_cursor(browser, report):
    page = browser.open(report, width=390, height=844)
    drawn(page, PERCENTILES)
    x, y, width, height = page.box(f"{PERCENTILES} .u-over")
    page.touch(x + width * 0.5, y + height / 2)
    assert re.match(r"99\.9\d+ % shared", tip(page, PERCENTILES))


def test_the_legend_switches_a_mode_off_in_all_plots(browser, report):
    page = browser.open(report)
    for plot in (PERCENTILES, DENSITY, EVENTS):
        drawn(page, plot)
    shown = "[...document.querySelectorAll('figure[data-plot=f1] .plot')].map((host) => host.plot.series[1].show)"
    assert page.js(shown) == [True] * 3
    page.js("document.querySelector('figure[data-plot=f1] .legend button').click()")
    assert page.js(shown) == [False] * 3
    x, y, width, height = page.box(f"{PERCENTILES} .u-over")
    page.point(x + width / 2, y + height / 2)
    assert "shared" not in tip(page, PERCENTILES)
    assert "pinned" in tip(page, PERCENTILES)


def test_an_event_leads_to_its_run(browser, report):
    page = browser.open(report)
    drawn(page, EVENTS)
    page.js(f"document.querySelector({json.dumps(EVENTS)}).focus()")
    page.key("Home")
    said = page.js("document.querySelector('#said').textContent")
    assert re.match(r"interval of [\d.]+ .s, (shared|pinned|fifo) run \d, after [\d.]+ .s", said)
    page.key("Enter")
    assert page.js("document.querySelector('dialog').open")
    mode, run = re.search(r", (\w+) run (\d)", said).groups()
    title = page.js("document.querySelector('#run-title').textContent")
    assert re.fullmatch(rf"gap\.{mode}\.idle-[0-9a-f]+-r{run}", title)


def test_a_click_at_an_event_opens_its_run(browser, report):
    page = browser.open(report)
    drawn(page, EVENTS)
    x, y, _, _ = page.box(f"{EVENTS} .u-over")
    left, top = page.js(
        f"(() => {{ const u = document.querySelector({json.dumps(EVENTS)}).plot, place = u.data[1].findIndex(Boolean);"
        " return [u.valToPos(u.data[0][place], 'x'), u.valToPos(u.data[1][place], 'y')]; })()"
    )
    page.point(x + left, y + top, click=True)
    page.until("document.querySelector('dialog').open")
    assert page.js("document.querySelector('#run-title').textContent").startswith("gap.shared.idle-")


def test_from_one_run_to_the_next_in_the_order_of_the_table(browser, report):
    page = browser.open(report)
    table(page)
    page.js("document.querySelector('#runs-words').focus()")
    page.type("box pinned spin")
    names = page.js("[...document.querySelectorAll('#runs tbody a')].map((link) => decodeURIComponent(link.hash))")
    page.js("document.querySelectorAll('#runs tbody tr')[1].click()")
    seen = []
    for button in ("#run-before", "#run-after", "#run-after"):
        page.js(f"document.querySelector('{button}').click()")
        seen.append(page.js("decodeURIComponent(location.hash)"))
    assert seen == names[:3]
    assert len(names) == 5


def test_the_table_sorts_by_every_column(browser, report):
    page = browser.open(report)
    rows = table(page)
    assert len(rows) == 50  # of 55 and an attempt
    names = page.js("[...document.querySelectorAll('#runs thead button')].map((button) => button.textContent)")
    assert names == [
        "target",
        "bench",
        "mode",
        "load",
        "run",
        "state",
        "p50",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "events/s",
        "started",
    ]
    place = names.index("max")
    for way, wanted in (("ascending", "116 ns"), ("descending", "50.3 ms")):
        page.js(f"document.querySelectorAll('#runs thead button')[{place}].focus()")
        page.key("Enter")
        assert page.js(f"document.querySelectorAll('#runs thead th')[{place}].getAttribute('aria-sort')") == way
        sizes = [row[place] for row in table(page)]
        assert sizes == sorted(sizes, key=in_ns, reverse=way == "descending")
        assert (sizes[0], len(sizes)) == (wanted, 50) or sizes[0] != "–"
    page.js("document.querySelector('#runs thead button').click()")
    assert [row[0] for row in table(page)] == sorted(row[0] for row in table(page))


def in_ns(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]


def test_the_table_filters_by_words_and_states(browser, report):
    page = browser.open(report)
    table(page)
    page.js("document.querySelector('#runs-words').focus()")
    page.type("BOX shared")
    assert {(row[0], row[2]) for row in table(page)} == {("box", "shared")}
    assert page.js("document.querySelector('#runs-said').textContent") == "1–10 of 10 chosen, of 56"
    page.js("document.querySelector('#runs-words').value = ''")
    page.type(" ")
    for state in ("valid", "suspect"):
        page.js(f"document.querySelector('.chips [data-state={state}]').click()")
    assert sorted(row[5].split()[0] for row in table(page)) == ["failed", "invalid"]
    page.type("rt-throttling")
    assert [row[5].split() for row in table(page)] == [["invalid", "rt-throttling"]]


def test_the_table_has_pages(browser, report):
    page = browser.open(report)
    table(page)
    page.js("document.querySelector('#runs-after').click()")
    assert page.js("document.querySelector('#runs-said').textContent") == "51–56 of 56 runs and attempts"
    assert len(table(page)) == 6
    assert page.js("document.querySelector('#runs-after').disabled")


def test_a_run_is_told_at_length_and_the_keys_lead_back(browser, report):
    page = browser.open(report)
    table(page)
    page.js("document.querySelector('#runs-words').focus()")
    page.type("invalid")
    page.js("document.querySelector('#runs tbody a').focus()")
    page.key("Enter")
    page.until("document.querySelector('dialog').open")
    told = page.js("document.querySelector('dialog').innerText")
    for text in (
        "the kernel's RT throttling stopped the task for 50 ms in every second",
        "To change it: set kernel.sched_rt_runtime_us to -1",
        "fifo, where pinned, sched fifo:1",
        "affinity 3, policy fifo",
        "asked 0-2 · before not known · effective 0-2",
        fake.FACTS["kernel"]["cmdline"],
        "gap: armed on CPU 3",
        "isolbench show nightly/20261120T010000Z gap.fifo.spin-",
    ):
        assert text in told, text
    assert page.js("document.querySelectorAll('dialog canvas').length") == 2
    page.key("Escape")
    page.until("!document.querySelector('dialog').open")
    assert page.js("document.activeElement.closest('#runs tbody') !== null")
    assert page.complaints == []


def test_an_attempt_that_failed_is_there_with_its_log(browser, report):
    page = browser.open(report)
    table(page)
    page.js("document.querySelector('#runs-words').focus()")
    page.type("failed")
    page.js("document.querySelector('#runs tbody tr').click()")
    told = page.js("document.querySelector('dialog').innerText")
    assert "the probe was killed: no progress for 16 s" in told
    assert "attempts/nuc/gap.shared.spin" in told or "attempts/nuc/" in told
    assert "the last words" in told


def test_a_link_opens_a_run(browser, report):
    page = browser.open(report)
    link = page.js("(document.querySelector('#runs').scrollIntoView(), 1)") and table(page)
    assert link
    href = page.js("document.querySelector('#runs tbody a').getAttribute('href')")
    page.js(f"location.hash = {json.dumps(href)}")
    page.until("document.querySelector('dialog').open")
    assert page.js("location.hash") == href


def test_side_by_side_by_target_and_by_mode(browser, report):
    page = browser.open(report)
    page.js("document.querySelector('#beside').scrollIntoView()")
    titles = "[...document.querySelectorAll('.panel h3')].map((title) => title.textContent)"
    assert page.until(f"document.querySelectorAll('.panel canvas').length === 2 && {titles}") == ["nuc", "box"]
    ranges = page.js(
        "[...document.querySelectorAll('.panel .plot')].map((host) => [host.plot.scales.y.min, host.plot.scales.y.max])"
    )
    assert ranges[0] == ranges[1]
    x, y, width, height = page.box(".panel .u-over")
    page.point(x + width / 2, y + height / 2)
    cursors = "[...document.querySelectorAll('.panel .plot')].map((host) => host.plot.cursor.idx)"
    assert page.until(f"{cursors}[0]") == page.js(cursors)[1]  # one cursor for all of them
    page.js("document.querySelector('#beside input[value=mode]').click()")
    assert page.until(f"document.querySelectorAll('.panel canvas').length === 3 && {titles}") == [
        "shared",
        "pinned",
        "fifo",
    ]


def test_light_and_dark_follow_the_screen_and_paper_is_light(browser, report):
    page = browser.open(report)
    drawn(page, PERCENTILES)
    picture = f"document.querySelector({json.dumps(PERCENTILES)} + ' canvas').toDataURL()"
    light = page.js(picture)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.until(f"{picture} !== {json.dumps(light)}")
    page.js("dispatchEvent(new Event('beforeprint'))")
    page.until(f"{picture} === {json.dumps(light)}")
    assert page.js("[...document.querySelectorAll('figure .plot, .panel .plot')].every((host) => host.plot)")
    page.js("dispatchEvent(new Event('afterprint'))")
    page.until(f"{picture} !== {json.dumps(light)}")
    assert page.call("Page.printToPDF")["data"]


def test_without_scripts_it_says_so_and_shows_the_tables(browser, report):
    page = browser.open(report, scripts=False)
    dom = page.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
    html = page.call("DOM.getOuterHTML", nodeId=dom)["outerHTML"]
    assert "need scripts, which are off here" in html
    (place,) = page.call("DOM.querySelectorAll", nodeId=dom, selector="#target-1 .scroll table")["nodeIds"][:1]
    assert page.call("DOM.getBoxModel", nodeId=place)["model"]["height"] > 100
    for unseen in ("#beside", "#runs .tool", "figure"):
        node = page.call("DOM.querySelector", nodeId=dom, selector=unseen)["nodeId"]
        try:
            height = page.call("DOM.getBoxModel", nodeId=node)["model"]["height"]
        except AssertionError:  # it has no box at all
            height = 0
        assert height == 0, unseen


def test_a_hostile_page_runs_nothing_and_changes_nothing(browser, tmp_path):
    hostile_execution(tmp_path / "hostile")
    path = tmp_path / "report.html"
    write_report(tmp_path / "hostile", path)
    page = browser.open(path)
    table(page)
    before = page.js("document.querySelectorAll('script').length")
    page.js("document.querySelector('#runs tbody tr').click()")
    assert "<img src=x onerror=alert(1)>" in page.js("document.querySelector('dialog').innerText")
    assert page.js("document.querySelectorAll('script').length") == before
    assert page.js("document.querySelectorAll('img').length") == 0
    assert "\x1b" not in page.js("document.body.innerText")
    assert page.complaints == []
    assert HOSTILE.isprintable() is False


def test_long_names_do_not_make_the_page_wide(browser, tmp_path):
    params = {"threshold": "1000ns", "some-parameter-of-a-long-name": "x" * 60}
    for target in ("nuc", "t" * 63):
        name = f"pinned-{'m' * 55}"
        cell = f"gap.{name}.idle-000000000001"
        fake.simple_run(tmp_path, target, params=params, mode={**fake.MODES["fifo"], "name": name}, cell=cell)
    path = tmp_path / "report.html"
    write_report(tmp_path, path)
    page = browser.open(path, width=390)
    drawn(page, PERCENTILES)
    page.js("document.querySelector('#beside').scrollIntoView()")
    page.until("document.querySelectorAll('.panel canvas').length > 0")
    table(page)
    assert page.js("document.documentElement.scrollWidth") == 390
    page.js("document.querySelector('#runs tbody tr').click()")
    assert page.js("document.querySelector('dialog').scrollWidth") <= 390


def test_a_running_execution_with_nothing_yet_opens(browser, tmp_path):
    fake.plan(tmp_path, ["nuc"], [fake.plan_cell("gap.shared.idle-000000000001", "nuc", "shared", "idle")], 3)
    path = tmp_path / "report.html"
    path.write_text(render(tmp_path))
    page = browser.open(path)
    assert page.complaints == []
    assert "0 of 3 runs" in page.js("document.body.innerText")


def axe() -> Path | None:
    """The rules of axe-core, as the package axe-core-python brings them along."""
    spec = importlib.util.find_spec("axe_core_python")
    return Path(spec.submodule_search_locations[0]) / "axe.min.js" if spec and spec.submodule_search_locations else None


@pytest.mark.skipif(axe() is None, reason="axe-core is not here (pip install axe-core-python)")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing_to_complain_of(browser, report, width, dark):
    page = browser.open(report, width=width, dark=dark)
    drawn(page, PERCENTILES)
    table(page)
    rules = axe()
    assert rules is not None
    page.js(rules.read_text() + "\n;0")
    for opened in (False, True):
        if opened:
            page.js("document.querySelector('#runs tbody a').click()")
            page.until("document.querySelector('dialog').open")
        found = page.js(
            "axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations.map("
            "({id, impact, nodes}) => [id, impact, nodes.map((node) => node.html)]))"
        )
        assert found == []
