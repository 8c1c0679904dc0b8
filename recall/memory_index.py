"""The exact twin of the note index in memory."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recall.stores import Hit, Vector, Window
from recall.vectors import HOUR_MS, SLACK_MS, checked, checked_queries, dimension_in, dropped, now_ms
from schemas.writes import TAG_SPACE, DropVector, PutVector


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

    def upsert(self, puts: Sequence[PutVector]) -> None:
        horizon = self._clock() - self._fresh_ms - SLACK_MS
        for space, of_space in checked(puts, self._dimensions).items():
            for put in of_space:
                self._rows[space][put.note_id] = put
                if put.published_at >= horizon:
                    self._fresh.add(put.note_id)
                else:
                    self._fresh.discard(put.note_id)

    def drop(self, drops: Sequence[DropVector]) -> None:
        for space, note_ids in dropped(drops, self._rows).items():
            for note_id in note_ids:
                self._rows[space].pop(note_id, None)
        self._fresh -= {one.note_id for one in drops if not any(one.note_id in rows for rows in self._rows.values())}

    def search(self, vectors: Vector, k: int, window: Window, space: str = TAG_SPACE) -> list[list[Hit]]:
        queries = checked_queries(vectors, space, dimension_in(self._dimensions, space))
        low = float("-inf") if window.since is None else window.since
        high = float("inf") if window.until is None else window.until
        rows = [row for row in self._rows[space].values() if low <= row.published_at <= high]
        if not rows or k <= 0:
            return [[] for _ in queries]
        scores = queries @ np.stack([np.asarray(row.vector, dtype=np.float32) for row in rows]).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[Hit(rows[i].note_id, float(scores[q, i]), rows[i].published_at) for i in order] for q, order in enumerate(best)]

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
