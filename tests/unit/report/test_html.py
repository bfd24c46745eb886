# SPDX-License-Identifier: Apache-2.0
"""The page: complete, the same each time, sealed off, and working in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from harness.errors import UserError
from harness.report.html import LIGHT_LINES, render, write_report

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
        "33 of 33 runs: 26 valid, 6 suspect, 1 invalid; 1 attempt failed; 13 over budget; 1 cell unsupported",
        "nuc, gap, load idle: the longest interval was",
        "box is a virtual machine (kvm): its figures include what the host took.",
        "SCHED_FIFO was refused (EPERM)",
        "the kernel's RT throttling stopped the task for 50 ms in every second",
        "To change it: set kernel.sched_rt_runtime_us to -1",
        "shared (all loads) : no valid run; the numbers are of suspect ones",
        "ms under shared (suspect runs only).",
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


def test_a_plot_in_two_sizes_for_each_target_bench_and_load(page):
    plots = [attrs["class"] for tag, attrs in page.tags if tag == "svg" and "data-area" in attrs]
    assert plots == ["plot wide", "plot narrow"] * 4
    curves = [attrs for tag, attrs in page.tags if tag == "g" and "curve" in (attrs["class"] or "")]
    assert len(curves) == 2 * (3 + 3 + 3 + 2)
    assert sum("dashed" in attrs["class"] for attrs in curves) == 2 * 2  # both loads of the suspect mode
    light = [attrs for tag, attrs in page.tags if attrs.get("class") == "light"]
    assert len(light) == 32  # each used run, in the wide plots only


def test_nothing_is_fetched_and_only_our_own_runs(page):
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = page.styles
    (script,) = [text for attrs, text in page.scripts if "type" not in attrs]
    for text in (style, script):
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
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags} | {"small", "b"}
    assert len(page.scripts) == len(clean.scripts)
    assert "alert(1)</script>" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", page.text)
    for character in ("\x1b", "\u2028", "\u202e"):
        assert character not in text
    data = [json.loads(script) for attrs, script in page.scripts if attrs.get("type") == "application/json"]
    assert data[0]["series"][0]["name"] == HOSTILE


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


def test_the_full_name_of_a_mode_stands_at_its_curve(tmp_path):
    for place, name in enumerate(("pinned-fifo50", "pinned-fifo60"), 1):
        fake.simple_run(tmp_path, mode={**fake.MODES["fifo"], "name": name}, cell=f"gap.{name}.idle-{place:012x}")
    text = render(tmp_path)
    for name in ("pinned-fifo50", "pinned-fifo60"):
        assert re.search(rf'<text class="name"[^>]*>{name}</text>', text)
    assert "…</text>" not in text


def test_what_cannot_be_read_is_named(tmp_path):
    for repeat in (1, 2):
        broken = fake.simple_run(tmp_path, repeat=repeat)
    (broken / "histograms.hlog").write_text("Tag=gap_ns.cpu3,0,1,2,HISTF\n")
    page = Page(render(tmp_path))
    assert "Result files that could not be read" in page.text
    assert "of 2 runs" in page.text


@pytest.mark.parametrize("state", ["invalid", "valid"])
def test_little_is_enough_for_a_page(tmp_path, state):
    """One run without a plan, a lane or facts; and one that gives no numbers at all."""
    reasons = [fake.THROTTLED] if state == "invalid" else []
    empty = fake.Counts(fake.GEOMETRY, np.zeros(fake.GEOMETRY.length, dtype=np.int64))
    fake.simple_run(tmp_path, histogram=empty, state=state, reasons=reasons)
    assert f"1 run: 1 {state}" in Page(render(tmp_path)).text


def test_single_runs_are_capped(tmp_path):
    for repeat in range(1, 61):
        fake.simple_run(tmp_path, repeat=repeat)
    page = Page(render(tmp_path))
    light = [attrs for tag, attrs in page.tags if attrs.get("class") == "light"]
    assert 0 < len(light) <= LIGHT_LINES
    assert f"{len(light)} of the single runs" in page.text


def test_what_is_no_execution_is_said(tmp_path):
    with pytest.raises(UserError):
        write_report(tmp_path, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PROBE = """
<script>
window.addEventListener("load", () => {
  const out = [];
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const plot = figure.querySelector(".plot.wide"), box = plot.getBoundingClientRect();
    plot.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + 50}));
    const tip = figure.querySelector(".tip");
    out.push(`${tip.hidden} ${tip.textContent}`);
    figure.querySelector(".legend button").click();
    out.push(figure.querySelectorAll(".curve.off").length);
  }
  out.push(document.documentElement.scrollWidth <= window.innerWidth);
  out.push(performance.getEntriesByType("resource").map((each) => each.name));
  document.title = JSON.stringify(out);
});
</script>
"""


def browse(path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser itself would look for updates
        f"--user-data-dir={path.parent / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000",
        *options, "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in")
@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_a_browser_opens_it_without_complaint(night, tmp_path, size):
    path = tmp_path / "report.html"
    write_report(night, path)
    done = browse(path, f"--window-size={size}")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "At a glance" in done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in")
def test_hovering_and_switching_work_and_nothing_is_fetched(night, tmp_path):
    """With a script of the test's own in the page; its policy must let that in, so it is replaced."""
    path = tmp_path / "report.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", render(night))
    path.write_text(text.replace("</body>", PROBE + "</body>"))
    done = browse(path, "--window-size=1280,900")
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr
    *found, fits, fetched = json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert len(found) == 2 * 4
    assert re.fullmatch(r"false 99\.9\d* %shared[\d.]+ [nµm]?spinned[\d.]+ [nµm]?sfifo[\d.]+ [nµm]?s", found[0])
    assert found[1::2] == [2, 2, 2, 2]  # the curve, in both sizes
    assert fits is True
    assert fetched == []  # even with nothing to forbid it


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page in")
def test_a_hostile_page_runs_nothing(tmp_path):
    hostile_execution(tmp_path / "hostile")
    path = tmp_path / "report.html"
    write_report(tmp_path / "hostile", path)
    done = browse(path)
    assert "CONSOLE" not in done.stderr, done.stderr
