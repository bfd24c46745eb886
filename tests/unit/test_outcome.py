# SPDX-License-Identifier: Apache-2.0
"""Exit codes: measuring nothing is never 0, and the first match wins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.outcome import LaneOutcome, Outcome
from harness.stats.budgets import FAILED, NOT_JUDGED, PASSED, Verdict

OVER = Verdict("a", "gap", "fifo", "idle", "c-1", "gap_ns", "p99.99", "ns", 31_000, 20_000, 3, "valid", FAILED)
KEPT = replace(OVER, value=1_000, result=PASSED)
LEFT = replace(OVER, result=NOT_JUDGED, why="n too small")
GOOD = LaneOutcome("a", planned=10, finished=10, usable=10, valid=10)


@pytest.mark.parametrize(
    ("lanes", "extra", "code", "words"),
    [
        ((GOOD,), {}, 0, "10 of 10 runs finished: 10 valid"),
        ((replace(GOOD, usable=7, valid=3),), {}, 0, "10 of 10 runs finished: 3 valid, 4 suspect, 3 invalid"),
        ((replace(GOOD, usable=0),), {}, 4, "none of them is valid"),
        ((LaneOutcome("a", 0, 0, 0, unsupported=3),), {}, 4, "nothing could run"),
        ((GOOD, LaneOutcome("b", 0, 0, 0, unsupported=3)), {}, 0, "10 of 10"),
        ((GOOD, LaneOutcome("b", 10, 0, 0, failure="as a", fault="user")), {"quorum": 0.5}, 2, "cannot be right: b"),
        ((GOOD, LaneOutcome("b", 10, 0, 0, failure="as a", fault="user")), {"budgets": (OVER,)}, 2, "10 of 20"),
        ((GOOD, LaneOutcome("b", 10, 0, 0, failure="as a", fault="user")), {"signum": 2}, 130, "interrupted"),
        ((LaneOutcome("a", 10, 0, 0, failure="no route", fault="infrastructure"),), {}, 3, "below the quorum"),
        ((LaneOutcome("a", 0, 0, 0, failure="no route", fault="infrastructure"),), {}, 3, "below the quorum"),
        ((GOOD, replace(GOOD, target="b", finished=8, usable=8, failed=2)), {}, 3, "18 of 20"),
        ((GOOD, replace(GOOD, target="b", finished=8, usable=8, failed=2)), {"quorum": 0.9}, 0, "18 of 20"),
        ((replace(GOOD, finished=4, usable=4, stopped="until 06:30"),), {}, 5, "until 06:30"),
        ((replace(GOOD, finished=0, usable=0, stopped="until 06:30"),), {}, 5, "0 of 10"),
        ((replace(GOOD, finished=4, usable=4, stopped="interrupted"),), {"signum": 2}, 130, "interrupted"),
        ((replace(GOOD, finished=4, usable=4, stopped="interrupted"),), {"signum": 15}, 143, "interrupted"),
        (
            (GOOD, LaneOutcome("b", 9, 0, 0, failure="host key", fault="infrastructure", lasting=True)),
            {},
            3,
            "; resume continues once that is corrected: b",
        ),
        ((GOOD,), {"budgets": (OVER, OVER)}, 1, "; 2 budget checks failed"),
        ((GOOD,), {"budgets": (KEPT,)}, 0, "; 1 budget check passed"),
        ((GOOD,), {"budgets": (KEPT, LEFT)}, 0, "; 1 of 2 budget checks not judged"),
        ((GOOD,), {"budgets": (OVER, LEFT)}, 1, "; 1 of 2 budget checks failed, 1 not judged"),
        ((GOOD,), {"budgets": (LEFT,)}, 4, "no budget could be judged; 1 budget check not judged"),
        ((replace(GOOD, usable=0),), {"budgets": (LEFT,)}, 4, "none of them is valid"),
        ((replace(GOOD, finished=0, usable=0, failure="x"),), {"signum": 2}, 130, "interrupted"),
    ],
)
def test_exit_code(lanes: tuple[LaneOutcome, ...], extra: dict[str, object], code: int, words: str) -> None:
    outcome = Outcome(lanes, **{"quorum": 1.0, **extra})  # type: ignore[arg-type]
    assert outcome.exit_code == code
    assert words in outcome.sentence


def test_what_is_more_than_its_runs_is_not_resumed() -> None:
    """The diagnosis of doctor, and a sensitivity, are made where they are measured."""
    for outcome in (Outcome((GOOD,), 1.0, signum=2), Outcome((replace(GOOD, finished=0, failure="x"),), 1.0)):
        assert "resume continues" in outcome.sentence
        again = replace(outcome, once=True)
        assert "resume continues" not in again.sentence
        assert "run it again" in again.sentence
        assert again.exit_code == outcome.exit_code


def test_it_is_not_said_to_be_put_back_what_was_not() -> None:
    left = replace(GOOD, target="b", left_booted="next quiet")
    said = Outcome((GOOD, left), 1.0, signum=2).sentence
    assert said.endswith("; NOT booted back: b (next quiet) (resume does, at its end); resume continues")
    both = Outcome((replace(GOOD, left_measuring=True), left), 1.0, signum=2).sentence
    assert "; NOT put back: a (isolbench restore --cancel a); NOT booted back: b" in both
    for sentence in (said, both):
        assert "were put back" not in sentence
    assert "; targets were put back; " in Outcome((GOOD,), 1.0, signum=2).sentence


@given(
    st.lists(
        st.builds(
            lambda planned, finished, usable, failed, failure, stopped: LaneOutcome(
                "t",
                planned,
                min(planned, finished),
                min(planned, finished, usable),
                failed,
                failure=failure,
                stopped=stopped,
            ),
            st.integers(0, 9),
            st.integers(0, 9),
            st.integers(0, 9),
            st.integers(0, 9),
            st.none() | st.just("broke"),
            st.none() | st.just("stop"),
        ),
        max_size=4,
    ),
    st.floats(0, 1),
)
def test_measuring_nothing_is_never_success(lanes: list[LaneOutcome], quorum: float) -> None:
    outcome = Outcome(tuple(lanes), quorum)
    if outcome.usable == 0:
        assert outcome.exit_code != 0
    if outcome.exit_code == 0:
        assert outcome.finished >= quorum * outcome.planned
