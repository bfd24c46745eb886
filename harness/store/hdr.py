# SPDX-License-Identifier: Apache-2.0
"""The HdrHistogram V2 encoding over numpy: decode, merge, quantiles, encode. Pure.

A *payload* is the uncompressed V2 form, as a probe writes it: a header of 40 bytes (big-endian: cookie, length of the
rest, normalising offset, significant digits, lowest and highest value, conversion ratio), then the counts by bucket
as ZigZag LEB128 words of at most 9 bytes, where a negative word is a run of empty buckets. A *blob* is its compressed
form in base64, as a histogram log holds it.

The library ``hdrhistogram`` decodes one histogram at a time and raises whatever it stumbles on; here many are decoded
in one pass over one array, and anything wrong is a :class:`HistogramError`.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from .files import BrokenResult

Ints = NDArray[np.int64]

_HEADER = struct.Struct(">iiiiqqd")
_WRAPPER = struct.Struct(">ii")
_PAYLOAD_COOKIE = 0x1C849303
_BLOB_COOKIE = 0x1C849304
_WORD_SIZE = 0x10  # in bits 4..7 of a cookie; V2 readers do not look at it, writers set it so
_MAX_LENGTH = 500_000  # buckets; the same bound as the Python library's
_BATCH = 256  # histograms decoded in one pass: what it takes stays in a CPU's caches
_BATCH_BYTES = 1 << 20  # or so many bytes, of larger ones
_SCRATCH_BYTES = 16 << 20  # more than a batch needs
_EXACT_BITS = 53  # of whole numbers in floating point

#: The quantiles that are kept of every histogram.
QUANTILES = ("p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "p99.9999", "p99.99999")


class HistogramError(BrokenResult):
    """A histogram or a histogram log is damaged, or has another geometry than the one it is merged with."""


@dataclass(frozen=True)
class Geometry:
    """Which values share a bucket: range in units (ns), and the significant digits kept."""

    lowest: int
    highest: int
    digits: int

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 5 or self.lowest < 1 or not 2 * self.lowest <= self.highest < 1 << 62:
            raise HistogramError(f"histogram geometry {self.lowest}..{self.highest}, {self.digits} digits: impossible")
        if self.length > _MAX_LENGTH:
            raise HistogramError(f"histogram of {self.length} buckets is larger than {_MAX_LENGTH}")

    @cached_property
    def unit_magnitude(self) -> int:
        return self.lowest.bit_length() - 1

    @cached_property
    def half_magnitude(self) -> int:
        return (2 * int(10**self.digits) - 1).bit_length() - 1

    @cached_property
    def length(self) -> int:
        """Buckets in all."""
        octaves, reach = 1, 1 << (self.half_magnitude + 1 + self.unit_magnitude)
        while reach <= self.highest:
            octaves, reach = octaves + 1, reach << 1
        length: int = (octaves + 1) << self.half_magnitude
        return length

    def index(self, value: int) -> int:
        """The bucket of ``value``; at or beyond :attr:`length` it is out of range."""
        octave = max(0, value.bit_length() - self.half_magnitude - 1 - self.unit_magnitude)
        return (octave << self.half_magnitude) + (value >> (octave + self.unit_magnitude))

    @property
    def bounds(self) -> tuple[Ints, Ints]:
        """The lowest and the highest value of each bucket, two arrays of :attr:`length`; do not write to them."""
        return _bounds(self)


@lru_cache(maxsize=8)
def _bounds(geometry: Geometry) -> tuple[Ints, Ints]:
    index = np.arange(geometry.length, dtype=np.int64)
    half = 1 << geometry.half_magnitude
    octave = np.maximum((index >> geometry.half_magnitude) - 1, 0)
    place = np.where(index < half, index, (index & (half - 1)) + half)
    shift = octave + geometry.unit_magnitude
    low = place << shift
    high = low + (np.int64(1) << shift) - 1
    low.setflags(write=False)
    high.setflags(write=False)
    return low, high


#: The one geometry of the probes: 1 ns to 10 s at 2 digits, 29 KB of counters (3 digits would not fit an L1D cache).
GEOMETRY = Geometry(lowest=1, highest=10_000_000_000, digits=2)


@dataclass(frozen=True, eq=False)
class Counts:
    """A histogram: the count of each bucket (``int64``, shape ``(geometry.length,)``)."""

    geometry: Geometry
    counts: Ints

    @cached_property
    def total(self) -> int:
        return int(self.counts.sum())

    @cached_property
    def cumulative(self) -> Ints:
        result: Ints = np.cumsum(self.counts)
        return result

    def value_at(self, quantile: Fraction, exact_max: int | None = None) -> int | None:
        """The smallest value that at least ``quantile`` (0..1) of all values do not exceed; ``None`` when empty.

        As usual with HDR histograms it is the top of its bucket, but never above the ``exact_max`` carried beside.
        """
        if self.total == 0:
            return None
        rank = max(1, -(-quantile.numerator * self.total // quantile.denominator))
        value = int(self.geometry.bounds[1][int(np.searchsorted(self.cumulative, rank))])
        return value if exact_max is None else min(value, exact_max)

    def quantiles(self, exact_max: int | None = None) -> dict[str, int | None]:
        """:data:`QUANTILES` by name."""
        return {name: self.value_at(fraction(name), exact_max) for name in QUANTILES}


def fraction(name: str) -> Fraction:
    """``"p99.9"`` as an exact fraction (999/1000); ``ValueError`` when it is no percentile."""
    if not name.startswith("p"):
        raise ValueError(f"not a percentile: {name!r}")
    value = Fraction(name[1:]) / 100
    if not 0 <= value <= 1:
        raise ValueError(f"not a percentile: {name!r}")
    return value


def decode(payload: bytes) -> Counts:
    """The counts of one payload. Raises :class:`HistogramError`."""
    geometry, body = _split(payload)
    return Counts(geometry, _sum_bodies(geometry, [body]))


def merge(payloads: Iterable[bytes]) -> Counts:
    """The sum of many payloads, all of one geometry; of none, an empty histogram of :data:`GEOMETRY`.

    Streams: what is held at a time is bounded. Raises :class:`HistogramError`.
    """
    geometry: Geometry | None = None
    total: Ints | None = None
    # Once something as large was freed, glibc keeps that much. Else it would give the scratch memory of each batch
    # back to the kernel, and faulting its pages in again takes as long as the decoding.
    np.empty(_SCRATCH_BYTES, dtype=np.uint8)
    for batch in _batches(payloads):
        bodies = []
        for payload in batch:
            own, body = _split(payload)
            if geometry is None:
                geometry = own
            elif own != geometry:
                raise HistogramError(f"histograms of two geometries cannot be merged: {geometry} and {own}")
            bodies.append(body)
        assert geometry is not None
        part = _sum_bodies(geometry, bodies)
        total = part if total is None else total + part
        if int(total.min()) < 0:
            raise HistogramError("histogram has a count beyond 64 bits")
    if geometry is None or total is None:
        return Counts(GEOMETRY, np.zeros(GEOMETRY.length, dtype=np.int64))
    return Counts(geometry, total)


def _batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for payload in payloads:
        batch.append(payload)
        size += len(payload)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split(payload: bytes) -> tuple[Geometry, bytes]:
    if len(payload) < _HEADER.size:
        raise HistogramError(f"histogram of {len(payload)} bytes is shorter than its header")
    cookie, length, offset, digits, lowest, highest, _ratio = _HEADER.unpack_from(payload)
    if cookie & ~0xF0 != _PAYLOAD_COOKIE:
        raise HistogramError(f"histogram has cookie {cookie & 0xFFFFFFFF:#x}: not the V2 encoding")
    if offset != 0:
        raise HistogramError("histogram has a normalising offset: not supported")
    body = payload[_HEADER.size :]
    if length != len(body):
        raise HistogramError(f"histogram should have {length} bytes of counts and has {len(body)}")
    return _geometry(lowest, highest, digits), body


@lru_cache(maxsize=64)
def _geometry(lowest: int, highest: int, digits: int) -> Geometry:
    return Geometry(lowest, highest, digits)  # cached: a merge of thousands asks for the same one each time


def _sum_bodies(geometry: Geometry, bodies: Sequence[bytes]) -> Ints:
    """The counts of all ``bodies`` added up.

    Byte by byte over one array, without looking for where words begin: nearly all words are one byte, which steps to
    the next bucket with a count (even) or over a run of empty ones (odd). The bytes that a longer word goes on in step
    nowhere; what it says is put at its last byte.
    """
    bodies = [body for body in bodies if body]
    if not bodies:
        return np.zeros(geometry.length, dtype=np.int64)
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    if any(body[-1] >= 0x80 for body in bodies) or int(lengths.max()) > 9 * geometry.length:
        return _sum_slowly(geometry, bodies)
    data = np.frombuffer(b"".join(bodies), dtype=np.uint8)
    goes_on = data >= 0x80
    odd, half = data & 1, data >> 1
    steps = ((half * odd + 1) * ~goes_on).astype(np.int64)
    values = (half * (odd ^ 1) * ~goes_on).astype(np.float64)
    ends, raw = _long_words(data, goes_on)
    if int(raw.max(initial=0)) >= 1 << _EXACT_BITS:
        return _sum_slowly(geometry, bodies)
    negative = (raw & 1).astype(bool)
    steps[ends] = np.where(negative, (raw >> 1) + 1, 1)
    values[ends] = np.where(negative, 0, raw >> 1)
    if int(steps.max()) > geometry.length:
        raise HistogramError("histogram has counts beyond its last bucket")
    starts = np.cumsum(lengths) - lengths
    reached = np.add.reduceat(steps, starts)
    if int(reached.max()) > geometry.length:
        raise HistogramError("histogram has counts beyond its last bucket")
    steps[starts[1:]] -= reached[:-1]  # each body begins again at bucket 0
    counts = np.bincount(np.cumsum(steps), values, geometry.length + 1)[1:]
    if counts.max() >= 1 << _EXACT_BITS:  # below that a sum of whole numbers in floating point is exact
        return _sum_slowly(geometry, bodies)
    return counts.astype(np.int64)


def _long_words(data: NDArray[np.uint8], goes_on: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Of the words of more than one byte the place of the last byte, and the word as it stands there, zigzag and all.

    One that is too long to be exact, or to be a word, comes out beyond ``_EXACT_BITS``.
    """
    ends: Ints = np.flatnonzero(goes_on[:-1] > goes_on[1:]) + 1
    raw = data[ends].astype(np.int64)
    words, at = np.arange(len(ends)), ends - 1
    for _ in range(8):  # from the last byte to the first: each round looks at the words that have one more
        raw[words] = np.minimum(raw[words], 1 << _EXACT_BITS) << 7 | (data[at] & 0x7F)
        at = at - 1  # before the first of all: the last byte, which goes on nowhere
        longer = goes_on[at]
        words, at = words[longer], at[longer]
        if not len(words):
            break
    raw[words] = 1 << _EXACT_BITS  # nine bytes that go on: the last of nine has no mark
    return ends, raw


def _sum_slowly(geometry: Geometry, bodies: Sequence[bytes]) -> Ints:
    """The same word by word, for counts of 2^55 and more, and to say what is wrong with damaged ones."""
    counts = np.zeros(geometry.length, dtype=np.int64)
    for body in bodies:
        index = at = 0
        while at < len(body):
            raw = shift = 0
            while True:
                if at >= len(body):
                    raise HistogramError("histogram ends in the middle of a count")
                byte = body[at]
                at += 1
                if shift == 56:
                    raw |= byte << shift
                    break
                raw |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
            word = (raw >> 1) ^ -(raw & 1)
            index += -word if word < 0 else 1
            if index > geometry.length:
                raise HistogramError("histogram has counts beyond its last bucket")
            if word > 0:
                total = int(counts[index - 1]) + word
                if total >= 1 << 63:
                    raise HistogramError("histogram has a count beyond 64 bits")
                counts[index - 1] = total
    return counts


def encode(histogram: Counts) -> bytes:
    """The payload of ``histogram``: trailing empty buckets left out, as every implementation does."""
    body = bytearray()
    empty = 0
    for count in np.trim_zeros(histogram.counts, "b").tolist():
        if count == 0:
            empty += 1
            continue
        if empty:
            body += _word(-empty if empty > 1 else 0)
            empty = 0
        body += _word(count)
    geometry = histogram.geometry
    header = _HEADER.pack(
        _PAYLOAD_COOKIE | _WORD_SIZE, len(body), 0, geometry.digits, geometry.lowest, geometry.highest, 1.0
    )
    return header + bytes(body)


def _word(value: int) -> bytes:
    raw = (value << 1) ^ (value >> 63)
    word = bytearray()
    while raw >= 0x80 and len(word) < 8:
        word.append(raw & 0x7F | 0x80)
        raw >>= 7
    word.append(raw)
    return bytes(word)


def to_blob(payload: bytes) -> str:
    """The compressed form in base64, as a histogram log holds it (``HISTF…``)."""
    packed = zlib.compress(payload, 9)
    return base64.b64encode(_WRAPPER.pack(_BLOB_COOKIE | _WORD_SIZE, len(packed)) + packed).decode("ascii")


def from_blob(blob: str) -> bytes:
    """The payload in ``blob``. Raises :class:`HistogramError`; never unpacks more than the largest histogram."""
    try:
        raw = binascii.a2b_base64(blob, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise HistogramError(f"histogram is not base64: {error}") from error
    if len(raw) < _WRAPPER.size:
        raise HistogramError("histogram is cut short")
    cookie, length = _WRAPPER.unpack_from(raw)
    if cookie & ~0xF0 != _BLOB_COOKIE:
        raise HistogramError(f"histogram has cookie {cookie & 0xFFFFFFFF:#x}: not the compressed V2 encoding")
    if length != len(raw) - _WRAPPER.size:
        raise HistogramError(f"histogram should have {length} bytes and has {len(raw) - _WRAPPER.size}")
    unpack = zlib.decompressobj()
    try:
        payload = unpack.decompress(raw[_WRAPPER.size :], _HEADER.size + 9 * _MAX_LENGTH)
    except zlib.error as error:
        raise HistogramError(f"histogram cannot be unpacked: {error}") from error
    if not unpack.eof:
        raise HistogramError("histogram is cut short or larger than any histogram")
    return payload
