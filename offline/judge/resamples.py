"""Bootstrap over notes: how often each note is drawn, a block of resamples at a time so that many notes fit in memory."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES, BLOCK = 1000, 50
Floats = NDArray[np.float64]


def resamples(notes: int, seed: int = 0) -> Iterator[Floats]:
    """``RESAMPLES`` rows of counts, in blocks of shape (BLOCK, notes); each row adds up to ``notes``."""
    draw = np.random.default_rng(seed)
    for _ in range(RESAMPLES // BLOCK):
        yield draw.multinomial(notes, np.full(notes, 1 / notes), BLOCK).astype(np.float64)


def interval(found: Sequence[Floats]) -> tuple[float, float] | None:
    """The 95 % interval of a figure's resamples, given in blocks; None without any."""
    values = np.concatenate(found) if found else np.empty(0)
    if not values.size:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
