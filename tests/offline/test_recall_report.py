"""What is said of the figures."""

import numpy as np
import pytest

from offline.recall_report import over_best


def test_the_merge_is_compared_with_the_best_heuristic_query_by_query() -> None:
    generator = np.random.default_rng(1)
    theirs = generator.random(400)
    reader = np.repeat(np.arange(200), 2)
    found = over_best(1.1 * theirs, {"weak": theirs / 2, "strong": theirs}, reader)
    assert found == {"heuristic": "strong", "ratio": 1.1, "ratio_ci95": [1.1, 1.1]}


def test_the_interval_of_the_ratio_is_that_of_whole_readers() -> None:
    """Queries repeated within a reader say nothing more; independent ones do."""
    generator = np.random.default_rng(2)
    ours, theirs = generator.random(100), generator.random(100)
    once = over_best(ours, {"one": theirs}, np.arange(100))
    repeated = over_best(np.repeat(ours, 9), {"one": np.repeat(theirs, 9)}, np.repeat(np.arange(100), 9))
    apart = over_best(np.repeat(ours, 9), {"one": np.repeat(theirs, 9)}, np.arange(900))
    low, high = once["ratio_ci95"]
    assert low < once["ratio"] < high
    assert repeated == once
    assert apart["ratio_ci95"][1] - apart["ratio_ci95"][0] == pytest.approx((high - low) / 3, rel=0.25)
