"""Recall of notes nobody has acted on yet, learned without gradients: smooth a reader's history by what readers share, then match content.

    H = q Q + R + e E      the history Q, its projection R on the leading singular vectors, and E = Q B by item-item regression (EASE,
                           Steck, WWW 2019); R and E are brought to the length of Q, reader by reader
    S = H X (X'X + l I)^-1 X_c'        ridge from the content X of warm notes onto the smoothed histories, applied to candidates X_c

``factor`` writes S as an inner product of two vectors of a chosen dimension, which is what an index serves and what the towers start from.
Matrices are float32; "sparse" is CSR. No I/O.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy import linalg, sparse

Dense = NDArray[np.float32]
POWER_ROUNDS = 4
OVERSAMPLED = 16
BLOCK = 512
EXACT_MAX, EXACT_SHARE = 5_000, 8
"""Shorter side of a dense matrix up to which all of its directions are worked out: as such, and as a multiple of those wanted."""
SINGULAR_MIN = 2e-3
"""Share of the greatest singular value below which single precision tells nothing from the Gram matrix."""


class Smoothing(Struct, frozen=True):
    """What ``smooth`` needs. ``basis`` (warm, rank) makes R of histories times ``popularity`` (warm,); ``items`` are those of
    ``between``, the EASE matrix B (items, items). ``own``, ``near``: the weights q and e."""

    basis: Dense
    popularity: Dense
    items: NDArray[np.int64]
    between: Dense
    own: float = 1.0
    near: float = 0.5


def leading_vectors(matrix: Any, rank: int, seed: int = 0) -> Dense:
    """Right singular vectors of a matrix (rows, columns), shape (columns, rank); ``rank`` is lowered to what the matrix can have.

    By randomised subspace iteration (Halko, Martinsson and Tropp 2011). Of a dense matrix of which many are wanted: exactly, from the
    eigenvectors of its Gram matrix, in a third of the time; a wide one has no direction, a column of zeros, where it has no length.
    """
    rank = min(rank, *matrix.shape)
    if not sparse.issparse(matrix) and min(matrix.shape) <= min(EXACT_MAX, EXACT_SHARE * rank):
        return _exact_vectors(matrix, rank)
    width = min(rank + OVERSAMPLED, *matrix.shape)
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], width)).astype(np.float32)
    for _ in range(POWER_ROUNDS):
        left, _ = np.linalg.qr(np.asarray(matrix @ basis))
        basis, _ = np.linalg.qr(np.asarray(matrix.T @ left))
    _, _, right = np.linalg.svd(np.asarray(matrix @ basis), full_matrices=False)
    return np.asarray((basis @ right.T)[:, :rank], np.float32)


def _exact_vectors(matrix: Dense, rank: int) -> Dense:
    """``leading_vectors`` of a dense matrix, by its shorter side."""
    wide = matrix.shape[0] < matrix.shape[1]
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    last = len(gram) - 1
    values, vectors = linalg.eigh(gram, subset_by_index=[last - rank + 1, last], overwrite_a=True, check_finite=False)
    singular, vectors = np.sqrt(np.maximum(values[::-1], 0.0)), vectors[:, ::-1]
    if not wide:
        return np.asarray(vectors, np.float32)
    known = singular > SINGULAR_MIN * singular[0]
    return np.asarray(matrix.T @ (vectors * np.divide(1.0, singular, out=np.zeros_like(singular), where=known)), np.float32)


def fit_smoothing(
    history: Any, *, rank: int = 512, items_max: int = 10_000, l2: float = 20.0, own: float = 1.0, near: float = 0.5
) -> Smoothing:
    """Learns from histories, sparse (readers, warm).

    Args:
        rank: of R; its second half counts half, which is better than either rank alone.
        items_max: notes, the most acted on, that B relates; it costs items_max ** 3 / 3 multiplications.
        l2: regularisation of B, in actions.
        own, near: weights of the history itself and of E.
    """
    history = (history > 0).astype(np.float32)
    degree = np.maximum(np.asarray(history.sum(axis=1)).ravel(), 1.0)
    counts = np.asarray(history.sum(axis=0)).ravel()
    popularity = (np.maximum(counts, 1.0) ** -0.25).astype(np.float32)
    scaled = sparse.diags(degree**-0.5) @ history @ sparse.diags(popularity)
    basis = leading_vectors(scaled.astype(np.float32).tocsr(), rank)
    basis[:, rank // 2 :] *= np.float32(0.5**0.5)
    items = np.sort(np.argsort(-counts, kind="stable")[: min(items_max, int((counts > 1).sum()))])
    return Smoothing(basis, popularity, items, _ease(history[:, items], l2), own, near)


def smooth(profiles: Any, smoothing: Smoothing) -> Dense:
    """Smoothed histories H, dense (readers, warm), of profiles, sparse (readers, warm)."""
    raw = np.asarray(profiles.toarray(), np.float32)
    shared = ((profiles @ sparse.diags(smoothing.popularity)) @ smoothing.basis) @ smoothing.basis.T
    near = profiles[:, smoothing.items] @ smoothing.between
    length = np.linalg.norm(raw, axis=1, keepdims=True)
    smoothed = smoothing.own * raw + shared * (length / np.maximum(np.linalg.norm(shared, axis=1, keepdims=True), 1e-9))
    smoothed[:, smoothing.items] += smoothing.near * near * (length / np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-9))
    return np.asarray(smoothed, np.float32)


class Content(Struct, frozen=True):
    """Content of notes: ``tags`` sparse (notes, tags), ``dense`` (notes, features), ``shared`` (notes, further features) or None. Together
    they are one matrix, in this order."""

    tags: Any
    dense: Dense
    shared: Dense | None = None

    @property
    def right(self) -> Dense:
        """All that is not sparse."""
        return self.dense if self.shared is None else np.hstack([self.dense, self.shared])

    def rows(self, rows: Any) -> "Content":
        """Some of the notes."""
        return Content(self.tags[rows], self.dense[rows], None if self.shared is None else self.shared[rows])

    def gather(self, weights: Any) -> Dense:
        """Weighted sums of the notes' content, (readers, tags + features), of ``weights``, dense or sparse (readers, notes)."""
        tags = weights @ self.tags
        return np.hstack([tags.toarray() if sparse.issparse(tags) else np.asarray(tags), weights @ self.right]).astype(np.float32)

    def gram(self) -> Dense:
        """X'X, (tags + features, tags + features)."""
        right, split = self.right, self.tags.shape[1]
        gram = np.empty((split + right.shape[1],) * 2, np.float32)
        gram[:split, :split] = (self.tags.T @ self.tags).toarray()
        gram[:split, split:] = self.tags.T @ right
        gram[split:, :split] = gram[:split, split:].T
        gram[split:, split:] = right.T @ right
        return gram

    def matrix(self) -> Dense:
        """All of it, (notes, tags + features)."""
        return np.hstack([self.tags.toarray(), self.right]).astype(np.float32)

    def times(self, matrix: Dense) -> Dense:
        """X @ matrix, (notes, columns)."""
        split = self.tags.shape[1]
        return np.asarray(self.tags @ matrix[:split] + self.right @ matrix[split:], np.float32)


class Ridge(Struct, frozen=True):
    """A factored ridge system over some of the features, those of the tags and some beside them: X'X + l I = L L' with
    L = [``tags`` 0; ``below`` ``right``]. ``features`` says which those are among the content's. Several views share ``tags``.

    A vector of content times L^-T is "whitened"; the inner product of two whitened vectors is the ridge prediction of one from the other.
    Features left out count as 0.
    """

    tags: Dense
    below: Dense
    right: Dense
    features: NDArray[np.int64]

    def solve(self, columns: Dense) -> Dense:
        """(X'X + l I)^-1 times ``columns``, (features, columns)."""
        return self.colour(self._forward(columns[self.features]), len(columns))

    def whiten(self, gathered: Dense) -> Dense:
        """(rows, all features) times L^-T, (rows, features)."""
        return self._forward(gathered[:, self.features].T).T

    def colour(self, rows: Dense, width: int) -> Dense:
        """L^-T times ``rows``, (width, columns): what content of ``width`` features must be multiplied by to be whitened and projected on
        ``rows``."""
        split = len(self.tags)
        among = np.zeros((width, rows.shape[1]), np.float32)
        right = _solved(self.right, rows[split:], transposed=True)
        among[self.features[split:]] = right
        if split:
            among[self.features[:split]] = _solved(self.tags, rows[:split] - self.below.T @ right, transposed=True)
        return among

    def _forward(self, columns: Dense) -> Dense:
        """L^-1 times ``columns``."""
        split = len(self.tags)
        solved = np.empty(columns.shape, np.float32, order="F")
        solved[:split] = _solved(self.tags, columns[:split]) if split else 0.0
        solved[split:] = _solved(self.right, columns[split:] - self.below @ solved[:split])
        return solved


def _solved(lower: Dense, columns: Dense, *, transposed: bool = False) -> Dense:
    return np.asarray(linalg.solve_triangular(lower, columns, lower=True, trans="T" if transposed else "N", check_finite=False), np.float32)


def fit_ridges(content: Content, l2: float, views: Sequence[NDArray[np.int64]]) -> list[Ridge]:
    """Factors X'X + l I of the warm notes' content in each view.

    Args:
        views: of each the features it sees, those of the tags first and in all; their part is factored once.
    """
    gram = content.gram()
    gram[np.diag_indices_from(gram)] += np.float32(l2)
    split = content.tags.shape[1]
    corners = [(gram[np.ix_(view[split:], view[:split])], gram[np.ix_(view[split:], view[split:])]) for view in views]
    corner = np.array(gram[:split, :split], order="F")
    del gram
    tags = np.asarray(linalg.cholesky(corner, lower=True, overwrite_a=True, check_finite=False)) if split else corner
    ridges = []
    for view, (beside, right) in zip(views, corners, strict=True):
        below = _solved(tags, beside.T).T if split else beside
        ridges.append(
            Ridge(tags, below, linalg.cholesky(right - below @ below.T, lower=True, check_finite=False), np.asarray(view, np.int64))
        )
    return ridges


def _ease(history: Any, l2: float) -> Dense:
    """B = I - P diag(P)^-1 with P = (R'R + l I)^-1; its diagonal is 0."""
    gram = np.asarray((history.T @ history).toarray(), np.float32)
    if not len(gram):
        return gram
    gram[np.diag_indices_from(gram)] += np.float32(l2)
    # all in the memory of the Gram matrix: it is symmetric, so its transpose is what LAPACK takes without a copy
    factor, _ = linalg.lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    for start in range(0, len(inverse), BLOCK):
        corner = inverse[start : start + BLOCK, start : start + BLOCK]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        inverse[start : start + BLOCK, start + BLOCK :] = inverse[start + BLOCK :, start : start + BLOCK].T
    between: Dense = inverse.T
    between /= -between.diagonal()[None, :].copy()
    between[np.diag_indices_from(between)] = 0.0
    return between
