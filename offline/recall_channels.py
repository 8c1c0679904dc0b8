"""The learned channels and the merge, fitted to a task.

The merge is computed for whole chunks of readers at once. That it is the one that serves is checked, not assumed: ``agreement`` puts the
same channel scores of some readers through ``recall.merge`` and compares the rankings.
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from offline.choose_recall import Chosen, heuristics, standardise
from offline.recall_content import build_content
from offline.recall_linear import fit_linear
from offline.recall_metrics import Ranker, Scores
from offline.recall_task import Task
from offline.train_towers import tower_ranker, train_towers
from recall.merge import Blend, merge, pool
from recall.stores import Hit

CHECKED_READERS = 20


class Channels(Struct, frozen=True):
    """Rankings by channel, and the weights of their merge."""

    task: Task
    rankers: dict[str, Ranker]
    weights: dict[str, float]

    def ranker(self, name: str) -> Ranker:
        """One channel's, or the merge's."""
        return self._merged if name == "merge" else self.rankers[name]

    def _merged(self, profiles: Any) -> Scores:
        total = np.zeros((profiles.shape[0], len(self.task.cold)), np.float32)
        for name, weight in self.weights.items():
            total += np.float32(weight) * standardise(self.rankers[name](profiles))
        return total

    def agreement(self, k: int) -> float:
        """Share of the first ``k`` notes that ``recall.merge`` ranks first too, for some readers."""
        profiles = self.task.profiles[:CHECKED_READERS]
        scores = {name: self.rankers[name](profiles) for name in self.weights}
        blends = {name: Blend(weight) for name, weight in self.weights.items()}
        merged = self._merged(profiles)
        shared: list[float] = []
        for row in range(profiles.shape[0]):
            found = {name: [Hit(str(note), float(score), 0) for note, score in enumerate(one[row])] for name, one in scores.items()}
            served = {int(ranked.note_id) for ranked in merge(pool(found), blends)[:k]}
            shared.append(len(served & set(np.argsort(-merged[row], kind="stable")[:k].tolist())) / len(served))
        return round(float(np.mean(shared)), 4)


def fit_channels(task: Task, tag_vectors: NDArray[np.float32], chosen: Chosen, seed: int) -> Channels:
    """Fits the channels to all of the task's training actions.

    Args:
        tag_vectors: encoder vectors of ``task.content.texts``.
    """
    content, _ = build_content(task, tag_vectors, chosen.content)
    linear = fit_linear(task, content, chosen.linear)
    towers = train_towers(linear, chosen.tower, seed)
    rankers = {"linear": linear.ranker(), "two_tower": tower_ranker(towers, task.cold), **heuristics(task, tag_vectors)}
    return Channels(task, rankers, chosen.weights)
