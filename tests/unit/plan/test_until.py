# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from harness.plan import next_time

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("now", "until", "then"),
    [
        ((2026, 11, 20, 22, 0), "06:30", (2026, 11, 21, 6, 30)),
        ((2026, 11, 20, 2, 0), "06:30", (2026, 11, 20, 6, 30)),
        ((2026, 11, 20, 6, 30), "06:30", (2026, 11, 21, 6, 30)),
        ((2026, 12, 31, 23, 0), "22:30:15", (2027, 1, 1, 22, 30, 15)),
        ((2026, 10, 24, 22, 0), "06:30", (2026, 10, 25, 6, 30)),  # the night with an hour more
        ((2026, 3, 28, 22, 0), "06:30", (2026, 3, 29, 6, 30)),  # the night with an hour less
    ],
)
def test_the_next_time(now: tuple[int, ...], until: str, then: tuple[int, ...]) -> None:
    at = datetime(*now, tzinfo=BERLIN).timestamp()  # type: ignore[misc,arg-type]
    assert next_time(until, at) == datetime(*then, tzinfo=BERLIN).timestamp()  # type: ignore[misc,arg-type]
