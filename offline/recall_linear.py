"""The linear channel: ``models/closed_form.py`` fitted to a task, as a ranking and as the vectors that the towers start from.

Where the content has a shared part, the channel is the sum of two ridges that see the same tags differently: one beside the encoder's
vectors, one beside the tags' directions among readers. Their sum is better than either, and than one ridge that sees both.
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy import sparse

from models.closed_form import Content, Dense, Ridge, Smoothing, fit_ridges, fit_smoothing, leading_vectors, smooth
from models.tag_content import STATIC
from offline.recall_metrics import Ranker
from offline.recall_task import Task

CHUNK = 512
SAMPLED_READERS = 4000


class LinearSpec(Struct, frozen=True):
    """``l2``: of the ridge. ``own``, ``near``, ``rank``, ``items_max``, ``ease_l2``: see ``fit_smoothing``."""

    l2: float = 10.0
    own: float = 1.0
    near: float = 0.5
    rank: int = 512
    items_max: int = 10_000
    ease_l2: float = 20.0


class Linear(Struct, frozen=True):
    """A fitted linear channel. ``ridges``: of each view; ``known``: 1 for warm notes, (notes,)."""

    task: Task
    content: Content
    smoothing: Smoothing
    ridges: list[Ridge]
    known: NDArray[np.float32]

    def gather(self, profiles: Any) -> Dense:
        """Content of the smoothed profiles, (readers, features). Notes in a profile that are not warm count by their own content alone."""
        parts = []
        warm = self.content.rows(self.task.warm)
        cold = sparse.diags(1.0 - self.known)
        for start in range(0, profiles.shape[0], CHUNK):
            some = profiles[start : start + CHUNK]
            gathered = warm.gather(smooth(some[:, self.task.warm], self.smoothing))
            late = (some @ cold).tocsr()
            late.eliminate_zeros()
            parts.append(gathered + self.smoothing.own * self.content.gather(late) if late.nnz else gathered)
        return np.concatenate(parts)

    def ranker(self) -> Ranker:
        """S = H X (X'X + l I)^-1 X_c', exact."""
        candidates = self.content.rows(self.task.cold).matrix()
        projection = np.sum([ridge.solve(candidates.T) for ridge in self.ridges], axis=0)
        return lambda profiles: np.asarray(self.gather(profiles) @ projection, np.float32)

    def item_map(self, dimension: int, seed: int = 0, views: int | None = None) -> Dense:
        """W, (features, dimension): a note's vector is its content times W. The directions are those in which smoothed readers differ most
        (leading singular vectors of their whitened content, each reader weighing the same), so the inner product loses little of S.

        Args:
            views: how many of them; all by default.
        """
        readers = np.flatnonzero(np.diff(self.task.history.indptr))
        if len(readers) > SAMPLED_READERS:
            readers = np.sort(np.random.default_rng(seed).choice(readers, SAMPLED_READERS, replace=False))
        gathered, ridges = self.gather(self.task.history[readers]), self.ridges[:views]
        whitened = np.hstack([ridge.whiten(gathered) for ridge in ridges])
        whitened /= np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), 1e-9)
        directions = leading_vectors(whitened, dimension, seed)
        parts = np.split(directions, np.cumsum([len(ridge.features) for ridge in ridges])[:-1])
        return np.asarray(sum(ridge.colour(part, gathered.shape[1]) for ridge, part in zip(ridges, parts, strict=True)), np.float32)

    def history_table(self, item_map: Dense) -> Dense:
        """(warm, dimension): what a warm note in a reader's history adds beside its own content: R and E of its row, in vectors of W."""
        own = self.content.rows(self.task.warm).times(item_map)
        smoothing = self.smoothing
        scaled = (smoothing.popularity[:, None] * smoothing.basis) @ (smoothing.basis.T @ own)
        near = np.zeros_like(own)
        near[smoothing.items] = smoothing.near * smoothing.between @ own[smoothing.items]
        shared, between = self._lengths()
        return np.asarray(shared * scaled + between * near, np.float32)

    def _lengths(self) -> tuple[float, float]:
        """Mean factors that bring R and E to the length of Q, over a sample of readers."""
        readers = np.flatnonzero(np.diff(self.task.history.indptr))[:1000]
        raw = self.task.history[readers][:, self.task.warm]
        smoothing = self.smoothing
        shared = np.linalg.norm((raw @ sparse.diags(smoothing.popularity)) @ smoothing.basis, axis=1)
        near = np.linalg.norm(raw[:, smoothing.items] @ smoothing.between, axis=1)
        length = np.sqrt(np.asarray(raw.multiply(raw).sum(axis=1)).ravel())
        return float(np.median(length / np.maximum(shared, 1e-6))), float(np.median(length / np.maximum(near, 1e-6)))


def fit_linear(task: Task, content: Content, spec: LinearSpec, smoothing: Smoothing | None = None) -> Linear:
    """Fits smoothing (unless one is given) and ridge to the task's training histories."""
    if smoothing is None:
        smoothing = fit_task_smoothing(task, spec)
    known = np.zeros(len(task.data.notes), np.float32)
    known[task.warm] = 1.0
    return Linear(task, content, smoothing, fit_ridges(content.rows(task.warm), spec.l2, views_of(content)), known)


def views_of(content: Content) -> list[NDArray[np.int64]]:
    """Features by view: tags and dense ones; and, where there is a shared part, tags, constants and that part."""
    tags, dense = content.tags.shape[1], content.dense.shape[1]
    plain = np.arange(tags + dense)
    if content.shared is None:
        return [plain]
    return [plain, np.concatenate([plain[:tags], np.arange(tags + dense - STATIC, tags + dense + content.shared.shape[1])])]


def fit_task_smoothing(task: Task, spec: LinearSpec) -> Smoothing:
    """``fit_smoothing`` on the task's warm notes and the readers that have a history."""
    active = np.flatnonzero(np.diff(task.history.indptr))
    return fit_smoothing(
        task.history[active][:, task.warm], rank=spec.rank, items_max=spec.items_max, l2=spec.ease_l2, own=spec.own, near=spec.near
    )
