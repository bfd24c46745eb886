# SPDX-License-Identifier: Apache-2.0
"""The codec of the wire: whatever is encoded comes out again, however it was cut; whatever is not, is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import frames
from harness.agent.frames import MAGIC, Decoder, Frame, FrameError, encode

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
heads = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in ("t", "size")), plain, max_size=5)
frame_lists = st.lists(st.tuples(st.text(max_size=10), heads, st.binary(max_size=200)), max_size=5)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(frame_lists, st.lists(st.integers(0, 10**6), max_size=20))
def test_any_frames_cut_anywhere_come_out_whole(wanted: list[Any], places: list[int]) -> None:
    data = b"".join(encode({**head, "t": kind}, body) for kind, head, body in wanted)
    decoder = Decoder()
    got = [frame for piece in cut(data, places) for frame in decoder.feed(piece)]
    assert got == [Frame({**head, "t": kind}, body) for kind, head, body in wanted]
    assert not decoder.pending


@given(st.binary(max_size=300).filter(lambda junk: MAGIC not in junk), st.lists(st.integers(0, 10**6), max_size=20))
def test_what_a_login_shell_prints_before_the_magic_is_thrown_away(junk: bytes, places: list[int]) -> None:
    data = junk + MAGIC + encode({"t": "welcome"}, b"\nISOLBENCH/1\n")
    decoder = Decoder(seek_magic=True)
    got = [frame for piece in cut(data, places) for frame in decoder.feed(piece)]
    assert got == [Frame({"t": "welcome"}, b"\nISOLBENCH/1\n")]
    assert decoder.junk == junk[-4096:]
    assert not decoder.seeking


def test_no_magic_within_the_limit_is_an_error() -> None:
    decoder = Decoder(seek_magic=True)
    for _ in range(frames.MAX_JUNK // 65536):
        assert decoder.feed(b"x" * 65536) == []
    with pytest.raises(FrameError, match="no agent"):
        decoder.feed(b"x" * 65536)
    assert decoder.junk == b"x" * 4096


@given(st.binary(min_size=1, max_size=200))
def test_garbage_raises_nothing_but_frame_error(garbage: bytes) -> None:
    decoder = Decoder()
    try:
        decoder.feed(garbage)
    except FrameError:
        with pytest.raises(FrameError):  # and stays refused, whatever comes
            decoder.feed(encode({"t": "ok"}))


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b"{}\n",
        b'{"t":1}\n',
        b'{"t":"x","size":-1}\n',
        b'{"t":"x","size":true}\n',
        b'{"t":"x","size":1.5}\n',
        b'{"t":"x","size":"7"}\n',
        b'{"t":"x","size":67108865}\n',
        b'{"t":"x","n":NaN}\n',
        b'{"t":"x"\n',
        b'{"t":"\xff"}\n',
        b"[" * 100_000 + b"\n",
        b"\n",
    ],
)
def test_a_line_that_is_no_frame(line: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder().feed(line)


def test_a_line_without_end_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_LINE", 1000)
    decoder = Decoder()
    assert decoder.feed(b"x" * 999) == []
    with pytest.raises(FrameError, match="over 1000 bytes"):
        decoder.feed(b"x")


@pytest.mark.parametrize(
    ("head", "body"),
    [({}, b""), ({"t": 1}, b""), ({"t": "x", "n": float("nan")}, b""), ({"t": "x", "o": object()}, b"")],
)
def test_what_cannot_be_encoded(head: dict[str, Any], body: bytes) -> None:
    with pytest.raises(FrameError):
        encode(head, body)


def test_limits_hold_when_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_LINE", 100)
    monkeypatch.setattr(frames, "MAX_BODY", 10)
    with pytest.raises(FrameError, match="line of"):
        encode({"t": "x", "text": "y" * 100})
    with pytest.raises(FrameError, match="body of 11"):
        encode({"t": "x"}, bytes(11))


def test_size_is_the_bodys_and_nobody_elses() -> None:
    line, _, body = encode({"t": "x", "size": 99}, b"abc").partition(b"\n")
    assert json.loads(line) == {"t": "x", "size": 3}
    assert body == b"abc"
    assert b"size" not in encode({"t": "x", "size": 99})


def test_pending_tells_a_broken_end_from_a_clean_one() -> None:
    decoder = Decoder()
    decoder.feed(encode({"t": "x"}, b"abc")[:-1])
    assert decoder.pending
    decoder.feed(b"c")
    assert not decoder.pending
