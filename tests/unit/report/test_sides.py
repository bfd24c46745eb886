# SPDX-License-Identifier: Apache-2.0
"""Two executions beside each other: what both measured is compared, the rest is named, and nothing is in silence."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from harness.report.beside import document, print_sides
from harness.report.model import build_view
from harness.report.sides import sides_of

from . import fake_causes
from . import fake_execution as fake


@pytest.fixture
def days(tmp_path):
    return tmp_path / "nightly" / "20261119T010000Z", tmp_path / "nightly" / "20261120T010000Z"


def compared(days):
    return sides_of(*map(build_view, days))


def printed(days, width: int = 100, terminal: bool = False) -> str:
    stream = io.StringIO()
    print_sides(compared(days), Console(file=stream, width=width, force_terminal=terminal, color_system=None))
    return " ".join(stream.getvalue().split()) if not terminal else stream.getvalue()


def document_of(days):
    return document(compared(days))["targets"][0]["not_compared"]


def at(value_ns: int) -> fake.Counts:
    values = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    values[fake.GEOMETRY.index(value_ns)] = 10**6
    return fake.Counts(fake.GEOMETRY, values)


def test_a_cell_of_both_has_its_numbers_its_ratio_and_what_changed(days):
    newer = {**fake.FACTS, "kernel": {**fake.FACTS["kernel"], "release": "6.19.0\x1b[31m"}}
    for day, value, facts in zip(days, (1_000, 3_000), (fake.FACTS, newer), strict=True):
        fake.simple_run(day, histogram=at(value), facts=facts)
    text = printed(days)
    assert text.startswith("first: nightly 20261119T010000Z second: nightly 20261120T010000Z ")
    assert "Kernel: 6.18.5-rt2 · #1 SMP PREEMPT_RT Fri Nov 14 09:21:05 UTC 2026 | 6.19.0\\x1b[31m" in text
    assert "second 3.01 µs 3.00" in text
    assert "not compared" not in text
    [target] = document(compared(days))["targets"]
    assert target["cells"][0]["ratios"]["p99.99"] == pytest.approx(3, rel=0.01)
    assert [side["basis"] for side in target["cells"][0]["sides"]] == ["valid", "valid"]


def test_what_took_the_time_stands_beside_each_other(days):
    for day, causes in zip(days, (fake_causes.NOISY, fake_causes.QUIET), strict=True):
        fake_causes.attributed(day, causes=causes)
    text = printed(days)
    own = text[text.index("stolen a second by cause") :]
    assert own.index("hrtimer:tick_nohz_handler") < own.index("task:rcu_preempt")
    assert "gone" in own
    lines = printed(days, 80, terminal=True).splitlines()
    assert all(len(line) <= 80 for line in lines)
    [row] = [line for line in lines if "hrtimer:tick_nohz_handler" in line]
    assert row.split()[-1].startswith("0.")  # one table of both sides


def test_with_attribution_and_without_is_not_the_same_and_said_in_one_line(days):
    fake_causes.attributed(days[0], cell="gap.pinned.idle-00000000000a")
    fake.simple_run(days[1], cell="gap.pinned.idle-00000000000b", mode=fake.MODES["pinned"])
    text = printed(days)
    assert "nothing was measured in both" in text
    assert text.count("gap attribution=perf | gap: attribution's instruments disturb") == 1


def test_other_levels_of_attribution_are_said(days):
    for day, level in zip(days, ("tracepoints", "nothing"), strict=True):
        fake_causes.attributed(day, level=level)
    text = printed(days)
    said = "first: attribution by tracepoints; second: attribution by nothing."
    assert f"Not measured by the same instruments, which disturb: their numbers do not compare. {said}" in text
    assert document(compared(days))["targets"][0]["cells"][0]["differ"].endswith(said)


def test_of_late_wake_ups_it_is_lateness(tmp_path):
    days = tmp_path / "a", tmp_path / "b"
    for day in days:
        fake_causes.late(day, {"pinned": "cpu"})
    text = printed(tuple(day / "nightly" / fake.EXECUTION for day in days))
    assert "pinned, load idle: lateness a second by cause" in text
    assert "stolen a second" not in text


def test_the_same_for_another_time_is_not_the_same_and_said_in_one_line(days):
    for day, seconds in zip(days, (60, 20), strict=True):
        cell = f"gap.pinned.idle-{seconds:012x}"
        fake.simple_run(day, cell=cell, mode=fake.MODES["pinned"], duration_ns=seconds * 10**9)
    text = printed(days)
    assert text.count("pinned, load idle: gap, not the same: duration 60 s | 20 s") == 1
    assert "only in" not in text
    assert [each["differ"] for each in document_of(days)] == ["duration 60 s | 20 s"] * 2


def test_a_threshold_that_a_probe_found_is_nothing_that_was_asked(days):
    for day, seconds in zip(days, (60, 20), strict=True):
        folder = fake.simple_run(day, cell=f"gap.shared.idle-{seconds:012x}", duration_ns=seconds * 10**9)
        document = json.loads((folder / "run.json").read_text())
        [result] = document["results"]
        result["slow"] = {**result.pop("gaps"), "threshold_ns": 161_000 + seconds}
        (folder / "run.json").write_text(json.dumps(document))
    (_, each) = document_of(days)
    assert each["differ"] == "duration 60 s | 20 s"


def test_what_only_one_has_is_named(days):
    fake.simple_run(days[0], cell="gap.fifo.idle-00000000000c", mode=fake.MODES["fifo"])
    fake.simple_run(days[0])
    fake.simple_run(days[1])
    fake.simple_run(days[1], "box")
    text = printed(days)
    assert "fifo, load idle: gap only in the first" in text
    assert "shared, load idle first" in text
    assert "box: only in the second" in text
    found = document(compared(days))
    assert found["only"] == [{"target": "box", "side": 1}]
    json.dumps(found, allow_nan=False)


def test_where_it_measured_is_no_change_of_the_machine(days):
    for day, cpu in zip(days, (3, 2), strict=True):
        fake.simple_run(day, cpu=cpu)
    assert "Measured on" not in printed(days)


def test_latencies_of_virtual_machines_are_not_to_be_compared(days):
    for day in days:
        fake.simple_run(day, facts={**fake.FACTS, "virtual": "kvm"})
    assert "compare by counts, not by latencies" in printed(days)
    for day in days:
        fake.simple_run(day, "box")
    assert printed(days).count("compare by counts, not by latencies") == 1
