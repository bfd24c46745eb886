# SPDX-License-Identifier: Apache-2.0
"""The summary: what a pipe gets, what it must say, and that nobody's text can act."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from harness.report.model import build_view
from harness.report.terminal import show, sparkline, summary, totals
from harness.store.runs import run_dirs

from . import fake_execution as fake


def printed(what, path, width=80, terminal=False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None)
    what(path, console)
    return stream.getvalue()


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return fake.realistic(tmp_path_factory.mktemp("night"), repeat=2)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_pipe_gets_plain_lines_of_80_columns(night):
    text = printed(summary, night)
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert text == printed(summary, night)


def test_a_terminal_gets_colour(night):
    assert "\x1b[32m2 valid" in printed(summary, night, terminal=True).replace("\x1b[0m", "")


def test_it_says_what_there_is(night):
    text = flat(printed(summary, night))
    assert "22 of 22 runs: 17 valid, 4 suspect, 1 invalid; 1 attempt failed; 1 cell unsupported" in text
    assert "nuc: 6.18.5-rt2" in text
    assert "box: 6.12.48+deb13-amd64" in text
    assert "virtual machine (kvm)" in text
    assert "gap.fifo.spin: SCHED_FIFO was refused (EPERM)" in text
    assert "fifo, 1 run invalid: the kernel's RT throttling" in text
    assert "advice: set kernel.sched_rt_runtime_us to -1" in text
    assert "shared: no valid run: the numbers are of suspect ones" in text
    assert "attempt 1 (environment): the probe was killed" in text
    assert "fifo: no gap over 1 us in 20 s: below 0.150 /s with 95 % confidence" in text
    assert "p99.99 over runs: shared" in text


def test_rows_have_the_quantiles_with_units(night):
    row = next(line for line in printed(summary, night).splitlines() if line.startswith("  fifo"))
    assert row.split()[:9] == ["fifo", "38", "ns", "40", "ns", "41", "ns", *row.split()[7:9]]
    assert row.rstrip().endswith("<0.150     0 ppm 2 valid")


def test_too_few_samples_are_said(tmp_path):
    counts = np.zeros(fake.GEOMETRY.length, dtype=np.int64)
    counts[40] = 5000
    fake.simple_run(tmp_path, histogram=fake.Counts(fake.GEOMETRY, counts))
    text = flat(printed(summary, tmp_path))
    assert "n too small" in text
    assert "p99.99 29,956" in text


def test_totals_without_a_plan(tmp_path):
    fake.simple_run(tmp_path)
    assert totals(build_view(tmp_path)) == "1 run: 1 valid"


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\r\u202e"


def hostile(path):
    facts = {
        **fake.FACTS,
        "virtual": HOSTILE,
        "firmware": HOSTILE,
        "kernel": {**fake.FACTS["kernel"], "release": HOSTILE},
    }
    reason = {"rule": HOSTILE, "state": "suspect", "text": HOSTILE, "advice": HOSTILE}
    run = fake.simple_run(path, state="suspect", reasons=[reason], facts=facts)
    fake.lane(
        path, "nuc", facts, [{"cell": "x", "bench": HOSTILE, "mode": HOSTILE, "load": HOSTILE, "reason": HOSTILE}]
    )
    return run


@pytest.mark.parametrize("terminal", [False, True])
def test_a_targets_text_does_not_act(tmp_path, terminal):
    run = hostile(tmp_path)
    for text in (printed(summary, tmp_path, 400, terminal), printed(show, run, 400, terminal)):
        assert "[2J" not in text.replace("\\x1b[2J", "")
        assert "\x07" not in text
        assert "\r" not in text
        assert "\u202e" not in text
        assert "[red]x[/red]" in text


def test_show_tells_one_run(night):
    folder = next(
        path for path in run_dirs(night) if path.name.startswith("gap.fifo.idle") and path.parent.name == "nuc"
    )
    text = flat(printed(show, folder))
    assert "validity: valid" in text
    assert "gap_ns, CPU 3" in text
    assert "p99.999" in text
    assert "gap_rate_hz: 0 Hz (95 % upper bound 0.300 Hz)" in text
    assert "requested: name fifo, where pinned, sched fifo:1, hold none" in text
    assert "read back, CPU 3: affinity 3, policy fifo" in text
    assert f"Command line: {fake.FACTS['kernel']['cmdline']}" in text
    assert "▁" in text
    assert str(folder).replace(" ", "") in printed(show, folder, 400)


def test_the_sparkline_rises_with_the_curve():
    quiet, noisy = (
        fake.counts(np.random.default_rng(1), quiet=40, noise=noise) for noise in ([], [(10_000_000, 0.2, 0, 3000)])
    )
    line = sparkline(noisy)
    assert len(line) == 40
    assert (line[0], line[-1]) == ("▁", "█")
    assert [ord(c) for c in line] == sorted(ord(c) for c in line)
    assert sparkline(noisy) != sparkline(quiet)
    assert sparkline(fake.Counts(fake.GEOMETRY, np.zeros(fake.GEOMETRY.length, dtype=np.int64))) == "empty"
