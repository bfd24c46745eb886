# SPDX-License-Identifier: Apache-2.0
"""The C core's small parts: durations, bounds, the counter's step, JSON, CPU lists, conversion."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import build

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


@pytest.fixture(scope="module")
def tool() -> Path:
    return build.build_program("tests/selftest.c", build.native_arch()).path


def ask(tool: Path, *argv: object, text: str | bytes = "") -> str:
    data = text if isinstance(text, bytes) else text.encode()
    return subprocess.run([tool, *map(str, argv)], input=data, capture_output=True, check=True).stdout.decode()


# --- durations ---


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1us", 1000),
        ("1.5us", 1500),
        ("10s", 10**10),
        ("0.001us", 1),
        ("1.50000us", 1500),
        ("0ns", 0),
        ("2min", 120 * 10**9),
        ("0.5h", 1800 * 10**9),
        ("0.0000000000025h", 9),
        ("007ms", 7_000_000),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_a_duration(tool, text, ns):
    assert int(ask(tool, "duration", text=text + "\n").split()[0]) == ns


@pytest.mark.parametrize(
    "text",
    ["", "1", "us", "1 us", " 1us", "1us ", "-1us", "+1us", "1.us", ".5us", "1,5us", "1e3us", "0x1us", "1US", "1m",
     "1d", "0.5ns", "0.0001us", "1.5.5s", "9223372036854775808ns", "2562048h", "99999999999999999999s", "nan", "infs",
     "1.00000000000000000001s", "1\u00b5s"],
)  # fmt: skip
def test_what_is_no_duration(tool, text):
    assert ask(tool, "duration", text=text + "\n") == "error\n"


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**7),
            st.none() | st.text("0123456789", min_size=1, max_size=20),
            st.sampled_from(list(UNITS)),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_durations_are_exact_or_refused(tool, rows):
    texts = [f"{whole}{'' if part is None else '.' + part}{unit}" for whole, part, unit in rows]
    answers = ask(tool, "duration", text="\n".join(texts) + "\n").splitlines()
    for (whole, part, unit), answer in zip(rows, answers, strict=True):
        exact = Fraction(f"{whole}.{part or 0}") * UNITS[unit]
        places = len((part or "").rstrip("0"))
        if exact.denominator == 1 and exact < 2**63 and places <= 18:
            assert int(answer.split()[0]) == exact
        else:
            assert answer == "error"


@given(ns=st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_a_duration_survives_its_canonical_spelling(tool, ns):
    first = [row.split() for row in ask(tool, "duration", text="".join(f"{n}ns\n" for n in ns)).splitlines()]
    again = [row.split() for row in ask(tool, "duration", text="".join(f"{row[1]}\n" for row in first)).splitlines()]
    assert again == first
    assert [int(row[0]) for row in again] == ns


@given(lines=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\0"), max_size=40), max_size=30))
def test_no_text_breaks_the_parsers(tool, lines):
    text = "".join(f"{line}\n" for line in lines)
    assert len(ask(tool, "duration", text=text).splitlines()) == len(lines)
    for line, answer in zip(lines, ask(tool, "int", text=text).splitlines(), strict=True):
        if line.isdigit() and int(line) < 2**63:
            assert int(answer) == int(line)
        else:
            assert answer == "error"


# --- the bound of a rate ---

# scipy.stats.chi2.ppf(0.95, 2 * n + 2) / 2
UPPER = {
    0: 2.9957322735539895,
    1: 4.743864518390577,
    2: 6.295793621871988,
    3: 7.753656527932725,
    10: 16.962219235721903,
    100: 118.07927278209706,
    5000: 5117.886079407686,
    65536: 65958.6534886482,
    999999: 1001645.42194519,
    1000001: 1001647.4235900431,
    10000000: 10005203.052591262,
    1000000000: 1000052016.4073218,
}


def test_poisson_bounds_equal_those_of_scipy(tool):
    got = ask(tool, "poisson", text="\n".join(map(str, UPPER))).split()
    for bound, (count, expected) in zip(got, UPPER.items(), strict=True):
        assert float(bound) == pytest.approx(expected, rel=1e-9), count


@given(count=st.integers(0, 400))
def test_poisson_bounds_meet_their_definition(tool, count):
    """P(X <= count) is 5 % at the bound: summed in decimal, another way than the C code's."""
    mean = Decimal(ask(tool, "poisson", text=str(count)))
    term = total = (-mean).exp()
    for k in range(1, count + 1):
        term *= mean / k
        total += term
    assert float(total) == pytest.approx(0.05, rel=1e-9)


# --- the counter's step ---


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([26, 52, 26, 78, 26], 26.0),
        ([40, 47, 55, 61, 80, 119], 1.0),
        ([1, 1, 2], 1.0),
        ([18, 20, 22, 24, 26], 2.0),
        ([], 0.0),
        ([26], 26.0),
    ],
)
def test_the_step_of_a_counter(tool, steps, expected):
    assert float(ask(tool, "granularity", text=" ".join(map(str, steps)))) == pytest.approx(expected)


@given(step=st.floats(12.0, 400.0), multiples=st.lists(st.integers(1, 8), min_size=200, max_size=400))
def test_the_step_of_a_scaled_counter(tool, step, multiples):
    """A hypervisor scales a coarse counter by a fraction: readings are rounded down."""
    at, readings = 0, [0]
    for multiple in [*range(1, 9), *multiples]:
        at += multiple
        readings.append(int(at * step))
    steps = [b - a for a, b in itertools.pairwise(readings)]
    got = float(ask(tool, "granularity", text=" ".join(map(str, steps))))
    assert got == pytest.approx(step, rel=0.05)


# --- conversion ---


@pytest.mark.parametrize("hz", [1_000_000, 24_000_000, 62_500_000, 10**9, 2_596_145_832, 5_000_000_000])
@given(units=st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_units_become_ns_rounded_to_nearest(tool, hz, units):
    rows = [
        list(map(int, row.split())) for row in ask(tool, "convert", hz, text=" ".join(map(str, units))).splitlines()
    ]
    for value, (small, wide, most) in zip(units, rows, strict=True):
        exact = Fraction(value * 10**9, hz)
        assert small == wide
        assert abs(wide - exact) <= Fraction(1, 2) + exact / 10**10
        assert most >= value  # the largest interval that still converts to this many ns


def test_a_huge_interval_saturates(tool):
    assert ask(tool, "convert", 1_000_000, text=str(2**63 - 1)).split()[1] == str(2**64 - 1)


# --- periods ---


def account(tool, interval, duration, events):
    text = "".join(f"{what} {now}\n" for what, now in events)
    return json.loads(ask(tool, "periods", interval, duration, text=text))


@given(
    interval=st.integers(1, 1000),
    planned=st.integers(0, 60),
    rest=st.integers(0, 999),
    steps=st.lists(st.tuples(st.sampled_from("sm"), st.integers(0, 5000)), min_size=60, max_size=60),
)
def test_every_period_is_served_or_missed(tool, interval, planned, rest, steps):
    """Against a model that walks all deadlines one by one."""
    duration = planned * interval + rest % interval
    events, deadlines, served, k = [], [], 0, 1
    for what, late in steps:
        if k > planned:
            break
        now = k * interval + late
        events.append((what, now))
        deadlines.append(k * interval)
        served += what == "s"
        while k * interval <= now:
            k += 1
    got = account(tool, interval, duration, events)
    assert got["deadlines"] == deadlines
    assert (got["planned"], got["served"], got["left"]) == (planned, served, k <= planned)
    if not got["left"]:
        assert got["served"] + got["missed"] == planned


def test_overrun_periods_are_missed_one_by_one(tool):
    got = account(tool, 100, 1000, [("s", 100), ("s", 299), ("s", 300), ("s", 650), ("m", 700), ("s", 99_999)])
    assert got["deadlines"] == [100, 200, 300, 400, 700, 800]
    assert (got["served"], got["missed"]) == (5, 5)
    # Before its time (a clock that went back): served, and nothing is skipped.
    assert account(tool, 100, 200, [("s", 50), ("s", 150)]) == {
        "deadlines": [100, 200], "planned": 2, "served": 2, "missed": 0, "left": False,
    }  # fmt: skip


# --- JSON and CPU lists ---


@given(data=st.binary(max_size=300).filter(lambda b: b"\0" not in b))
def test_any_bytes_become_a_json_string(tool, data):
    assert json.loads(ask(tool, "json", text=data)) == data.decode("latin-1")


@given(numbers=st.lists(st.floats(allow_subnormal=False), max_size=50))
def test_doubles_survive_and_others_become_null(tool, numbers):
    got = json.loads(ask(tool, "double", text=" ".join(map(repr, numbers))))
    assert got == [n if abs(n) < float("inf") else None for n in numbers]


@given(cpus=st.sets(st.integers(0, 8191), max_size=200))
def test_cpu_lists(tool, cpus):
    text = ask(tool, "mask", text=" ".join(map(str, cpus))).strip()
    spans = [[int(end) for end in span.split("-")] for span in text.split(",")] if text else []
    assert {cpu for span in spans for cpu in range(span[0], span[-1] + 1)} == cpus
    assert all(b[0] > a[-1] + 1 for a, b in itertools.pairwise(spans))


@given(cpus=st.sets(st.integers(0, 200), max_size=40))
def test_a_cpu_list_holds_what_is_in_it(tool, cpus):
    text = ask(tool, "mask", text=" ".join(map(str, cpus))).strip()
    got = ask(tool, "list", text, text=" ".join(map(str, range(202)))).split()
    assert {cpu for cpu, answer in enumerate(got) if answer == "1"} == cpus


@pytest.mark.parametrize("text", ["(null)", "x", "0-", "1-3:1/2", " ", "-"])
def test_no_cpu_list_breaks_the_reader(tool, text):
    assert len(ask(tool, "list", text, text="0 1 2 200").split()) == 4


# --- interrupts of a CPU's timer ---


def timer_rows() -> dict[int, int]:
    header, *rows = Path("/proc/interrupts").read_text().splitlines()
    cpus = [int(name.removeprefix("CPU")) for name in header.split()]
    for row in rows:
        name, *numbers = row.split()
        if name == "LOC:":
            return dict(zip(cpus, map(int, numbers), strict=False))
    return {}


def test_timer_interrupts_are_those_of_the_kernel(tool):
    """Between two readings of the same row, for every CPU; a CPU that is not online has none."""
    before = timer_rows()
    for cpu, least in before.items():
        got = int(ask(tool, "timer", cpu))
        assert least <= got <= timer_rows()[cpu]
    assert ask(tool, "timer", 8000) == "unknown\n"


# --- two counters ---


@pytest.mark.parametrize("skew", [0, 10**6, -(10**6), 10**15])
def test_the_offset_of_two_counters_is_within_its_bounds(tool, skew):
    """Two threads of this machine, whose counters are one, but for what is added to the readings of one of them."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only: the two threads would wait for each other's time slices")
    first, timed_out = ask(tool, "offset", skew).splitlines()
    low, high, round_trip = map(int, first.split())
    assert low <= skew <= high
    assert 0 < high - low <= round_trip
    assert timed_out == "0"


def test_which_bounds_are_those_of_one_clock(tool):
    """A granularity of 10 units, and at most 1000 apart."""
    rows = {
        "-50 50": 1, "0 0": 1, "1000 2000": 1, "1001 2000": 0, "-2000 -1000": 1, "-2000 -1001": 0,
        "20 0": 1, "21 0": 0, "-5000 5000": 1,
    }  # fmt: skip
    assert ask(tool, "small", 10, 1000, text="\n".join(rows)).split() == [str(answer) for answer in rows.values()]
