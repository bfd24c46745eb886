# SPDX-License-Identifier: Apache-2.0
"""Documents of machines under test are read with care."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.documents import LARGEST, at, is_number, mapping, objects, real, text, whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@given(JSON, st.lists(st.text(max_size=2) | st.integers(0, 3), max_size=3))
def test_whatever_is_said_nothing_breaks(value: object, path: list[str | int]) -> None:
    found = at(value, *path)
    assert all(mapping(each) is each for each in objects(found))
    assert whole(found) is None or 0 <= found < LARGEST
    assert text(found) is None or text(found) == found
    assert (real(found) is None) == (not is_number(found))


def test_what_lies_where() -> None:
    document = {"a": [{"b": 3}, 4], "c": "d"}
    assert at(document, "a", 0, "b") == 3
    assert [at(document, *path) for path in (("a", 2), ("a", "b"), ("c", 0), ("x", "y"))] == [None] * 4
    assert objects(document["a"]) == [{"b": 3}]


@pytest.mark.parametrize("value", [True, "1", None, [1], json.loads("9" * 400)])
def test_what_is_no_number(value: object) -> None:
    assert real(value) is None


def test_a_number_is_one() -> None:
    assert [real(each) for each in (0, -3, 2.5, LARGEST)] == [0.0, -3.0, 2.5, float(LARGEST)]
    assert [whole(each) for each in (0, 7, -1, 2.0, True, LARGEST)] == [0, 7, None, None, None, None]
