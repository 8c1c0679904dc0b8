"""Chooses the settings of the learned channels and the merge's weights on pseudo-cold notes: notes that are warm in the task at hand.

No target of the task is looked at. The objective is recall at k / 2, k and 2 k, averaged, and a quarter of NDCG at k: one cut-off alone
jumps about, and where recall does not tell two settings apart the order within the ranking may.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from models.closed_form import Smoothing
from models.tag_content import ContentSpec
from offline.recall_baselines import tag_index
from offline.recall_content import build_content
from offline.recall_linear import Linear, LinearSpec, fit_linear, fit_task_smoothing
from offline.recall_metrics import Ranker, Scores, judge_scores
from offline.recall_task import Task, within
from offline.train_towers import Towers, TowerSpec, tower_ranker, train_towers
from schemas.errors import BadSetting

QUERIES_MAX = 3000
NDCG_SHARE = 0.25
LARGE_NOTES = 6000
GAIN_MIN = 0.001
L2_GRID = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
L2_GRID_LARGE = (5.0, 10.0)
SMOOTHINGS = ((0.6, 1.0), (1.0, 0.0), (1.0, 2.0))
CONTENTS: tuple[dict[str, float], ...] = ({"idf_power": 1.0}, {"hashed": 0.0}, {"rank_power": 1.0}, {"rank_power": 2.0}, {"semantic": 2.0})
STEPS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
EARLY_EPOCHS = 4
PAIR = ("linear", "two_tower")

Say = Callable[[str], None]
Curve = Callable[[int, float, float], None]
"""Takes, while towers are trained on the pseudo-cold task: epochs done, what they are worth alone and merged with the linear channel."""
Vectors = NDArray[np.float32]


class Chosen(Struct, frozen=True):
    """Settings of the learned channels; ``weights`` of the merge by channel; ``seen``: the objective on pseudo-cold notes by channel."""

    content: ContentSpec = ContentSpec(idf_power=1.5, confidence_power=1.0)
    linear: LinearSpec = LinearSpec()
    tower: TowerSpec = TowerSpec()
    weights: dict[str, float] = field(default_factory=lambda: {"linear": 1.0, "two_tower": 1.0, "tag_index_idf": 0.2})
    seen: dict[str, float] = field(default_factory=dict)


class Trial(NamedTuple):
    """A pseudo-cold task, the queries of it that are looked at, and what every step of the choice needs."""

    task: Task
    queries: NDArray[np.int64]
    tag_vectors: Vectors
    k: int
    seed: int
    say: Say
    curve: Curve | None = None

    def scores(self, ranker: Ranker) -> Scores:
        """Scores of the queries looked at."""
        return ranker(self.task.profiles[self.queries])

    def worth(self, scores: Scores) -> float:
        """The objective for such scores."""
        targets = self.task.targets[self.queries]
        half, whole, double = (judge_scores(scores, targets, cut).mean(axis=0) for cut in (max(1, self.k // 2), self.k, 2 * self.k))
        return float((half[0] + whole[0] + double[0]) / 3 + NDCG_SHARE * whole[1])


def choose(task: Task, tag_vectors: Vectors, k: int, seed: int, say: Say, *, curve: Curve | None = None) -> Chosen:
    """Chooses for one task, weights among the channels that serve; the defaults where it is too small to hold notes out of.

    Args:
        tag_vectors: encoder vectors of ``task.content.texts``, (tags, dimension).
        k: length of the ranking that is to be good.
        seed: which notes are pseudo-cold, and the training's.
        say: takes a line of progress.
        curve: takes the towers' figures epoch by epoch.
    """
    chosen = Chosen()
    try:
        pseudo = within(task, seed)
    except BadSetting as error:
        say(f"settings not chosen but given: {error}")
        return chosen
    queries = np.sort(np.random.default_rng(seed).permutation(pseudo.profiles.shape[0])[:QUERIES_MAX])
    trial = Trial(pseudo, queries, tag_vectors, k, seed, say, curve)
    chosen, linear = _choose_linear(trial, chosen)
    found = {"linear": trial.scores(linear.ranker())}
    chosen, found["two_tower"] = _choose_epochs(trial, chosen, linear, found["linear"])
    found["tag_index_idf"] = trial.scores(tag_index(pseudo, 1.0))
    weights, worth = choose_weights({name: standardise(scores) for name, scores in found.items()}, trial.worth)
    say(f"merge {worth:.4f} with {weights}")
    seen = {name: round(trial.worth(scores), 4) for name, scores in found.items()} | {"merge": round(worth, 4)}
    return replace(chosen, weights=weights, seen=seen)


def standardise(scores: Scores) -> Scores:
    """z-scores over each reader's candidates, as ``recall.merge`` takes them; 0 where all are equal."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 1e-9, spread, np.inf), np.float32)


def choose_weights(standard: Mapping[str, Scores], worth: Callable[[Scores], float]) -> tuple[dict[str, float], float]:
    """Weights by greedy search: the best channel at 1, then what helps most, channel and weight, is taken in as long as it helps.

    The two learned channels together are what it begins with unless one channel alone is better: two opinions vary less than one.

    Returns:
        The weights by channel and what they are worth.
    """
    best, first = max((worth(scores), name) for name, scores in standard.items())
    weights, total = {first: 1.0}, standard[first]
    if set(PAIR) <= set(standard):
        together = sum((standard[name] for name in PAIR), np.zeros_like(total))
        if (pair := worth(together)) > best - GAIN_MIN:
            weights, total, best = dict.fromkeys(PAIR, 1.0), together, pair
    while True:
        left = [(name, step) for name in standard if name not in weights for step in STEPS]
        gain, name, step = max(
            ((worth(total + np.float32(step) * standard[name]), name, step) for name, step in left), default=(best, "", 0.0)
        )
        if gain < best + GAIN_MIN:
            return weights, best
        weights[name], total, best = step, total + np.float32(step) * standard[name], gain


def _choose_linear(trial: Trial, chosen: Chosen) -> tuple[Chosen, Linear]:
    """One setting after the other, each over its grid with the others held; a large set, where a try is dear, gets the first only."""
    smoothing = fit_task_smoothing(trial.task, chosen.linear)
    large = len(trial.task.warm) > LARGE_NOTES
    best = _try(trial, chosen, smoothing)
    for l2 in L2_GRID_LARGE if large else L2_GRID:
        if l2 != chosen.linear.l2:
            best = max(best, _try(trial, replace(chosen, linear=replace(chosen.linear, l2=l2)), smoothing), key=_worth)
    if not large:
        for own, near in SMOOTHINGS:
            options = replace(best[1], linear=replace(best[1].linear, own=own, near=near))
            best = max(best, _try(trial, options, smoothing), key=_worth)
        for change in CONTENTS:
            options = replace(best[1], content=replace(best[1].content, **change))
            best = max(best, _try(trial, options, smoothing), key=_worth)
    return best[1], best[2]


def _try(trial: Trial, chosen: Chosen, smoothing: Smoothing) -> tuple[float, Chosen, Linear]:
    content, _ = build_content(trial.task, trial.tag_vectors, chosen.content)
    spec, content_spec = chosen.linear, chosen.content
    linear = fit_linear(trial.task, content, spec, replace(smoothing, own=spec.own, near=spec.near))
    worth = trial.worth(trial.scores(linear.ranker()))
    say_content = f"idf {content_spec.idf_power:g}, hashed {content_spec.hashed:g}, rank {content_spec.rank_power:g}"
    trial.say(
        f"linear {worth:.4f} with l2 {spec.l2:g}, own {spec.own:g}, near {spec.near:g}, {say_content}, semantic {content_spec.semantic:g}"
    )
    return worth, chosen, linear


def _worth(tried: tuple[float, Chosen, Linear]) -> float:
    return tried[0]


def _choose_epochs(trial: Trial, chosen: Chosen, linear: Linear, beside: Scores) -> tuple[Chosen, Scores]:
    """How many epochs, by looking while training; with the scores at that point. What counts is the mean of what the towers are worth alone
    and merged with the linear channel, whose scores are ``beside``: far from their start they may be no better but add more."""
    partner = standardise(beside)
    best: list[tuple[float, int, Scores]] = []

    def watch(epochs: int, towers: Towers) -> None:
        if epochs > EARLY_EPOCHS and epochs % 2:
            return
        scores = trial.scores(tower_ranker(towers, trial.task.cold))
        alone, merged = trial.worth(scores), trial.worth(partner + standardise(scores))
        worth = (alone + merged) / 2
        if trial.curve is not None:
            trial.curve(epochs, alone, merged)
        trial.say(f"two_tower {alone:.4f}, with linear {merged:.4f} after {epochs} epochs")
        if not best or worth > best[0][0]:
            best[:] = [(worth, epochs, scores)]

    train_towers(linear, chosen.tower, trial.seed, watch)
    _, epochs, scores = best[0]
    return replace(chosen, tower=replace(chosen.tower, epochs=epochs)), scores
