"""Whether verdicts follow length: a judge may take more tags for better ones. Longer answers can also be better, so this is a question to
look into, not a verdict on the judge; the same figures of a judge that cannot be impressed (the oracle) are the measure."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from offline.judge.resamples import Floats, interval, resamples

BANDS: tuple[tuple[str, float, float], ...] = (
    ("3 or more fewer", -np.inf, -3),
    ("1 or 2 fewer", -2, -1),
    ("as many", 0, 0),
    ("1 or 2 more", 1, 2),
    ("3 or more more", 3, np.inf),
)


class Follows(Struct, frozen=True):
    """``spearman``: rank correlation of points and difference of length, in [-1, 1]; ``slope``: points for one more, by least squares. Each
    with its 95 % bootstrap interval over notes. None where either side does not vary."""

    spearman: float | None
    spearman_ci95: tuple[float, float] | None
    slope: float | None
    slope_ci95: tuple[float, float] | None


class Band(Struct, frozen=True):
    """Answers with so many tags more or fewer than the reference. ``ps``: their pairwise score; ``win``: share won, ties half."""

    name: str
    n: int
    ps: float | None
    win: float | None


class LengthBias(Struct, frozen=True):
    """``tags``: by the number of tags, ``characters``: by their characters."""

    n: int
    tags: Follows
    characters: Follows
    bands: list[Band]


def length_bias(rows: Sequence[tuple[float, int, int]], seed: int = 0) -> LengthBias | None:
    """Of (points, difference in tags, difference in characters) of each note; None without any."""
    if not rows:
        return None
    points, tags, characters = np.asarray(rows, np.float64).T
    return LengthBias(len(rows), _follows(points, tags, seed), _follows(points, characters, seed), _bands(points, tags))


def _follows(points: Floats, more: Floats, seed: int) -> Follows:
    """Of the ranks the correlation, of the values the slope."""
    if not _varies(points) or not _varies(more):
        return Follows(None, None, None, None)
    weights = np.ones((1, len(points)))
    ranks = _ranks(points), _ranks(more)
    spearman, slope = _fits(*ranks, weights)[0], _fits(points, more, weights)[1]
    drawn = [(_fits(*ranks, block)[0], _fits(points, more, block)[1]) for block in resamples(len(points), seed)]
    intervals = [interval(found) for found in zip(*drawn, strict=True)]
    return Follows(float(spearman[0]), intervals[0], float(slope[0]), intervals[1])


def _fits(points: Floats, more: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Correlation and slope under each row of weights; rows under which a side does not vary are left out."""
    total = weights.sum(axis=1)
    x, y = more - more.mean(), points - points.mean()
    mean_x, mean_y = weights @ x / total, weights @ y / total
    xy = weights @ (x * y) / total - mean_x * mean_y
    xx, yy = (weights @ (side * side) / total - mean * mean for side, mean in ((x, mean_x), (y, mean_y)))
    kept = (xx > 1e-9) & (yy > 1e-9)
    return xy[kept] / np.sqrt(xx[kept] * yy[kept]), xy[kept] / xx[kept]


def _bands(points: Floats, tags: Floats) -> list[Band]:
    found = []
    for name, low, high in BANDS:
        of = points[(tags >= low) & (tags <= high)]
        win = float(((of > 0) + 0.5 * (of == 0)).mean()) if of.size else None
        found.append(Band(name, int(of.size), float(of.mean()) if of.size else None, win))
    return found


def _ranks(values: Floats) -> Floats:
    """From 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def _varies(values: Floats) -> bool:
    return bool(np.ptp(values) > 0)
