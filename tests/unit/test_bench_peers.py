# SPDX-License-Identifier: Apache-2.0
"""What `make bench` calls agreement with another tool, and how it reads what that one says."""

from __future__ import annotations

import pytest

from ..bench import peers
from ..bench.peers import Comparison, in_alternation, of_histogram


def compare(ours, theirs, *, judged=True):
    return Comparison("wake / other, p50", ours, theirs, "ns").figure(judged=judged)


def test_tools_agree_within_a_quarter():
    near, far = compare([100] * 8, [124] * 8), compare([126] * 8, [100] * 8)
    assert (near.met, far.met, near.bar) == (True, False, 1.25)
    assert far.value == compare([100] * 8, [126] * 8).value == pytest.approx(1.26)
    assert "1.260 x (126 / 100 ns, medians of 8 rounds; one tool differs from itself by 1.00 x)" in far.text


def test_or_within_what_one_of_them_differs_from_itself():
    restless = [100, 100, 200, 200]
    found = compare(restless, [280] * 4)
    assert (found.bar, found.met) == (2.0, True)
    assert not compare([150] * 4, [280] * 4).met


def test_nothing_is_claimed_of_what_is_not_judged_or_too_rare():
    assert compare([100] * 8, [900] * 8, judged=False).bar is None
    rare = compare([0] * 8, [3] * 8)
    assert (rare.bar, "too few to compare" in rare.text) == (None, True)


def test_neither_tool_is_always_the_later_one():
    order = []

    def tool(name):
        return lambda place: order.append((name, place.is_dir())) or {}

    ours, theirs = in_alternation(tool("ours"), tool("theirs"))
    assert (len(ours), len(theirs)) == (peers.ROUNDS, peers.ROUNDS)
    assert [name for name, _ in order[:4]] == ["ours", "theirs", "theirs", "ours"]
    assert all(there for _, there in order)


def test_quantiles_of_a_histogram_by_others():
    thread = {"histogram": {"9": 50, "10": 40, "2000": 9}, "cycles": 100, "max": 5_000_000}  # one was beyond it
    assert of_histogram(thread) == {"p50": 9, "p90": 10, "p99": 2000}
    assert of_histogram({**thread, "cycles": 1000})["p99"] == 5_000_000


def test_a_row_of_oslat_ends_at_its_number(monkeypatch, tmp_path):
    said = '{"thread": {"0": {"duration": 2.0, "histogram": {"1": 1000, "2": 30, "3": 6, "21": 2}}}}'
    monkeypatch.setattr(peers, "run", lambda argv: (tmp_path / "said.json").write_text(said))
    found = peers.oslat(tmp_path)
    assert found["gaps of 2 µs and more"] == 4  # (6 + 2) / 2 s: the row of 2 holds 1 to 2 µs
    assert found["gaps of 20 µs and more"] == 1
    assert found["iteration"] == pytest.approx(2e9 / 1038)
