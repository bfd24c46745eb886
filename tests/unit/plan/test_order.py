# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from harness.agent.spec import LoadSpec, ModeSpec
from harness.plan import Cell, estimate, format_seconds, order


def cell(name: str, target: str = "t") -> Cell:
    return Cell(name, target, "b", {}, ModeSpec("shared"), LoadSpec("idle"), 500_000_000, 1_400_000_000)


CELLS = st.integers(1, 12).map(lambda count: [cell(f"c{number}") for number in range(count)])


@given(CELLS, st.integers(1, 6), st.integers(1, 4), st.text(max_size=5))
def test_every_session_has_every_cell_repeat_times(cells: list[Cell], repeat: int, sessions: int, seed: str) -> None:
    found = order(cells, repeat, sessions, seed)
    assert [session.index for session in found] == list(range(1, sessions + 1))
    seen: Counter[tuple[str, int]] = Counter()
    for session in found:
        assert Counter(each.id for each, _ in session.runs) == {each.id: repeat for each in cells}
        rounds = [session.runs[at : at + len(cells)] for at in range(0, len(session.runs), len(cells))]
        assert all(len({each.id for each, _ in one}) == len(cells) for one in rounds)
        seen.update((each.id, number) for each, number in session.runs)
    assert seen == {(each.id, number): 1 for each in cells for number in range(1, repeat * sessions + 1)}


@given(CELLS, st.integers(1, 6), st.integers(1, 4), st.text(max_size=5))
def test_linear_drift_adds_the_same_to_every_cell(cells: list[Cell], repeat: int, sessions: int, seed: str) -> None:
    if repeat * sessions % 2:
        repeat += 1
    runs = [run for session in order(cells, repeat, sessions, seed) for run in session.runs]
    total: defaultdict[str, int] = defaultdict(int)
    for position, (each, _) in enumerate(runs):
        total[each.id] += position
    assert len(set(total.values())) == 1


def test_the_seed_decides_and_nothing_else() -> None:
    cells = [cell(f"c{number}") for number in range(8)]
    first = order(cells, 4, 2, "20261120T010000Z")
    assert order(list(reversed(cells)), 4, 2, "20261120T010000Z") == first
    assert order(cells, 4, 2, "20261120T010001Z") != first
    assert [each.id for each, _ in first[0].runs[:8]] != [each.id for each in cells]
    assert [each.id for each, _ in first[0].runs[:8]] != [each.id for each, _ in first[0].runs[16:24]]


def test_a_rest_keeps_its_order() -> None:
    cells = [cell(f"c{number}") for number in range(8)]
    whole = [run for run in order(cells, 2, 1, "s")[0].runs if run[0] in cells[3:]]
    assert list(order(cells[3:], 2, 1, "s")[0].runs) == whole


def test_the_time_is_that_of_the_longest_lane() -> None:
    found = estimate([cell("a", "x"), cell("b", "x"), cell("c", "y")], 3, 2)
    assert found.lanes["x"].runs == 12
    assert found.lanes["x"].seconds == 3.0 + 12 * 2.0
    assert found.lanes["y"].seconds == 3.0 + 6 * 2.0
    assert (found.runs, found.seconds, str(found)) == (18, 27.0, "27 s")
    assert estimate([], 1, 1).seconds == 0.0


def test_seconds_for_people() -> None:
    texts = [format_seconds(s) for s in (0, 59.6, 130, 3900, 93600)]
    assert texts == ["0 s", "1 min 00 s", "2 min 10 s", "1 h 05 min", "1 d 02 h"]
