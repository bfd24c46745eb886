# SPDX-License-Identifier: Apache-2.0
"""The lines of the live progress: rate, time left, failures; never wider than the terminal, whatever its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.cli.pace import ASCII_BAR, Pace, clock, lines, rate


def pace(name: str = "nuc", planned: int = 10, **more: object) -> Pace:
    return Pace(name, planned, 2.0, **more)  # type: ignore[arg-type]


def text(*paces: Pace, now: float = 0.0, width: int = 80, height: int = 24) -> list[str]:
    return [each.plain.rstrip() for each in lines(paces, now, width, height, ASCII_BAR)]


def test_before_a_run_is_finished_the_plan_says_how_long() -> None:
    lane = pace()
    assert (lane.per_minute, lane.left_s(100.0)) == (None, None)
    lane.begin(100.0)
    assert lane.left_s(100.0) == 20
    assert lane.left_s(103.0) == 17


def test_afterwards_what_was_seen_says_it() -> None:
    lane = pace()
    lane.begin(100.0)
    for now in (104.0, 108.0):
        lane.finish_run(now, failed=False)
    assert lane.per_minute == 15
    assert lane.left_s(108.0) == 8 * 4
    assert lane.left_s(110.0) == 8 * 4 - 2
    assert lane.left_s(1000.0) == 0


def test_what_a_resumed_lane_had_before_is_not_its_rate() -> None:
    lane = pace(done=5)
    lane.begin(0.0)
    lane.finish_run(3.0, failed=False)
    assert (lane.done, lane.per_minute) == (6, 20)


def test_a_failed_run_takes_time_and_brings_the_end_no_nearer() -> None:
    lane = pace()
    lane.begin(0.0)
    lane.finish_run(2.0, failed=False)
    lane.finish_run(4.0, failed=True)
    assert (lane.done, lane.failed, lane.per_minute) == (1, 1, 15)
    assert lane.left_s(4.0) == 9 * 4


@pytest.mark.parametrize("state", ["done", "failed"])
def test_what_is_over_takes_no_more_time(state: str) -> None:
    lane = pace()
    lane.begin(0.0)
    lane.state = state
    assert lane.left_s(1.0) is None


def test_numbers_as_people_read_them() -> None:
    assert [clock(seconds) for seconds in (0.4, 9, 61, 3723)] == ["0:00", "0:09", "1:01", "1:02:03"]
    assert [rate(each) for each in (None, 0.84, 9.94, 9.96, 120)] == ["", "0.8/min", "9.9/min", "10/min", "120/min"]


def test_a_line_says_it_all() -> None:
    lane = pace(doing="pinned/idle 2/3", state="measuring")
    lane.begin(0.0)
    for now, failed in ((3.0, False), (6.0, True)):
        lane.finish_run(now, failed=failed)
    (line,) = text(lane, now=6.0)
    assert line == "nuc #............  1/10  10/min  0:54 left  1 failed  pinned/idle 2/3"


def test_several_lanes_have_a_line_for_all() -> None:
    slow, quick = pace("slow", 4), pace("a-quicker-one", 100)
    for lane, each_s in ((slow, 30.0), (quick, 0.5)):
        lane.begin(0.0)
        lane.state, lane.doing = "measuring", "gap"
        lane.finish_run(each_s, failed=False)
    found = text(slow, quick, now=30.0)
    assert len(found) == 3
    assert found[2].startswith("all ")
    assert "  2/104  122/min  1:30 left" in found[2]
    assert len({line.index("/min") for line in found}) == 1  # one column


def test_of_more_lanes_than_lines_those_at_work_are_shown() -> None:
    lanes = [pace(f"n{n:02}", state="measuring" if n in (7, 30) else "done") for n in range(48)]
    found = text(*lanes, height=8)
    assert len(found) == 6
    assert {line.split()[0] for line in found} >= {"n07", "n30", "all"}
    assert found[-1].endswith("43 more lanes")


states = st.sampled_from(["waiting", "measuring", "done", "failed"])
lanes = st.builds(
    pace, st.text(min_size=1, max_size=40).filter(str.isprintable), st.integers(0, 10**6), done=st.integers(0, 10**6),
    failed=st.integers(0, 10**4), state=states, doing=st.text(max_size=200).filter(str.isprintable),
    began_s=st.none() | st.floats(0, 1e6),
)  # fmt: skip


@given(st.lists(lanes, min_size=1, max_size=60), st.integers(10, 200), st.integers(1, 60))
def test_it_fits_whatever_the_terminals_size(paces: list[Pace], width: int, height: int) -> None:
    found = lines(paces, 2e6, width, height)
    assert max(cell_len(line.plain) for line in found) <= width
    assert len(found) <= max(height, 3)
