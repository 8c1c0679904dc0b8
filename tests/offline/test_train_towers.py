"""Training on a planted community: what is hidden, where it starts, and that it learns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import sparse

from models.tag_content import ContentSpec
from offline.recall_baselines import encode_tags
from offline.recall_content import build_content
from offline.recall_linear import Linear, LinearSpec, fit_linear
from offline.recall_metrics import judge
from offline.recall_task import make_task
from offline.train_towers import Towers, TowerSpec, hide_targets, reader_features, tower_ranker, train_towers
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community

SMALL = TowerSpec(dimension=24, hidden=16, epochs=6, batch=16, warm_up=4, average=0.5)


@pytest.fixture(scope="module")
def linear() -> Linear:
    task = make_task(community(), "random")
    content, _ = build_content(task, encode_tags(task, HashingEncoder()), ContentSpec(buckets=4, shared=0))
    return fit_linear(task, content, LinearSpec(rank=16))


def recall(linear: Linear, towers: Towers, k: int = 5) -> float:
    return float(judge(tower_ranker(towers, linear.task.cold), linear.task, k)[:, 0].mean())


@settings(max_examples=50)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=6), st.integers(0, 10**6))
def test_hiding_splits_every_history_in_two(counts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    indices = np.concatenate([generator.choice(20, count, replace=False) for count in counts])
    history = sparse.csr_matrix((np.arange(1.0, len(indices) + 1), indices, np.cumsum([0, *counts])), shape=(len(counts), 20))
    batch = hide_targets(history, generator)
    assert np.array_equal((batch.kept + batch.targets).toarray(), history.toarray())
    assert batch.kept.multiply(batch.targets).nnz == 0
    assert (np.diff(batch.kept.indptr) >= 1).all() and (np.diff(batch.targets.indptr) >= 1).all()


def test_closed_form_start_ranks_as_the_linear_channel_does(linear: Linear) -> None:
    start = train_towers(linear, TowerSpec(dimension=200, epochs=0))
    profiles = linear.task.profiles
    exact, started = linear.ranker()(profiles), tower_ranker(start, linear.task.cold)(profiles)
    each = [np.corrcoef(one, other)[0, 1] for one, other in zip(exact, started, strict=True)]
    assert np.mean(each) > 0.97, "they differ only in how R and E are brought to the history's length: per reader or in the mean"


def test_random_start_learns(linear: Linear) -> None:
    seen: dict[int, float] = {}
    train_towers(linear, replace(SMALL, start="random", epochs=12, rate=1e-2), 0, lambda epoch, t: seen.update({epoch: recall(linear, t)}))
    assert list(seen) == list(range(13))
    assert seen[12] > seen[0] + 0.2


@pytest.mark.parametrize("losses", [{}, {"softmax": 0.0, "bce": 1.0, "contrastive": 0.5}, {"candidates": 20}])
def test_fine_tuning_keeps_what_it_started_with(linear: Linear, losses: dict[str, float]) -> None:
    before = recall(linear, train_towers(linear, replace(SMALL, epochs=0)))
    after = recall(linear, train_towers(linear, replace(SMALL, **losses)))
    assert after > before - 0.1
    assert after > 3 * 5 / len(linear.task.cold), "three times what chance finds"


def test_same_seed_same_towers_other_seed_others(linear: Linear) -> None:
    profiles, spec = linear.task.profiles[:3], replace(SMALL, epochs=1)
    first, second, third = (tower_ranker(train_towers(linear, spec, seed), linear.task.cold)(profiles) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_readers_input_has_nothing_of_a_target(linear: Linear) -> None:
    towers = train_towers(linear, replace(SMALL, epochs=0))
    batch = hide_targets(linear.task.history[linear.task.reader][:, linear.task.warm], np.random.default_rng(0))
    full = sparse.lil_matrix((batch.kept.shape[0], len(linear.task.data.notes)), dtype=np.float32)
    full[:, linear.task.warm] = batch.kept
    tags = reader_features(towers, full.tocsr()).tags
    content = linear.content.tags[linear.task.warm]
    for row in range(batch.kept.shape[0]):
        end = tags.starts[row + 1] if row + 1 < len(tags.starts) else len(tags.ids)
        allowed = set(content[batch.kept[row].indices].indices.tolist())
        assert set(tags.ids[tags.starts[row] : end].tolist()) == allowed
