# SPDX-License-Identifier: Apache-2.0
"""The page of a campaign that boots, in a real browser: the comparison, its small plots, and without scripts."""

from __future__ import annotations

import pytest

from harness.report.html import write_report

from . import fake_kernels
from .browser import CHROMIUM
from .test_page import axe

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in (Debian: chromium)")

PLOTS = "[...document.querySelectorAll('.multiples .plot')]"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = fake_kernels.kernels(tmp_path_factory.mktemp("kernels"), repeat=1)
    write_report(folder, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_small_plots_of_modes_and_of_what_was_booted(browser, report, width, dark):
    page = browser.open(report, width=width, dark=dark)
    found = page.js("[...document.querySelectorAll('.multiples h5')].map((each) => each.textContent)")
    modes, booted = ["shared", "pinned", "nohz-full"], ["default plain", "default quiet", "rt plain", "rt quiet"]
    assert found == [f"{each}, load idle" for each in modes + booted]
    for place in range(len(found)):
        page.js(f"{PLOTS}[{place}].scrollIntoView({{block: 'center'}})")
        page.until(f"Boolean({PLOTS}[{place}].plot)")
    lines = page.js(f"{PLOTS}.map((host) => (host.plot.series.length - 1) / 3)")
    assert lines == [4, 4, 2, 2, 3, 2, 3]
    for of in ("x", "y"):  # common axes
        ranges = page.js(
            f"{PLOTS}.map((host) => JSON.stringify([host.plot.scales.{of}.min, host.plot.scales.{of}.max]))"
        )
        assert len(set(ranges)) == 1
    assert page.js("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    assert page.complaints == []
    assert page.requests == []


@pytest.mark.skipif(axe() is None, reason="axe-core is not here (pip install axe-core-python)")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing_to_complain_of(browser, report, width, dark):
    page = browser.open(report, width=width, dark=dark)
    page.js(f"{PLOTS}[0].scrollIntoView({{block: 'center'}})")
    page.until(f"Boolean({PLOTS}[0].plot)")
    rules = axe()
    assert rules is not None
    page.js(rules.read_text() + "\n;0")
    assert page.js(
        "axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations.map("
        "({id, impact, nodes}) => [id, impact, nodes.map((node) => node.html)]))"
    ) == []  # fmt: skip


def test_a_cursor_reads_the_values_of_every_kernel(browser, report):
    page = browser.open(report)
    page.js(f"{PLOTS}[1].scrollIntoView({{block: 'center'}})")
    page.until(f"Boolean({PLOTS}[1].plot)")
    page.js(f"{PLOTS}[1].focus()")
    page.key("End")
    said = page.js("document.querySelector('#said').textContent")
    for name in ("default plain", "default quiet", "rt plain", "rt quiet"):
        assert f"{name} " in said


def test_without_scripts_the_comparison_is_whole(browser, report):
    page = browser.open(report, scripts=False)
    document = page.call("DOM.getDocument")["root"]["nodeId"]

    def number(selector: str) -> int:
        return len(page.call("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"])

    assert number(".compare thead th[scope=colgroup]") == 3
    assert number(".compare thead th[scope=col]") == 6
    assert number(".compare tbody") == 3
    assert number(".multiples:not([hidden])") == 0
