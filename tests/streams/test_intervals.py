"""Confidence intervals against scipy and against simulated data."""

import random

import pytest
from scipy import stats

from streams.intervals import chi_square_bound, mean_interval, rate_interval, share_interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 1000)])
def test_share_is_wilsons(hits, trials):
    want = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert share_interval(hits, trials) == pytest.approx((want.low, want.high), abs=1e-9)


def test_share_of_nothing_and_of_more_than_all():
    assert share_interval(0, 0) is None
    assert share_interval(3, 2) is None


@pytest.mark.parametrize("count", [0, 1, 5, 40, 1_000])
def test_rate_is_close_to_the_exact_poisson_interval(count):
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = stats.chi2.ppf(0.975, 2 * count + 2) / 2
    found = rate_interval(count, 10)
    assert found is not None
    assert found == pytest.approx((low / 10, high / 10), abs=0.02)
    assert rate_interval(count, 0) is None


def test_mean_covers_the_truth_about_95_times_in_100():
    rng = random.Random(4)
    covered = 0
    for _ in range(400):
        values = [rng.expovariate(0.1) for _ in range(200)]
        interval = mean_interval(len(values), sum(values), sum(value * value for value in values))
        assert interval is not None
        covered += interval[0] <= 10 <= interval[1]
    assert 360 <= covered <= 395


def test_mean_needs_two_and_is_never_negative():
    assert mean_interval(1, 5, 25) is None
    assert mean_interval(2, 0, 0) == (0.0, 0.0)
    interval = mean_interval(3, 3, 9)
    assert interval is not None
    assert interval[0] == 0.0


@pytest.mark.parametrize("freedom", [5, 9, 10])
def test_chi_square_bound(freedom):
    assert chi_square_bound(freedom) == pytest.approx(stats.chi2.ppf(0.999, freedom), rel=0.02)
