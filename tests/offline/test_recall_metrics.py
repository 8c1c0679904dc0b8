"""Figures of rankings worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from offline.recall_metrics import judge_scores, summarise


def test_recall_ndcg_and_hit_by_hand() -> None:
    scores = np.array([[9.0, 8.0, 7.0, 6.0], [1.0, 4.0, 2.0, 3.0]], np.float32)
    targets = sparse.csr_matrix(np.array([[1, 0, 1, 1], [1, 0, 0, 0]], np.float32))
    figures = judge_scores(scores, targets, 2)
    ideal = 1 + 1 / np.log2(3)
    assert figures[0] == pytest.approx([1 / 3, 1 / ideal, 1.0])
    assert figures[1].tolist() == [0.0, 0.0, 0.0]


def test_ties_keep_their_order_and_what_is_no_number_sinks() -> None:
    scores = np.array([[0.0, 0.0, np.nan, 0.0]], np.float32)
    for place, found in enumerate((1.0, 1.0, 0.0, 0.0)):
        targets = sparse.csr_matrix((np.ones(1), ([0], [place])), shape=(1, 4))
        assert judge_scores(scores, targets, 2)[0, 0] == found


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 10**6))
def test_figures_stay_in_bounds_and_recall_grows_with_k(candidates: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.random((3, candidates), np.float32)
    wanted = generator.random((3, candidates)) < 0.3
    wanted[:, 0] = True
    targets = sparse.csr_matrix(wanted.astype(np.float32))
    figures, wider = judge_scores(scores, targets, k), judge_scores(scores, targets, k + 1)
    assert ((figures >= 0) & (figures <= 1 + 1e-12)).all()
    assert (wider[:, 0] >= figures[:, 0]).all()
    if k >= candidates:
        assert (figures[:, 0] == 1).all()


def test_interval_draws_whole_readers() -> None:
    figures = np.repeat(np.array([[1.0], [0.0]]), 50, axis=0).repeat(3, axis=1)
    clustered = summarise(figures, np.repeat([0, 1], 50), 50)
    apart = summarise(figures, np.arange(100), 50)
    assert clustered["recall@50"] == apart["recall@50"] == 0.5
    assert clustered["recall@50_ci95"] == [0.0, 1.0], "two readers say next to nothing"
    low, high = apart["recall@50_ci95"]
    assert 0.38 < low < 0.45 < 0.55 < high < 0.62
