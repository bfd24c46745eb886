# SPDX-License-Identifier: Apache-2.0
"""``until: "06:30"``: the next time the clock on the wall shows that."""

from __future__ import annotations

import time


def next_time(until: str, now_s: float) -> float:
    """The first moment after ``now_s`` that is ``until`` (``HH:MM`` or ``HH:MM:SS``) in the controller's time zone.

    Both are seconds since the epoch. A change of daylight saving time between the two is taken into account.
    """
    hour, minute, second = (*map(int, until.split(":")), 0)[:3]
    today = time.localtime(now_s)
    for days in (0, 1):
        # mktime sorts out the 32nd of a month, and with -1 whether daylight saving time holds then
        at = time.mktime((today.tm_year, today.tm_mon, today.tm_mday + days, hour, minute, second, 0, 0, -1))
        if at > now_s:
            return at
    raise AssertionError("tomorrow is later than now")
