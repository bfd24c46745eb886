# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.units import (
    MAX_CPUS,
    MAX_DURATION_NS,
    format_cpu_list,
    format_duration,
    format_percent,
    parse_cpu_list,
    parse_duration,
    parse_percent,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10s", 10_000_000_000),
        ("1.5us", 1_500),
        ("1.5µs", 1_500),
        ("1.5μs", 1_500),
        ("250ms", 250_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("0s", 0),
        ("7 ns", 7),
        ("0.000000001s", 1),
        ("0.1h", 360_000_000_000),  # 0.1 is no binary fraction
        ("31622400s", MAX_DURATION_NS),
    ],
)
def test_durations_are_exact(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "a duration needs a unit: 10s, 10ms … (one of ns, us, ms, s, min, h)"),
        ("10sec", "unknown unit 'sec' in '10sec': one of ns, us, ms, s, min, h"),
        ("10S", "unknown unit 'S' in '10S': one of ns, us, ms, s, min, h"),
        ("1m", "unknown unit 'm' in '1m': one of ns, us, ms, s, min, h"),
        ("1.5ns", "'1.5ns' is finer than 1 ns"),
        ("0.0000000001s", "'0.0000000001s' is finer than 1 ns"),
        ("9999h", "'9999h' is longer than a year"),
        ("-1s", "expected a duration such as 10s or 250us, found '-1s'"),
        ("1e3s", "expected a duration such as 10s or 250us, found '1e3s'"),
        ("1h30min", "expected a duration such as 10s or 250us, found '1h30min'"),
        ("22:30:00", "expected a duration such as 10s or 250us, found '22:30:00'"),
        ("٣s", "expected a duration such as 10s or 250us, found '٣s'"),
        ("", "expected a duration such as 10s or 250us, found ''"),
        ("s", "expected a duration such as 10s or 250us, found 's'"),
    ],
)
def test_bad_durations(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


@given(st.integers(0, MAX_DURATION_NS))
def test_durations_come_back(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


@pytest.mark.parametrize(("ns", "text"), [(1_500_000_000, "1500ms"), (60_000_000_000, "1min"), (0, "0s"), (1, "1ns")])
def test_durations_are_short(ns: int, text: str) -> None:
    assert format_duration(ns) == text


def test_percent() -> None:
    assert parse_percent("90%") == 90.0
    assert format_percent(parse_percent("99.5%")) == "99.5%"
    for text, message in [
        ("90", "a percentage needs its sign: 90%"),
        ("101%", "'101%' is more than 100%"),
        ("0.9s", "expected a percentage such as 90%, found '0.9s'"),
        ("%", "expected a percentage such as 90%, found '%'"),
    ]:
        with pytest.raises(ValueError) as caught:
            parse_percent(text)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("2-3,6", (2, 3, 6)),
        ("", ()),
        ("0\n", (0,)),
        ("6,2-3,3", (2, 3, 6)),
        ("0-7:2/4", (0, 1, 4, 5)),
        ("8191", (8191,)),
    ],
)
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3-2", "'3-2' in CPU list '3-2' runs backwards"),
        ("1,,2", "expected a CPU list such as 2-3,6, found '1,,2'"),
        ("1, 2", "expected a CPU list such as 2-3,6, found '1, 2'"),
        ("all", "expected a CPU list such as 2-3,6, found 'all'"),
        ("-1", "expected a CPU list such as 2-3,6, found '-1'"),
        ("8192", "CPU 8192 in '8192': Linux has at most 8192"),
        ("0-99999", "CPU 99999 in '0-99999': Linux has at most 8192"),
        ("0-7:5/4", "'0-7:5/4' in CPU list '0-7:5/4': expected 1 <= used <= group"),
        ("0-7:0/4", "'0-7:0/4' in CPU list '0-7:0/4': expected 1 <= used <= group"),
    ],
)
def test_bad_cpu_lists(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cpu_list(text)
    assert str(caught.value) == message


@given(st.sets(st.integers(0, MAX_CPUS - 1), max_size=80))
def test_cpu_lists_come_back(cpus: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(cpus)) == tuple(sorted(cpus))


@given(st.text(max_size=30))
def test_any_text_gives_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_percent, parse_cpu_list):
        with suppress(ValueError):
            assert parse(text) is not None
