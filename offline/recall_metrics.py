"""Figures of a ranking: recall, NDCG and hit rate at k, with bootstrap intervals over readers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.recall_task import Task

Scores = NDArray[np.float32]
Ranker = Callable[[Any], Scores]
"""Profiles, CSR (queries, notes), to scores, (queries, candidates); higher is better."""
CHUNK = 512
RESAMPLES = 1000


def judge(ranker: Ranker, task: Task, k: int) -> NDArray[np.float64]:
    """Recall, NDCG and hit at ``k`` of each query, shape (queries, 3). Equal scores keep the candidates' order, which says nothing."""
    figures = [
        judge_scores(ranker(task.profiles[start : start + CHUNK]), task.targets[start : start + CHUNK], k)
        for start in range(0, task.profiles.shape[0], CHUNK)
    ]
    return np.concatenate(figures)


def judge_scores(scores: Scores, targets: Any, k: int) -> NDArray[np.float64]:
    """The same for scores at hand. A score that is not a number sinks."""
    best = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(targets.toarray() > 0, best, axis=1)
    wanted = np.diff(targets.indptr)
    gains = 1.0 / np.log2(np.arange(2, best.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(wanted, best.shape[1])]
    found = hits.sum(axis=1)
    return np.stack([found / wanted, (hits @ gains) / ideal, (found > 0).astype(np.float64)], axis=1)


def unseen(ranker: Ranker, task: Task) -> Ranker:
    """The ranker with notes of the profile last, for candidates that readers may have acted on."""

    def rank(profiles: Any) -> Scores:
        scores = np.array(ranker(profiles), np.float32)
        seen = profiles[:, task.cold].tocoo()
        scores[seen.row, seen.col] = -np.inf
        return scores

    return rank


def summarise(figures: NDArray[np.float64], reader: NDArray[np.int64], k: int, seed: int = 0) -> dict[str, Any]:
    """Means with 95 % percentile bootstrap intervals; whole readers are drawn, so queries of one reader stay together.

    Args:
        figures: shape (queries, 3), as ``judge`` gives.
        reader: shape (queries,).
    """
    _, group = np.unique(reader, return_inverse=True)
    sizes = np.bincount(group).astype(np.float64)
    sums = np.stack([np.bincount(group, figures[:, column]) for column in range(3)], axis=1)
    draws = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    means = (draws @ sums) / (draws @ sizes)[:, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    answer: dict[str, Any] = {}
    for column, name in enumerate(("recall", "ndcg", "hit")):
        answer[f"{name}@{k}"] = round(float(figures[:, column].mean()), 4)
        answer[f"{name}@{k}_ci95"] = [round(float(low[column]), 4), round(float(high[column]), 4)]
    return answer
