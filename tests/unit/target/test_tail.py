# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.target.tail import Tail
from harness.target.transport import Completed


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_the_last_bytes_stay(parts: list[bytes], limit: int) -> None:
    tail = Tail(limit)
    for part in parts:
        tail.add(part)
    assert tail.text() == b"".join(parts)[-limit:].decode("utf-8", "replace")


def test_last_words() -> None:
    assert Completed(1, b"out\n", b"warning\nerror\n\n").last_words() == "error"
    assert Completed(1, b"out\n", b" \n").last_words() == "out"
    assert Completed(3, b"", b"").last_words() == "exit status 3, and not a word"
