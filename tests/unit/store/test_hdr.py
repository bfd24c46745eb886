# SPDX-License-Identifier: Apache-2.0
"""The V2 encoding against other implementations: the Python library (with its C codec), the C probe's recorder."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given
from hypothesis import strategies as st

from harness.store import hdr
from harness.store.hdr import GEOMETRY, Counts, Geometry, HistogramError

GOLDEN = Path(__file__).parents[2] / "golden"

values = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 300), st.integers(0, 2**33), st.integers(0, GEOMETRY.highest)),
        st.one_of(st.integers(1, 3), st.integers(1, 2**54), st.integers(2**54, 2**58)),
    ),
    max_size=40,
)


def library(pairs: list[tuple[int, int]]) -> HdrHistogram:
    histogram = HdrHistogram(GEOMETRY.lowest, GEOMETRY.highest, GEOMETRY.digits)
    for value, count in pairs:
        assert histogram.record_value(value, count)
    return histogram


def counts_of(pairs: list[tuple[int, int]]) -> Counts:
    counts = np.zeros(GEOMETRY.length, dtype=np.int64)
    for value, count in pairs:
        counts[GEOMETRY.index(value)] += count
    return Counts(GEOMETRY, counts)


def test_the_geometry_is_the_probes():
    assert (GEOMETRY.length, GEOMETRY.length * 8) == (3584, 28672)


@pytest.mark.parametrize("geometry", [GEOMETRY, Geometry(1, 3_600_000_000, 3), Geometry(1000, 10**9, 1)])
def test_buckets_are_the_librarys(geometry):
    theirs = HdrHistogram(geometry.lowest, geometry.highest, geometry.digits)
    assert geometry.length == theirs.counts_len
    low, high = geometry.bounds
    for index in range(geometry.length):
        value = theirs.get_value_from_index(index)
        assert (low[index], high[index]) == (value, theirs.get_highest_equivalent_value(value))
        assert geometry.index(int(low[index])) == geometry.index(int(high[index])) == index


@given(values)
def test_decodes_what_the_library_encodes(pairs):
    theirs = library(pairs)
    payload = hdr.from_blob(theirs.encode().decode())
    assert hdr.decode(payload).counts.tolist() == list(theirs.counts)


@given(values)
def test_the_library_decodes_what_we_encode(pairs):
    ours = counts_of(pairs)
    theirs = HdrHistogram.decode(hdr.to_blob(hdr.encode(ours)))
    assert list(theirs.counts) == ours.counts.tolist()
    assert theirs.get_total_count() == ours.total


@given(st.lists(values, max_size=6))
def test_merging_is_adding(groups):
    expected = sum((counts_of(pairs).counts for pairs in groups), np.zeros(GEOMETRY.length, dtype=np.int64))
    merged = hdr.merge(hdr.encode(counts_of(pairs)) for pairs in groups)
    assert merged.counts.tolist() == expected.tolist()


def test_merging_more_than_one_batch_loses_nothing():
    payload = hdr.encode(counts_of([(40, 7), (1_000_000, 1)]))
    merged = hdr.merge(payload for _ in range(hdr._BATCH * 2 + 3))
    assert merged.total == 8 * (hdr._BATCH * 2 + 3)


@given(st.lists(values, min_size=1, max_size=6))
def test_many_at_once_are_the_librarys_sum(groups):
    """What `make bench` times is right: our one pass against the library's adding one after the other."""
    total = HdrHistogram(GEOMETRY.lowest, GEOMETRY.highest, GEOMETRY.digits)
    blobs = [library(pairs).encode().decode() for pairs in groups]
    for blob in blobs:
        total.decode_and_add(blob)
    assert hdr.merge(map(hdr.from_blob, blobs)).counts.tolist() == list(total.counts)


def test_large_payloads_are_batches_of_their_own(monkeypatch):
    payload = hdr.encode(counts_of([(value, 3) for value in range(0, 3000, 7)]))
    monkeypatch.setattr(hdr, "_BATCH_BYTES", 2 * len(payload) + 1)
    assert [len(batch) for batch in hdr._batches([payload] * 7)] == [3, 3, 1]
    assert hdr.merge([payload] * 7).total == 7 * hdr.decode(payload).total


word = st.one_of(
    st.integers(-300, 300), st.integers(-(2**20), 2**20), st.integers(2**50, 2**56), st.integers(-(2**60), 2**62)
)
words = st.lists(word, max_size=12).map(lambda each: b"".join(map(hdr._word, each)))


@given(st.lists(st.one_of(words, st.binary(max_size=12)), min_size=1, max_size=4))
@example([b"\x80" * 9 + b"\x00"])  # the last of nine bytes has no mark: it ends the word
@example([hdr._word(2**52 - 1)] * 3)  # each exact in floating point, the sum not
def test_one_pass_is_word_by_word(bodies):
    """Whatever the bytes: the same counts, or both find them damaged."""

    def tried(add):
        try:
            return add(GEOMETRY, bodies).tolist()
        except HistogramError:
            return "damaged"

    assert tried(hdr._sum_bodies) == tried(hdr._sum_slowly)


def test_counts_that_are_too_large_together_are_said():
    payload = hdr.encode(counts_of([(40, 2**62)]))
    with pytest.raises(HistogramError, match="beyond 64 bits"):
        hdr.merge([payload, payload])


@given(st.lists(st.tuples(st.integers(0, GEOMETRY.highest), st.integers(1, 1000)), min_size=1, max_size=30))
def test_quantiles_are_ranks(pairs):
    """Against the definition: the smallest value that at least the share does not exceed, as the top of its bucket."""
    ours = counts_of(pairs)
    exact_max = max(value for value, _ in pairs)
    everything = sorted(value for value, count in pairs for _ in range(count))
    for name in hdr.QUANTILES:
        level = hdr.fraction(name)
        rank = max(1, -(-level.numerator * len(everything) // level.denominator))
        value = everything[rank - 1]
        top = int(GEOMETRY.bounds[1][GEOMETRY.index(value)])
        assert ours.value_at(level, exact_max) == min(top, exact_max)
        assert ours.value_at(level) == top


def test_an_empty_histogram_has_no_quantiles():
    empty = hdr.decode(hdr.encode(counts_of([])))
    assert empty.total == 0
    assert set(empty.quantiles().values()) == {None}
    assert hdr.merge([]).total == 0


def test_the_c_recorder_and_we_agree():
    said = json.loads((GOLDEN / "probe-result.json").read_text())["histograms"]["gap_ns"]
    counts = hdr.decode((GOLDEN / "probe-gap_ns.hdr").read_bytes())
    assert counts.geometry == GEOMETRY
    assert counts.total == said["recorded"]
    filled = np.flatnonzero(counts.counts)
    assert GEOMETRY.index(said["min"]) == filled[0]
    assert GEOMETRY.index(said["max"]) == filled[-1]
    assert counts.value_at(Fraction(1), said["max"]) == said["max"]


def test_one_geometry_is_not_merged_with_another():
    other = Counts(Geometry(1, 3_600_000_000, 3), np.zeros(Geometry(1, 3_600_000_000, 3).length, dtype=np.int64))
    with pytest.raises(HistogramError, match="two geometries"):
        hdr.merge([hdr.encode(counts_of([(1, 1)])), hdr.encode(other)])


@given(st.binary(max_size=200))
def test_noise_is_one_named_error(data):
    with pytest.raises(HistogramError):
        hdr.decode(data)
    with pytest.raises(HistogramError):
        hdr.from_blob(data.decode("latin-1"))


@given(st.data())
def test_a_damaged_payload_is_a_histogram_or_one_named_error(data):
    payload = bytearray(hdr.encode(counts_of([(40, 10**9), (41, 3), (5_000, 70), (9_999_999_999, 1)])))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))]
    with contextlib.suppress(HistogramError):
        hdr.decode(bytes(payload))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x80", "middle of a count"),
        (b"\x02\xff\xff", "middle of a count"),
        (b"\xff\xff\xff\xff\x0f\x02", "beyond its last bucket"),
        (b"\x02" * 3585, "beyond its last bucket"),
    ],
)
def test_what_is_wrong_is_said(body, message):
    header = struct.pack(">iiiiqqd", 0x1C849313, len(body), 0, 2, 1, 10_000_000_000, 1.0)
    with pytest.raises(HistogramError, match=message):
        hdr.decode(header + body)


def test_a_bomb_is_not_unpacked():
    packed = zlib.compress(b"\0" * 50_000_000)
    blob = base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()
    with pytest.raises(HistogramError, match="larger than any histogram"):
        hdr.from_blob(blob)


@pytest.mark.parametrize("name", ["50", "p101", "p-1"])
def test_what_is_no_percentile(name):
    with pytest.raises(ValueError):
        hdr.fraction(name)
