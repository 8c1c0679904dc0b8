"""Readers' histories as the matrices that the learned spaces read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from models.roles import ActedNote


class Histories(NamedTuple):
    """``weights``: sparse (readers, notes), float32, over the notes of all histories; ``tags`` of those notes; ``rows``: their numbers
    among the known notes, -1 for the others, shape (notes,)."""

    weights: Any
    tags: list[Sequence[str]]
    rows: Any

    def known(self, count: int) -> Any:
        """Weights of known notes, sparse (readers, ``count``)."""
        inside = np.flatnonzero(self.rows >= 0)
        place = sparse.csr_matrix((np.ones(len(inside), np.float32), (inside, self.rows[inside])), shape=(len(self.rows), count))
        return (self.weights @ place).tocsr()


def stack_histories(histories: Sequence[Sequence[ActedNote]], known: Mapping[str, int]) -> Histories:
    """All notes of the histories, each note with the tags it has there once.

    Args:
        known: row by note of those that a space was trained on.
    """
    columns: dict[tuple[str, tuple[str, ...]], int] = {}
    readers, notes, weights = list[int](), list[int](), list[float]()
    for reader, history in enumerate(histories):
        for acted in history:
            readers.append(reader)
            notes.append(columns.setdefault((acted.note_id, tuple(acted.tags)), len(columns)))
            weights.append(acted.weight)
    shape = (len(histories), len(columns))
    matrix = sparse.coo_matrix((np.array(weights, np.float32), (readers, notes)), shape=shape).tocsr()
    rows = np.array([known.get(note_id, -1) for note_id, _ in columns], np.int64)
    return Histories(matrix, [tags for _, tags in columns], rows)
