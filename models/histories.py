"""Readers' histories as the learned spaces read them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.roles import ActedNote


class History(NamedTuple):
    """One reader's. ``rows``, ``weights``: of the notes that a space was trained on; ``late``: the tags of the others, as far as they have
    any, with their ``late_weights``. Shapes (known,), (known,), (late,), (late,)."""

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    late: list[Sequence[str]]
    late_weights: NDArray[np.float32]

    @property
    def length(self) -> np.float32:
        """Root of the sum of all squared weights; 0 for a history that says nothing."""
        return np.float32(np.sqrt(np.square(self.weights).sum() + np.square(self.late_weights).sum()))


def read_history(history: Sequence[ActedNote], known: Mapping[str, int]) -> History:
    """One history.

    Args:
        known: row by note of those that a space was trained on.
    """
    rows, weights = list[int](), list[float]()
    late, late_weights = list[Sequence[str]](), list[float]()
    for acted in history:
        row = known.get(acted.note_id)
        if row is not None:
            rows.append(row)
            weights.append(acted.weight)
        elif acted.tags:
            late.append(acted.tags)
            late_weights.append(acted.weight)
    return History(np.array(rows, np.int64), np.array(weights, np.float32), late, np.array(late_weights, np.float32))
