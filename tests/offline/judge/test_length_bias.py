"""Whether verdicts follow length: found where it was put in, not where there is none."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from offline.judge.length_bias import length_bias

DRAW = np.random.default_rng(3)
MORE = DRAW.integers(-5, 6, 300)


def test_a_judge_that_likes_length() -> None:
    points = np.clip(np.round(0.4 * MORE + DRAW.normal(0, 0.5, 300)), -2, 2)
    found = length_bias([(float(point), int(more), 10 * int(more)) for point, more in zip(points, MORE, strict=True)])
    assert found is not None
    assert found.tags.spearman is not None
    assert found.tags.spearman_ci95 is not None
    assert np.isclose(found.tags.spearman, spearmanr(points, MORE).statistic)
    assert 0.7 < found.tags.spearman_ci95[0] <= found.tags.spearman <= found.tags.spearman_ci95[1] < 1
    assert found.tags.slope is not None
    assert found.characters.slope is not None
    assert np.isclose(found.tags.slope, 10 * found.characters.slope)
    wins = [band.win for band in found.bands if band.win is not None]
    assert len(wins) == 5
    assert wins == sorted(wins)


def test_a_judge_that_does_not_care() -> None:
    found = length_bias([(float(DRAW.integers(-2, 3)), int(more), int(more)) for more in MORE])
    assert found is not None
    for interval in (found.tags.spearman_ci95, found.tags.slope_ci95):
        assert interval is not None
        assert interval[0] < 0 < interval[1]


rows = st.lists(st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 1.0]), st.integers(-9, 9), st.integers(-99, 99)), min_size=1, max_size=12)


@given(rows)
@settings(max_examples=20)
def test_what_holds_of_every_report(of: list[tuple[float, int, int]]) -> None:
    found = length_bias(of)
    assert found is not None
    assert sum(band.n for band in found.bands) == found.n == len(of)
    varies = len({points for points, _, _ in of}) > 1 and len({more for _, more, _ in of}) > 1
    assert (found.tags.spearman is not None) == varies
    turned = length_bias([(-points, -more, -characters) for points, more, characters in of])
    assert turned is not None
    assert [band.n for band in turned.bands] == [band.n for band in found.bands][::-1]


def test_nothing_says_nothing() -> None:
    assert length_bias([]) is None
