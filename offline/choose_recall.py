"""Chooses the settings of the learned channels and the merge's weights on pseudo-cold notes: notes that are warm in the task at hand.

No target of the task is looked at. The objective is recall at k / 2, k and 2 k, averaged: one cut-off alone jumps about on small sets.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from offline.recall_baselines import bm25, tag_index, tfidf_cosine, vector_cosine
from offline.recall_content import ContentSpec, build_content
from offline.recall_linear import LinearSpec, fit_linear, fit_task_smoothing
from offline.recall_metrics import Ranker, Scores, judge_scores
from offline.recall_task import Task, within
from offline.train_towers import TowerSpec, Towers, tower_ranker, train_towers
from schemas.errors import BadSetting

QUERIES_MAX = 1500
SMALL_NOTES = 6000
GAIN_MIN = 0.001
L2_GRID = (5.0, 10.0, 20.0, 40.0)
L2_GRID_LARGE = (5.0, 10.0, 20.0)
SMOOTHINGS = ((1.0, 0.5), (0.6, 1.0), (1.0, 0.0), (1.0, 2.0))
STEPS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)

T = TypeVar("T")
Say = Callable[[str], None]
Vectors = NDArray[np.float32]


class Chosen(Struct, frozen=True):
    """Settings of the learned channels; ``weights`` of the merge by channel; ``seen``: what each choice was worth on pseudo-cold notes."""

    content: ContentSpec = ContentSpec(idf_power=1.5)
    linear: LinearSpec = LinearSpec()
    tower: TowerSpec = TowerSpec()
    weights: dict[str, float] = field(default_factory=lambda: {"linear": 1.0, "two_tower": 1.0, "tfidf_cosine": 0.2})
    seen: dict[str, float] = field(default_factory=dict)


class Trial(NamedTuple):
    """A pseudo-cold task and the queries looked at."""

    task: Task
    queries: NDArray[np.int64]

    def worth(self, scores: Scores, k: int) -> float:
        """The objective for scores of ``queries``."""
        targets = self.task.targets[self.queries]
        cuts = sorted({max(1, k // 2), k, 2 * k})
        return float(np.mean([judge_scores(scores, targets, cut)[:, 0].mean() for cut in cuts]))

    def scores(self, ranker: Ranker) -> Scores:
        """Scores of the queries looked at."""
        return ranker(self.task.profiles[self.queries])


def choose(task: Task, tag_vectors: Vectors, k: int, seed: int = 0, start: Chosen | None = None, say: Say = lambda line: None) -> Chosen:
    """Chooses for one task. ``start`` is what the search begins with; it also stands where the task is too small to hold notes out of."""
    chosen = start or Chosen()
    try:
        trial = _trial(task, seed)
    except BadSetting as error:
        say(f"settings not chosen but given: {error}")
        return chosen
    chosen = _choose_linear(trial, tag_vectors, k, chosen, say)
    chosen, scores = _choose_tower(trial, tag_vectors, k, chosen, seed, say)
    scores |= heuristic_scores(trial.task, tag_vectors, trial.scores)
    weights, worth = choose_weights({name: standardise(one) for name, one in scores.items()}, lambda total: trial.worth(total, k))
    seen = chosen.seen | {name: round(trial.worth(one, k), 4) for name, one in scores.items()} | {"merge": round(worth, 4)}
    say(f"merge {worth:.4f} with {weights}")
    return replace(chosen, weights=weights, seen=seen)


def heuristic_scores(task: Task, tag_vectors: Vectors, scores: Callable[[Ranker], Scores]) -> dict[str, Scores]:
    """The channels of the merge that learn nothing."""
    return {name: scores(ranker) for name, ranker in heuristics(task, tag_vectors).items()}


def heuristics(task: Task, tag_vectors: Vectors) -> dict[str, Ranker]:
    """The same as rankings. ``tag_vectors_mean`` is the cosine of idf-weighted means of the tags' vectors."""
    from offline.recall_baselines import idf

    pooled = task.content.counts @ (idf(task.content.counts)[:, None] ** 1.5 * tag_vectors)
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
    return {
        "tag_index_idf": tag_index(task, 1.0),
        "bm25": bm25(task),
        "tfidf_cosine": tfidf_cosine(task, 1.5),
        "tag_vectors_mean": vector_cosine(task, pooled.astype(np.float32)),
    }


def standardise(scores: Scores) -> Scores:
    """z-scores over each reader's candidates, as ``recall.merge`` takes them; 0 where all are equal."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 1e-9, spread, np.inf), np.float32)


def choose_weights(
    standard: Mapping[str, Scores], worth: Callable[[Scores], float], first: str = "linear"
) -> tuple[dict[str, float], float]:
    """Weights by greedy search from ``first`` at 1: the channel and weight that help most are taken in as long as they help."""
    weights = {first: 1.0}
    total, best = standard[first], worth(standard[first])
    while True:
        found = [(worth(total + step * one), name, step) for name, one in standard.items() if name not in weights for step in STEPS]
        gain, name, step = max(found, default=(best, "", 0.0))
        if gain < best + GAIN_MIN:
            return weights, best
        weights[name], total, best = step, total + np.float32(step) * standard[name], gain


def _trial(task: Task, seed: int) -> Trial:
    pseudo = within(task, seed)
    count = pseudo.profiles.shape[0]
    queries = np.sort(np.random.default_rng(seed).permutation(count)[:QUERIES_MAX])
    return Trial(pseudo, queries)


def _choose_linear(trial: Trial, tag_vectors: Vectors, k: int, chosen: Chosen, say: Say) -> Chosen:
    """One setting after the other, each over its grid with the others held."""
    large = len(trial.task.warm) > SMALL_NOTES
    content_specs = [chosen.content] if large else [chosen.content, *(replace(chosen.content, idf_power=power) for power in (1.0,))]
    tried: dict[tuple[ContentSpec, LinearSpec], float] = {}

    def worth(content_spec: ContentSpec, spec: LinearSpec) -> float:
        if (content_spec, spec) not in tried:
            content, _ = build_content(trial.task, tag_vectors, content_spec)
            smoothing = replace(smoothings, own=spec.own, near=spec.near)
            tried[content_spec, spec] = trial.worth(trial.scores(fit_linear(trial.task, content, spec, smoothing).ranker()), k)
            say(f"linear {tried[content_spec, spec]:.4f} with l2 {spec.l2}, own {spec.own}, near {spec.near}, idf {content_spec.idf_power}")
        return tried[content_spec, spec]

    smoothings = fit_task_smoothing(trial.task, chosen.linear)
    content_spec, spec = chosen.content, chosen.linear
    spec = _best((replace(spec, l2=l2) for l2 in (L2_GRID_LARGE if large else L2_GRID)), lambda one: worth(content_spec, one))
    if not large:
        spec = _best((replace(spec, own=own, near=near) for own, near in SMOOTHINGS), lambda one: worth(content_spec, one))
        content_spec = _best(content_specs, lambda one: worth(one, spec))
    return replace(chosen, content=content_spec, linear=spec)


def _best(options: Iterable[T], worth: Callable[[T], float]) -> T:
    return max(options, key=worth)


def _choose_tower(trial: Trial, tag_vectors: Vectors, k: int, chosen: Chosen, seed: int, say: Say) -> tuple[Chosen, dict[str, Scores]]:
    """How many epochs, by looking after each; with the scores of both learned channels."""
    content, _ = build_content(trial.task, tag_vectors, chosen.content)
    linear = fit_linear(trial.task, content, chosen.linear)
    best: dict[str, tuple[float, int, Scores]] = {}

    def watch(epochs: int, towers: Towers) -> None:
        if epochs % 2 and epochs > 3:
            return
        scores = trial.scores(tower_ranker(towers, trial.task.cold))
        worth = trial.worth(scores, k)
        say(f"two_tower {worth:.4f} after {epochs} epochs")
        if "tower" not in best or worth > best["tower"][0] + GAIN_MIN:
            best["tower"] = (worth, epochs, scores)

    train_towers(linear, chosen.tower, seed, watch)
    _, epochs, scores = best["tower"]
    return replace(chosen, tower=replace(chosen.tower, epochs=epochs)), {"linear": trial.scores(linear.ranker()), "two_tower": scores}
