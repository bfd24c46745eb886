# SPDX-License-Identifier: Apache-2.0
"""Spreads over runs, sample sizes and bounds; the reference numbers are of scipy.stats 1.17 and of published tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.quantiles import QUANTILES, Spread, enough, rate_upper, samples_needed, spread


def test_spread_is_over_runs():
    assert spread([5, 1, 3]) == Spread(3, 1, 5, 3)
    assert spread([7, None]) == Spread(7, 7, 7, 1)
    assert spread([None]) is None


def test_a_median_is_a_value_that_a_run_had():
    """Not 15 ns of runs that had 10 and 20, on a clock that knows nothing between."""
    assert spread([4, 1, 2, 3]) == Spread(3, 1, 4, 4)
    assert spread([20, 10]) == Spread(20, 10, 20, 2)


def test_of_two_in_the_middle_the_worse_is_the_median():
    assert spread([20, 10], "lower").median == 20
    assert spread([20, 10], "higher").median == 10


@given(st.lists(st.integers(0, 10**10), min_size=1))
def test_a_median_lies_within_its_range_and_order_does_not_matter(values):
    found = spread(values)
    assert found is not None
    assert found.median in values
    assert found.low <= found.median <= found.high
    assert found == spread(sorted(values, reverse=True))


def test_samples_needed():
    assert [samples_needed(name) for name in QUANTILES] == [
        5, 29, 299, 2995, 29956, 299572, 2995731, 29957322,
    ]  # fmt: skip


@given(st.sampled_from(QUANTILES))
def test_samples_needed_is_the_smallest_that_will_do(name):
    level = 1 - float(name[1:]) / 100
    needed = samples_needed(name)
    miss = lambda n: math.exp(n * math.log1p(-level))  # noqa: E731 - all n samples below the quantile
    assert miss(needed) <= 0.05 + 1e-12 < miss(needed - 1) + 1e-9
    assert enough(name, needed)
    assert not enough(name, needed - 1)


def test_the_maximum_is_never_bounded():
    with pytest.raises(ValueError):
        samples_needed("p100")


# chi2.ppf(0.95, 2 * (k + 1)) / 2
POISSON = {0: 2.995732273554, 1: 4.743864518391, 2: 6.295793622112, 5: 10.513034908742, 10: 16.962219235722,
           100: 118.079272783096}  # fmt: skip


@pytest.mark.parametrize(("count", "mean"), POISSON.items())
def test_poisson_upper_bounds(count, mean):
    assert rate_upper(count, 1) == pytest.approx(mean, rel=1e-9)
    assert rate_upper(count, 4) == pytest.approx(mean / 4, rel=1e-9)


def test_no_event_is_three_over_the_time():
    assert rate_upper(0, 40) == pytest.approx(-math.log(0.05) / 40)


def test_nothing_observed_bounds_nothing():
    assert rate_upper(0, 0) == math.inf
    with pytest.raises(ValueError):
        rate_upper(-1, 1)


@given(st.integers(0, 400))
def test_the_poisson_bound_by_its_definition(count):
    """P(X <= count) at the bound is 5 %, summed term by term."""
    mean = rate_upper(count, 1)
    terms = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1)]
    assert math.fsum(terms) == pytest.approx(0.05, rel=1e-7)


def test_large_counts_are_near_the_normal():
    assert rate_upper(10**6, 1) == pytest.approx(10**6 + 1.6449 * 10**3 + 1.57, rel=1e-6)
