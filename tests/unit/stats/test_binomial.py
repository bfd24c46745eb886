# SPDX-License-Identifier: Apache-2.0
"""Bounds of shares: against closed forms, published numbers, the definition term by term, and what they promise."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.binomial import at_least, at_most, trials_needed


def few_or_less(most, of, share):
    """P(X <= most), exact, of ``of`` trials of ``share``."""
    p = Fraction(share)
    return float(sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(most + 1)))


def test_the_numbers_of_the_bar():
    assert at_least(299, 299) >= 0.99 > at_least(298, 298)
    assert at_least(472, 473) >= 0.99 > at_least(471, 472)
    assert [trials_needed(0.99, missed) for missed in range(4)] == [299, 473, 628, 773]
    assert trials_needed(0.999) == 2995


# scipy.stats.beta.ppf(0.05, count, of - count + 1), scipy 1.17
@pytest.mark.parametrize(
    ("count", "of", "bound"),
    [(1, 1, 0.05), (1, 10, 0.005116196891823701), (5, 10, 0.2224411010081294), (9, 10, 0.6058366975634952),
     (990, 1000, 0.9830968248794375), (1198, 1198, 0.9975025126771485), (471, 473, 0.9867499676944375),
     (99_990, 100_000, 0.9998303837123736)],
)  # fmt: skip
def test_the_same_as_scipy(count, of, bound):
    assert at_least(count, of) == pytest.approx(bound, rel=1e-9)


def test_nothing_seen_says_nothing():
    assert at_least(0, 0) == at_least(0, 1000) == 0
    assert at_most(0, 0) == at_most(7, 7) == 1
    for wrong in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError):
            at_least(*wrong)
    with pytest.raises(ValueError):
        trials_needed(1.0)


@settings(max_examples=40)
@given(st.integers(1, 150), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_bound_by_its_definition(of, data, confidence):
    """As good a result comes as often as was asked for, no oftener."""
    count = data.draw(st.integers(1, of))
    bound = at_least(count, of, confidence)
    assert few_or_less(of - count, of, 1 - bound) == pytest.approx(1 - confidence, rel=1e-7)


@given(st.integers(1, 100_000), st.data())
def test_more_found_is_a_higher_bound_and_more_trials_a_closer_one(of, data):
    count = data.draw(st.integers(0, of - 1))
    assert at_least(count, of) < at_least(count + 1, of) <= 1
    assert at_least(count, of) <= count / of <= at_most(count, of)
    assert at_least(of, of) < at_least(of + 1, of + 1)
    assert at_most(count, of) == 1 - at_least(of - count, of)


@settings(max_examples=40)
@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_it_is_wrong_five_times_in_a_hundred_at_most(of, share):
    """Coverage, summed over all that can come: how often the bound lies above the truth."""
    wrong = [count for count in range(of + 1) if at_least(count, of) > share]
    often = math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in wrong)
    assert often <= 0.05 + 1e-9


def test_large_numbers_are_near_the_normal():
    assert at_least(990_000, 1_000_000) == pytest.approx(0.99 - 1.6449 * math.sqrt(0.99 * 0.01 / 1e6), abs=2e-6)
