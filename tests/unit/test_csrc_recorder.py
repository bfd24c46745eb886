# SPDX-License-Identifier: Apache-2.0
"""The C recorder against the Python HdrHistogram: buckets, counts, payload, percentiles, exact ends."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import build

HIGHEST = 10_000_000_000
DIGITS = (2, 3)

# Every power of two and of ten with its neighbours, and anything in between.
edges = sorted({v + d for v in [*(2**i for i in range(34)), *(10**i for i in range(11))] for d in (-1, 0, 1)})
edges = [v for v in edges if 0 <= v <= HIGHEST]
values = st.one_of(st.integers(0, 300), st.integers(0, HIGHEST), st.sampled_from(edges))


@pytest.fixture(scope="module")
def tool() -> Path:
    return build.build_program("tests/selftest.c", build.native_arch()).path


def ask(tool, *argv, lines=()):
    text = "\n".join(str(line) for line in lines) + "\n"
    done = subprocess.run([tool, *map(str, argv)], input=text.encode(), capture_output=True, check=True)
    return done.stdout


def reference(digits: int) -> HdrHistogram:
    return HdrHistogram(1, HIGHEST, digits)


def wrap(payload: bytes) -> bytes:
    """What the controller does: V2 compressed, in base64."""
    squeezed = zlib.compress(payload)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(squeezed)) + squeezed)


@pytest.mark.parametrize("digits", DIGITS)
def test_edges_fall_into_the_buckets_of_hdrhistogram(tool, digits):
    histogram = reference(digits)
    rows = [list(map(int, row.split())) for row in ask(tool, "index", digits, lines=edges).splitlines()]
    assert len(rows) == len(edges)
    for value, (index, low, high) in zip(edges, rows, strict=True):
        assert index == histogram._counts_index_for(value), value
        assert low == histogram.get_lowest_equivalent_value(value), value
        assert high == histogram.get_highest_equivalent_value(value), value


@pytest.mark.parametrize("digits", DIGITS)
@given(sample=st.lists(values, min_size=1, max_size=200))
def test_any_value_falls_into_the_bucket_of_hdrhistogram(tool, digits, sample):
    histogram = reference(digits)
    rows = [list(map(int, row.split())) for row in ask(tool, "index", digits, lines=sample).splitlines()]
    assert [row[0] for row in rows] == [histogram._counts_index_for(value) for value in sample]
    assert all(low <= value <= high for value, (_, low, high) in zip(sample, rows, strict=True))


@pytest.mark.parametrize("digits", DIGITS)
@given(sample=st.lists(values, max_size=200))
def test_counts_ends_and_percentiles(tool, digits, sample):
    histogram = reference(digits)
    for value in sample:
        assert histogram.record_value(value)
    got = json.loads(ask(tool, "record", digits, lines=sample))
    assert got["length"] == histogram.counts_len
    assert got["counts"] == [[i, n] for i, n in enumerate(histogram.counts) if n]
    assert (got["recorded"], got["overflow"], got["negative"]) == (len(sample), 0, 0)
    if sample:
        assert (got["min"], got["max"]) == (min(sample), max(sample))
        for key, percentile in (("p50", 50), ("p99", 99), ("p100", 100)):
            assert got[key] == histogram.get_value_at_percentile(percentile)
    else:
        assert "min" not in got
        assert "max" not in got


@given(
    inside=st.lists(values, max_size=20),
    beyond=st.lists(st.integers(HIGHEST + 1, 2**63), min_size=1, max_size=20),
)
def test_overflow_is_counted_and_in_the_exact_maximum(tool, inside, beyond):
    got = json.loads(ask(tool, "record", 2, lines=[*inside, *beyond]))
    assert (got["recorded"], got["overflow"]) == (len(inside), len(beyond))
    assert got["max"] == max(beyond)
    assert got["min"] == min([*inside, *beyond])


# The library's decoder refuses what its own encoder writes from 2^62 on: a century at 1 GHz.
LIMIT = 2**62
counts = st.one_of(st.integers(1, 200), st.integers(1, LIMIT - 1), st.sampled_from([2**i for i in range(62)]))


@pytest.mark.parametrize("digits", DIGITS)
@given(sample=st.dictionaries(values, counts, max_size=50))
def test_payload_is_decoded_bit_exactly(tool, digits, sample):
    payload = ask(tool, "encode", digits, lines=[f"{value} {count}" for value, count in sample.items()])
    cookie, length, offset, significant, lowest, highest, ratio = struct.unpack_from(">IIIIQQd", payload)
    assert (cookie, length) == (0x1C849313, len(payload) - 40)
    assert (offset, significant, lowest, highest, ratio) == (0, digits, 1, HIGHEST, 1.0)

    expected = [0] * reference(digits).counts_len
    for value, count in sample.items():
        expected[reference(digits)._counts_index_for(value)] += count
    assume(max(expected) < LIMIT)
    decoded = HdrHistogram.decode(wrap(payload))
    assert list(decoded.counts) == expected


@pytest.mark.parametrize("digits", DIGITS)
@given(sample=st.dictionaries(values, counts, min_size=1, max_size=50))
def test_payload_is_byte_by_byte_what_the_python_library_writes(tool, digits, sample):
    histogram = reference(digits)
    for value, count in sample.items():
        histogram.record_value(value, count)
    assume(max(histogram.counts) < 2**63)
    theirs = zlib.decompress(base64.b64decode(histogram.encode())[8:])
    ours = ask(tool, "encode", digits, lines=[f"{value} {count}" for value, count in sample.items()])
    assert ours == theirs


def test_an_empty_histogram_is_a_header(tool):
    payload = ask(tool, "encode", 2)
    assert len(payload) == 40
    assert HdrHistogram.decode(wrap(payload)).get_total_count() == 0
