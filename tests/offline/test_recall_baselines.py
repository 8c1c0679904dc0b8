"""Baselines against plain loops over tags."""

import math

import numpy as np
import pytest

from offline import recall_baselines as baselines
from offline.recall_task import make_task
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community

TASK = make_task(community(), "random")
TEXTS = set(TASK.content.texts)


def profile_tags(query: int) -> dict[str, float]:
    profile, scores = TASK.profiles[query], dict[str, float]()
    for note, weight in zip(profile.indices, profile.data, strict=True):
        for text in TASK.data.tags[note]:
            if text in TEXTS:
                scores[text] = scores.get(text, 0.0) + float(weight)
    return scores


def documents(text: str) -> int:
    return sum(text in tags for tags in TASK.data.tags)


def test_tag_index_is_the_sum_over_shared_tags() -> None:
    total = sum(bool(TEXTS & set(tags)) for tags in TASK.data.tags)
    raw, rare = (baselines.tag_index(TASK, power)(TASK.profiles[:5]) for power in (0.0, 1.0))
    for query in range(5):
        scores = profile_tags(query)
        for place, note in enumerate(TASK.cold):
            shared = [text for text in TASK.data.tags[note] if text in scores]
            assert raw[query, place] == pytest.approx(sum(scores[text] for text in shared))
            assert rare[query, place] == pytest.approx(sum(scores[text] * math.log(total / documents(text)) for text in shared), rel=1e-5)


def test_bm25_by_its_formula() -> None:
    scores, profile = baselines.bm25(TASK)(TASK.profiles[:1])[0], profile_tags(0)
    lengths = [len(TEXTS & set(tags)) for tags in TASK.data.tags]
    mean = sum(lengths) / sum(length > 0 for length in lengths)
    for place, note in enumerate(TASK.cold):
        damp = 2.2 / (1 + 1.2 * (0.25 + 0.75 * lengths[note] / mean))
        want = 0.0
        for text in set(TASK.data.tags[note]) & set(profile):
            want += profile[text] * damp * math.log(1 + (len(TASK.data.notes) - documents(text) + 0.5) / (documents(text) + 0.5))
        assert scores[place] == pytest.approx(want, rel=1e-5)


def test_cosines_and_popularity_know_topics_or_not() -> None:
    cosine = baselines.tfidf_cosine(TASK)(TASK.profiles)
    assert (cosine <= 1 + 1e-5).all() and (cosine >= 0).all()
    topics = np.array([int(TASK.data.tags[note][0][1]) for note in TASK.cold])
    own = topics[None, :] == (TASK.reader % 6)[:, None]
    assert cosine[own].mean() > 3 * cosine[~own].mean()
    popular = baselines.popularity(TASK)(TASK.profiles)
    assert (popular == popular[0]).all()
    sequences = baselines.vector_cosine(TASK, baselines.encode_sequences(TASK, HashingEncoder()))(TASK.profiles)
    assert sequences[own].mean() > sequences[~own].mean()
