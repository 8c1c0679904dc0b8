"""Nearest notes by their tag vectors: Milvus, and its exact twin in memory.

Two collections per bundle version (``recall/tag_collections.py``) hold the same rows. ``tag_vectors`` (HNSW) has every note;
``fresh_tag_vectors`` (FLAT, exact) has those younger than ``fresh_hours``; a writer clears it of older ones once an hour. A window that
lies within the fresh ones is searched there: Milvus looks through segments that are not sealed yet by an interim IVF index that visits
a part of its lists only, and with a narrow time filter most hits would be lost.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from recall.milvus_client import milvus_client, milvus_errors
from recall.stores import Hit, Vector, Window
from recall.tag_collections import CREATE_TIMEOUT_S, FRESH, MAIN, WRITE_TIMEOUT_S, dimension_of, make_ready, point_alias
from schemas.errors import BundleMismatch, PoisonBatch
from schemas.keys import collection, note_key
from schemas.settings import Settings
from schemas.writes import DropVector, PutVector

BATCH_ROWS = 500
K_MAX = 16_384
HOUR_MS = 3_600_000
SLACK_MS = HOUR_MS
"""A note enters the fresh collection up to this much older than ``fresh_hours``, so that clocks of writer and reader may differ."""


def now_ms() -> int:
    """Wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def window_filter(window: Window) -> str:
    """The window as a Milvus expression of integers only; "" when it is open on both ends."""
    bounds = [("published_at >= %d", window.since), ("published_at <= %d", window.until)]
    return " and ".join(text % at for text, at in bounds if at is not None)


def checked(puts: Iterable[PutVector], dimension: int) -> list[PutVector]:
    """The last put of each note, each with a usable vector: one bad row would make the server refuse a whole batch.

    Raises:
        PoisonBatch: naming the note whose vector has another dimension or is not finite.
    """
    latest: dict[str, PutVector] = {}
    for put in puts:
        latest.pop(put.note_id, None)
        latest[put.note_id] = put
    for put in latest.values():
        shape = np.shape(put.vector)
        if shape != (dimension,):
            raise PoisonBatch(f"note {put.note_id!r}: vector of shape {shape}, the index has ({dimension},)")
        if not np.isfinite(put.vector).all():
            raise PoisonBatch(f"note {put.note_id!r}: its vector is not finite")
    return list(latest.values())


class MilvusNoteIndex:
    """``NoteIndex`` on a Milvus server. Connects on first use; safe to use from several threads.

    Args:
        settings: server, namespace, ``fresh_hours`` and ``recall_timeout_s`` (bound on each read).
        bundle: bundle version whose collections are meant; "" reads whatever the aliases point to.
        clock: epoch ms, decides what is fresh.
    """

    def __init__(self, settings: Settings, bundle: str, clock: Callable[[], int] = now_ms) -> None:
        self._settings = settings
        self._bundle = bundle
        self._clock = clock
        self._fresh_ms = int(settings.fresh_hours * HOUR_MS)
        self._connecting = threading.Lock()
        self._client: Any = None
        self._dimension = 0
        self._expired_at = 0

    def create(self, dimension: int) -> None:
        """Makes the collections, indexes and aliases that are absent and loads them; several processes may do so at once.

        Raises:
            BundleMismatch: when the collection holds vectors of another dimension.
            Transient: when Milvus does not answer.
        """
        client = self._connected()

        def make(kind: str) -> None:
            with milvus_errors():
                make_ready(client, kind, self._name(kind), self._alias(kind), dimension)

        with ThreadPoolExecutor(2) as both:  # loading a new collection is seconds of waiting
            list(both.map(make, (MAIN, FRESH)))
        self._dimension = dimension

    def activate(self) -> None:
        """Points the aliases to this bundle's collections."""
        client = self._connected()
        for kind in (MAIN, FRESH):
            with milvus_errors():
                point_alias(client, self._alias(kind), self._name(kind), move=True)

    def upsert(self, puts: Sequence[PutVector]) -> None:
        if not puts:
            return
        rows = [_row(put) for put in checked(puts, self._known_dimension())]
        horizon = self._clock() - self._fresh_ms - SLACK_MS
        client = self._connected()
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows[start : start + BATCH_ROWS]
            fresh = [row for row in batch if row["published_at"] >= horizon]
            old = [row["pk"] for row in batch if row["published_at"] < horizon]
            with milvus_errors():
                client.upsert(self._name(MAIN), batch, timeout=WRITE_TIMEOUT_S)
                if fresh:
                    client.upsert(self._name(FRESH), fresh, timeout=WRITE_TIMEOUT_S)
                if old:  # an update may have moved the note's publication back
                    client.delete(self._name(FRESH), ids=old, timeout=WRITE_TIMEOUT_S)
        if self._clock() - self._expired_at >= HOUR_MS:
            self.expire(horizon)
            self._expired_at = self._clock()

    def drop(self, drops: Sequence[DropVector]) -> None:
        keys = list(dict.fromkeys(note_key(drop.note_id) for drop in drops))
        if not keys:
            return
        client = self._connected()
        for start in range(0, len(keys), BATCH_ROWS):
            for kind in (FRESH, MAIN):
                with milvus_errors():
                    client.delete(self._name(kind), ids=keys[start : start + BATCH_ROWS], timeout=WRITE_TIMEOUT_S)

    def search(self, vectors: Vector, k: int, window: Window) -> list[list[Hit]]:
        queries = np.asarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self._known_dimension():
            raise BundleMismatch(
                f"query vectors of shape {queries.shape}, collection {self._name(MAIN)} holds ({self._known_dimension()},)"
            )
        k = min(k, K_MAX)
        if k <= 0 or not len(queries):
            return [[] for _ in queries]
        kind = FRESH if window.since is not None and window.since >= self._clock() - self._fresh_ms else MAIN
        params = {"ef": min(max(128, 2 * k), 2 * K_MAX)} if kind == MAIN else {}
        with milvus_errors():
            found = self._connected().search(
                self._name(kind),
                data=list(queries),
                filter=window_filter(window),
                limit=k,
                output_fields=["note_id", "published_at"],
                search_params={"metric_type": "IP", "params": params},
                consistency_level="Bounded",
                timeout=self._settings.recall_timeout_s,
            )
        return [[Hit(hit["entity"]["note_id"], float(hit["distance"]), hit["entity"]["published_at"]) for hit in hits] for hits in found]

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        """Found by a Bounded read of the main collection and, while fresh, of the fresh one."""
        since = self._clock() - self._fresh_ms
        seen: dict[str, int] = {}
        distinct = list(dict.fromkeys(note_ids))
        for start in range(0, len(distinct), BATCH_ROWS):
            keys = [note_key(note_id) for note_id in distinct[start : start + BATCH_ROWS]]
            main = self._rows(MAIN, keys)
            young = [row["pk"] for row in main if row["published_at"] >= since]
            fresh = {row["pk"]: row["occurred_at"] for row in self._rows(FRESH, young)}
            for row in main:
                if row["published_at"] < since:
                    seen[row["note_id"]] = row["occurred_at"]
                elif row["pk"] in fresh:
                    seen[row["note_id"]] = min(row["occurred_at"], fresh[row["pk"]])
        return seen

    def expire(self, before: int) -> int:
        before = min(before, self._clock() - self._fresh_ms)
        expired = f"published_at < {before:d}"
        client = self._connected()
        with milvus_errors():
            found = client.query(
                self._name(FRESH), filter=expired, output_fields=["count(*)"], consistency_level="Strong", timeout=WRITE_TIMEOUT_S
            )
            count = int(found[0]["count(*)"])
            if count:
                client.delete(self._name(FRESH), filter=expired, timeout=CREATE_TIMEOUT_S)
        return count

    def _rows(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        if not keys:
            return []
        listed = ", ".join(f'"{key}"' for key in keys)
        with milvus_errors():
            found = self._connected().query(
                self._name(kind),
                filter=f"pk in [{listed}]",
                output_fields=["pk", "note_id", "published_at", "occurred_at"],
                consistency_level="Bounded",
                timeout=self._settings.recall_timeout_s,
            )
        return list(found)

    def _name(self, kind: str) -> str:
        return collection(self._settings.namespace, kind, self._bundle)

    def _alias(self, kind: str) -> str:
        return collection(self._settings.namespace, kind)

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = milvus_client(self._settings)
            return self._client

    def _known_dimension(self) -> int:
        if not self._dimension:
            client = self._connected()
            with milvus_errors():
                self._dimension = dimension_of(client, self._name(MAIN))
        return self._dimension


class MemoryNoteIndex:
    """The exact in-memory twin of ``MilvusNoteIndex``, for tests and dry runs."""

    def __init__(self, dimension: int, fresh_hours: float = 48.0, clock: Callable[[], int] = now_ms) -> None:
        self._dimension = dimension
        self._fresh_ms = int(fresh_hours * HOUR_MS)
        self._clock = clock
        self._rows: dict[str, PutVector] = {}
        self._fresh: set[str] = set()

    def upsert(self, puts: Sequence[PutVector]) -> None:
        horizon = self._clock() - self._fresh_ms - SLACK_MS
        for put in checked(puts, self._dimension):
            self._rows[put.note_id] = put
            if put.published_at >= horizon:
                self._fresh.add(put.note_id)
            else:
                self._fresh.discard(put.note_id)

    def drop(self, drops: Sequence[DropVector]) -> None:
        for drop in drops:
            self._rows.pop(drop.note_id, None)
            self._fresh.discard(drop.note_id)

    def search(self, vectors: Vector, k: int, window: Window) -> list[list[Hit]]:
        queries = np.asarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self._dimension:
            raise BundleMismatch(f"query vectors of shape {queries.shape}, the index holds ({self._dimension},)")
        low = float("-inf") if window.since is None else window.since
        high = float("inf") if window.until is None else window.until
        rows = [row for row in self._rows.values() if low <= row.published_at <= high]
        if not rows or k <= 0:
            return [[] for _ in queries]
        scores = queries @ np.stack([np.asarray(row.vector, dtype=np.float32) for row in rows]).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[Hit(rows[i].note_id, float(scores[q, i]), rows[i].published_at) for i in order] for q, order in enumerate(best)]

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        return {note_id: self._rows[note_id].occurred_at for note_id in note_ids if note_id in self._rows}

    def expire(self, before: int) -> int:
        before = min(before, self._clock() - self._fresh_ms)
        expired = {note_id for note_id in self._fresh if self._rows[note_id].published_at < before}
        self._fresh -= expired
        return len(expired)


def _row(put: PutVector) -> dict[str, Any]:
    return {
        "pk": note_key(put.note_id),
        "note_id": put.note_id,
        "author_id": put.author_id,
        "category": put.category or "",
        "published_at": put.published_at,
        "occurred_at": put.occurred_at,
        "vector": np.asarray(put.vector, dtype=np.float32),
    }
