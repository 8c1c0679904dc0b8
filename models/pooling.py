"""Many tag vectors to one: a note's and a reader's vector. Pure arithmetic."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vectors = NDArray[np.float32]


def note_vector(vectors: Vectors, confidences: ArrayLike, ranks: ArrayLike) -> Vectors:
    """Mean of a note's tag vectors, weighted by confidence / log2(1 + rank), at length 1.

    Importance falls with rank as the gain in discounted cumulative gain does (Järvelin and Kekäläinen 2002).

    Args:
        vectors: unit rows, shape (tags, dimension), at least one.
        confidences: shape (tags,), in [0, 1]; where all are 0 the ranks alone decide.
        ranks: shape (tags,), 1 for the most important.

    Returns:
        Shape (dimension,). Where the weighted vectors cancel out, the vector of the tag with the largest weight.

    Raises:
        ValueError: for no tags, shapes that disagree, ranks below 1, negative or infinite confidences, vectors that are 0 or not finite.
    """
    confidence = np.asarray(confidences, np.float64)
    rank = np.asarray(ranks, np.float64)
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or not len(rows) or confidence.shape != (len(rows),) or rank.shape != (len(rows),):
        raise ValueError(f"shapes {rows.shape}, {confidence.shape}, {rank.shape} are not (tags, dimension), (tags,), (tags,)")
    if not (
        np.isfinite(rows).all()
        and rows.any(axis=1).all()
        and np.isfinite(confidence).all()
        and (confidence >= 0).all()
        and (rank >= 1).all()
    ):
        raise ValueError("vectors must be finite and not 0, confidences finite and at least 0, ranks at least 1")
    weights = 1.0 / np.log2(1.0 + rank)
    if confidence.any():
        weights *= confidence / confidence.max()
    return _mean(rows, weights)


def user_vector(vectors: Vectors, scores: ArrayLike) -> Vectors | None:
    """Mean of the vectors of a reader's tags, weighted by their profile scores, at length 1.

    Args:
        vectors: unit rows, shape (tags, dimension).
        scores: shape (tags,); scores of 0 or less, infinite or not a number are left out, and so are vectors that are 0 or not finite.

    Returns:
        Shape (dimension,), or None where nothing is left. Where the vectors cancel out, the one with the largest score.

    Raises:
        ValueError: when the shapes disagree.
    """
    score = np.asarray(scores, np.float64)
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or score.shape != (len(rows),):
        raise ValueError(f"shapes {rows.shape} and {score.shape} are not (tags, dimension) and (tags,)")
    used = np.isfinite(score) & (score > 0) & np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    if not used.any():
        return None
    return _mean(rows[used], score[used] / score[used].max())


def _mean(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> Vectors:
    """Unit vector along ``weights @ rows``; the largest weight is about 1, so nothing overflows."""
    total = weights @ rows
    length = math.sqrt(float(total @ total))
    if length <= 1e-6 * float(weights.sum()):
        total = rows[int(weights.argmax())]
        length = math.sqrt(float(total @ total))
    return (total / length).astype(np.float32)
