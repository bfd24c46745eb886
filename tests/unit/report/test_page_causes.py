# SPDX-License-Identifier: Apache-2.0
"""What took the time, on the page in a real browser: by eye, by a screen reader, on a phone, and without scripts."""

from __future__ import annotations

import pytest

from harness.report.html import write_report

from . import fake_causes
from .browser import CHROMIUM
from .test_page import axe

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in (Debian: chromium)")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    found = {}
    for name, make in (("modes", fake_causes.realistic), ("kernels", fake_causes.kernels)):
        folder = make(tmp_path_factory.mktemp(name), 2)
        found[name] = folder / "report.html"
        write_report(folder, found[name])
    return found


@pytest.mark.skipif(axe() is None, reason="axe-core is not here (pip install axe-core-python)")
@pytest.mark.parametrize("name", ["modes", "kernels"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing_to_complain_of(browser, reports, name, width, dark):
    page = browser.open(reports[name], width=width, dark=dark)
    page.js("document.querySelector('details.cell').scrollIntoView()")
    rules = axe()
    assert rules is not None
    page.js(rules.read_text() + "\n;0")
    assert page.js(
        "axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations.map("
        "({id, impact, nodes}) => [id, impact, nodes.map((node) => node.html)]))"
    ) == []  # fmt: skip
    assert page.js("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert page.complaints == []
    assert page.requests == []


def test_a_timeline_is_as_wide_as_its_place_and_has_the_colours_of_the_legend(browser, reports):
    page = browser.open(reports["modes"])
    page.js("document.querySelector('.timeline').scrollIntoView()")
    _, _, width, height = page.box(".timeline .time")
    assert width > 900
    assert height == 132
    colour = "getComputedStyle(document.querySelector('{}')).{}"
    for name in ("interrupt", "exception", "syscall", "unexplained"):
        legend = page.js(colour.format(f".legend .k-{name}", "backgroundColor"))
        assert legend == page.js(colour.format(f".time .k-{name}", "stroke")) == page.js(
            colour.format(f".bars .k-{name}", "stroke")
        )  # fmt: skip


def test_a_timeline_leads_to_its_run(browser, reports):
    page = browser.open(reports["modes"])
    page.js("document.querySelector('.caption a[href^=\"#run=\"]').click()")
    page.until("document.querySelector('dialog').open")
    assert page.js("document.querySelector('#run-title').textContent").startswith("gap.shared.idle")
    assert "taken" in page.js("document.querySelector('dialog').innerText")


def test_without_scripts_all_of_it_is_there(browser, reports):
    page = browser.open(reports["modes"], scripts=False)
    document = page.call("DOM.getDocument")["root"]["nodeId"]

    def number(selector: str) -> int:
        return len(page.call("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"])

    assert number("details.cell[open]") == 3
    assert number(".timeline .time path[class]") >= 4
    assert number(".caused .bars path") == 8 + 3
    assert number(".remedies li") >= 2
