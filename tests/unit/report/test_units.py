# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them, and text that cannot bite."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0, "0 ns"), (38, "38 ns"), (999, "999 ns"), (999.6, "1.00 µs"), (1000, "1.00 µs"),
        (1234, "1.23 µs"), (12_345, "12.3 µs"), (123_456, "123 µs"), (999_600, "1.00 ms"), (2_342_911, "2.34 ms"),
        (1e9, "1.00 s"), (61.6e9, "61.6 s"),
    ],
)  # fmt: skip
def test_durations(value, text):
    assert units.duration(value) == text


@given(st.floats(0.5, 1e13))
def test_a_duration_has_three_digits_and_is_near(value):
    number, unit = units.duration(value).replace(",", "").split()
    size = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]
    assert float(number) * size == pytest.approx(value, rel=0.0051, abs=0.51)
    if size > 1 and value < 9.9e11:
        assert len(re.sub(r"\D", "", number)) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0749, "0.0749"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1530, "1,530"),
        (453_211, "453,000"),
    ],
)
def test_three_digits(value, text):
    assert units.three_digits(value) == text


def test_quantities_settings_counts_plurals():
    assert units.quantity(5310.4, "ppm") == "5,310 ppm"
    assert units.quantity(None, "ppm") == "-"
    assert [units.setting(v) for v in (1000, 2_500_000, 40, 1e9)] == ["1 µs", "2.5 ms", "40 ns", "1 s"]
    assert [units.count(v) for v in (12, 123_456, 219_900_000, 4_000_000_000)] == ["12", "123,456", "220 M", "4.00 G"]
    assert [units.plural(1, "run"), units.plural(2, "run")] == ["1 run", "2 runs"]


@given(st.text())
def test_printable_has_nothing_that_acts(text):
    shown = units.printable(text)
    assert shown.isprintable()
    assert "\x1b" not in shown
    assert "\n" not in shown


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\u202e", "\u200b", "\r\n", "\x9b2J", "\ufeff", "\ud800"])
def test_what_acts_is_shown_instead(hostile):
    assert units.printable(f"a{hostile}b").startswith("a\\")


def test_ordinary_text_is_untouched():
    assert units.printable("Intel(R) Core(TM) · 2.4 GHz, größer") == "Intel(R) Core(TM) · 2.4 GHz, größer"


def test_a_series_reads_as_one_says_it():
    assert [units.series(parts) for parts in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
