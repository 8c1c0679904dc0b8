"""The exact twin of the note index in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recall.stores import Hit, Vector, Window
from recall.vectors import HOUR_MS, SLACK_MS, checked, checked_queries, dimension_in, dropped, now_ms
from schemas.writes import TAG_SPACE, DropVector, PutVector


class _Stacked(NamedTuple):
    """The rows of a space: ids, publication times (rows,), vectors (rows, dimension)."""

    ids: list[str]
    published: NDArray[np.int64]
    matrix: Vector


class MemoryNoteIndex:
    """The exact in-memory twin of ``MilvusNoteIndex``, for tests and dry runs.

    Args:
        dimension: of the tag vectors.
        fresh_hours: age up to which a note is kept as fresh.
        clock: epoch ms, decides what is fresh.
        spaces: dimension of each further space.
    """

    def __init__(
        self, dimension: int, fresh_hours: float = 48.0, clock: Callable[[], int] = now_ms, spaces: Mapping[str, int] | None = None
    ) -> None:
        self._dimensions = {TAG_SPACE: dimension, **(spaces or {})}
        self._fresh_ms = int(fresh_hours * HOUR_MS)
        self._clock = clock
        self._rows: dict[str, dict[str, PutVector]] = {space: {} for space in self._dimensions}
        self._fresh: set[str] = set()
        self._writes = 0
        self._matrices: dict[str, tuple[int, _Stacked]] = {}

    def upsert(self, puts: Sequence[PutVector]) -> None:
        horizon = self._clock() - self._fresh_ms - SLACK_MS
        for space, of_space in checked(puts, self._dimensions).items():
            for put in of_space:
                self._rows[space][put.note_id] = put
                if put.published_at >= horizon:
                    self._fresh.add(put.note_id)
                else:
                    self._fresh.discard(put.note_id)
        self._writes += 1

    def drop(self, drops: Sequence[DropVector]) -> None:
        for space, note_ids in dropped(drops, self._rows).items():
            for note_id in note_ids:
                self._rows[space].pop(note_id, None)
        self._writes += 1
        self._fresh -= {one.note_id for one in drops if not any(one.note_id in rows for rows in self._rows.values())}

    def search(self, vectors: Vector, k: int, window: Window, space: str = TAG_SPACE) -> list[list[Hit]]:
        queries = checked_queries(vectors, space, dimension_in(self._dimensions, space))
        ids, published, matrix = self._stacked(space)
        since = -np.inf if window.since is None else window.since
        until = np.inf if window.until is None else window.until
        rows = np.flatnonzero((published >= since) & (published <= until))
        if not len(rows) or k <= 0:
            return [[] for _ in queries]
        scores = queries @ (matrix if len(rows) == len(ids) else matrix[rows]).T
        return [[Hit(ids[row], score, at) for row, score, at in _best(mine, rows, published, k)] for mine in scores]

    def _stacked(self, space: str) -> "_Stacked":
        """The rows of a space as they stand."""
        known = self._matrices.get(space)
        if known is not None and known[0] == self._writes:
            return known[1]
        writes, rows = self._writes, list(self._rows[space].values())
        matrix = np.zeros((len(rows), self._dimensions[space]), np.float32)
        for at, row in enumerate(rows):
            matrix[at] = row.vector
        stacked = _Stacked([row.note_id for row in rows], np.array([row.published_at for row in rows], np.int64), matrix)
        self._matrices[space] = (writes, stacked)
        return stacked

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        return {
            note_id: min(rows[note_id].occurred_at for rows in self._rows.values())
            for note_id in note_ids
            if all(note_id in rows for rows in self._rows.values())
        }

    def vectors(self, note_ids: Sequence[str], space: str = TAG_SPACE) -> dict[str, Vector]:
        dimension_in(self._dimensions, space)
        rows = self._rows[space]
        return {note_id: np.asarray(rows[note_id].vector, np.float32) for note_id in note_ids if note_id in rows}

    def expire(self, before: int) -> int:
        before = min(before, self._clock() - self._fresh_ms)
        published = {note_id: row.published_at for rows in self._rows.values() for note_id, row in rows.items()}
        expired = {note_id for note_id in self._fresh if published[note_id] < before}
        self._fresh -= expired
        return len(expired)


def _best(scores: NDArray[Any], rows: NDArray[np.int64], published: NDArray[np.int64], k: int) -> Iterator[tuple[int, float, int]]:
    """Row, score and publication time of the ``k`` highest scored rows, equal ones in their order; what is not a number comes last."""
    kept = np.arange(len(scores))
    if k < len(scores):
        last = np.partition(-scores, k - 1)[k - 1]
        if not np.isnan(last):
            kept = np.flatnonzero(-scores <= last)
    kept = kept[np.argsort(-scores[kept], kind="stable")[:k]]
    best = rows[kept]
    return zip(best.tolist(), scores[kept].tolist(), published[best].tolist(), strict=True)
