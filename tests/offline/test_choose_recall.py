"""Choosing on pseudo-cold notes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.choose_recall import Chosen, choose, choose_weights, standardise
from offline.recall_baselines import encode_tags
from offline.recall_task import Task, make_task
from recall.merge import Blend, merge, pool
from recall.stores import Hit
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(0, 10**6))
def test_standard_scores_merge_as_the_serving_merge_does(candidates: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = {name: generator.normal(size=(1, candidates)).astype(np.float32) for name in ("a", "b")}
    weights = {"a": 1.0, "b": 0.35}
    ours = sum(weights[name] * standardise(one)[0] for name, one in scores.items())
    found = {name: [Hit(str(at), float(score), 0) for at, score in enumerate(one[0])] for name, one in scores.items()}
    served = {int(one.note_id): one.score for one in merge(pool(found), {name: Blend(weight) for name, weight in weights.items()})}
    assert np.allclose([served[at] for at in range(candidates)], ours, atol=1e-4)


def test_weights_take_in_what_helps_and_leave_out_noise() -> None:
    generator = np.random.default_rng(0)
    truth, noise = generator.normal(size=(40, 30)), generator.normal(size=(3, 40, 30))
    standard = {
        "linear": standardise((truth + noise[0]).astype(np.float32)),
        "bm25": standardise((truth + noise[1]).astype(np.float32)),
        "useless": standardise(noise[2].astype(np.float32)),
    }
    weights, worth = choose_weights(standard, lambda total: float(np.corrcoef(total.ravel(), truth.ravel())[0, 1]))
    assert set(weights) == {"linear", "bm25"}
    assert worth > 0.78


def test_no_target_of_the_task_is_looked_at() -> None:
    task = make_task(community(), "random")
    vectors = encode_tags(task, HashingEncoder())
    blind = blinded(task)
    assert choose(task, vectors, 5, 0, lambda line: None) == choose(blind, vectors, 5, 0, lambda line: None)


def blinded(task: Task) -> Task:
    """The task with all that readers did on cold notes moved to one cold note."""
    note = task.data.actions.note.copy()
    note[np.isin(note, task.cold)] = task.cold[0]
    data = task.data._replace(actions=task.data.actions._replace(note=note))
    return task._replace(data=data, targets=task.targets * 0)


def test_too_small_a_set_takes_the_defaults_and_says_so() -> None:
    task = make_task(community(12, 40, 2, 4), "random")
    lone = task._replace(training=task.training[:2])
    said: list[str] = []
    assert choose(lone, encode_tags(task, HashingEncoder()), 5, 0, said.append) == Chosen()
    assert "not chosen" in said[0]
