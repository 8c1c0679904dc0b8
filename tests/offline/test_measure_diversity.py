"""What diversity costs and gains, on a small dataset whose answer is known."""

import numpy as np
import pytest

from offline.measure_diversity import measure
from tests.offline.test_recall_baselines import TASK


def test_without_diversity_it_is_the_rankings_own_recall_and_with_it_tags_get_more():
    generator = np.random.default_rng(3)
    scores = generator.random((TASK.profiles.shape[0], len(TASK.cold))).astype(np.float32)
    plain, mixed = measure(TASK, lambda profiles: scores[: profiles.shape[0]], 3, (0.0, 0.9), TASK.profiles.shape[0])
    best = np.argsort(-scores, axis=1)[:, :3]
    targets = TASK.targets.toarray() > 0
    expected = np.mean([targets[row, best[row]].sum() / targets[row].sum() for row in range(len(best))])
    assert plain["recall@3"] == pytest.approx(expected, abs=1e-3)
    assert mixed["distinct_tags@20"] > plain["distinct_tags@20"] and mixed["overlap@20"] < plain["overlap@20"]
