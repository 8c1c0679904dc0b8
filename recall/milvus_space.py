"""One space of the note index in Milvus: two collections with the same rows (``recall/note_collections.py``).

``MAIN`` (HNSW) has every note; ``FRESH`` (FLAT, exact) has those younger than ``fresh_hours``. A window that lies within the fresh ones is
searched there: Milvus looks through segments that are not sealed yet by an interim IVF index that visits a part of its lists only, and
with a narrow time filter most hits would be lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recall.milvus_client import milvus_errors
from recall.note_collections import CREATE_TIMEOUT_S, FRESH, KINDS, MAIN, WRITE_TIMEOUT_S, Place, dimension_of, make_ready, point_alias
from recall.stores import Hit, Window
from recall.vectors import window_filter
from schemas.keys import note_key
from schemas.writes import PutVector

BATCH_ROWS = 500
K_MAX = 16_384
Ask = Callable[[], Any]


class MilvusSpace:
    """The vectors of one space and bundle; safe to use from several threads.

    Args:
        namespace: of the collections.
        space: its name.
        bundle: bundle version; "" reads what the aliases point to.
        client: gives the connected client.
        timeout_s: bound on each read.
    """

    def __init__(self, namespace: str, space: str, bundle: str, client: Ask, timeout_s: float) -> None:
        self._places = {kind: Place(namespace, space, kind, bundle) for kind in KINDS}
        self._names = {kind: place.name for kind, place in self._places.items()}
        self._client = client
        self._timeout_s = timeout_s
        self._dimension = 0

    @property
    def dimension(self) -> int:
        """Of the collection's vectors, asked of the server once."""
        if not self._dimension:
            client = self._client()
            with milvus_errors():
                self._dimension = dimension_of(client, self._name(MAIN))
        return self._dimension

    def create(self, kind: str, dimension: int) -> None:
        """Makes one of the two collections ready; see ``make_ready``."""
        client = self._client()
        with milvus_errors():
            make_ready(client, self._places[kind], dimension)
        self._dimension = dimension

    def activate(self) -> None:
        """Points the aliases to this bundle's collections."""
        client = self._client()
        for place in self._places.values():
            with milvus_errors():
                point_alias(client, place, move=True)

    def upsert(self, puts: Sequence[PutVector], horizon: int) -> None:
        """Writes checked vectors; those published from ``horizon`` on are fresh."""
        client = self._client()
        for start in range(0, len(puts), BATCH_ROWS):
            batch = [_row(put) for put in puts[start : start + BATCH_ROWS]]
            fresh = [row for row in batch if row["published_at"] >= horizon]
            old = [row["pk"] for row in batch if row["published_at"] < horizon]
            with milvus_errors():
                client.upsert(self._name(MAIN), batch, timeout=WRITE_TIMEOUT_S)
                if fresh:
                    client.upsert(self._name(FRESH), fresh, timeout=WRITE_TIMEOUT_S)
                if old:  # an update may have moved the note's publication back
                    client.delete(self._name(FRESH), ids=old, timeout=WRITE_TIMEOUT_S)

    def drop(self, note_ids: Sequence[str]) -> None:
        """Removes notes from both collections."""
        keys = [note_key(note_id) for note_id in note_ids]
        client = self._client()
        for start in range(0, len(keys), BATCH_ROWS):
            for kind in (FRESH, MAIN):
                with milvus_errors():
                    client.delete(self._name(kind), ids=keys[start : start + BATCH_ROWS], timeout=WRITE_TIMEOUT_S)

    def search(self, queries: Any, k: int, window: Window, *, fresh: bool) -> list[list[Hit]]:
        """The nearest ``k`` of each row of ``queries``; ``fresh``: the window lies within the fresh ones."""
        kind, k = (FRESH if fresh else MAIN), min(k, K_MAX)
        params = {} if fresh else {"ef": min(max(128, 2 * k), 2 * K_MAX)}
        with milvus_errors():
            found = self._client().search(
                self._name(kind),
                data=list(queries),
                filter=window_filter(window),
                limit=k,
                output_fields=["note_id", "published_at"],
                search_params={"metric_type": "IP", "params": params},
                consistency_level="Bounded",
                timeout=self._timeout_s,
            )
        return [[_hit(float(hit["distance"]), hit["entity"]) for hit in hits] for hits in found]

    def visible(self, note_ids: Sequence[str], since: int) -> dict[str, int]:
        """Found by a Bounded read of the main collection and, where published from ``since`` on, of the fresh one."""
        seen: dict[str, int] = {}
        for start in range(0, len(note_ids), BATCH_ROWS):
            main = self._rows(MAIN, [note_key(note_id) for note_id in note_ids[start : start + BATCH_ROWS]])
            young = [row["pk"] for row in main if row["published_at"] >= since]
            fresh = {row["pk"]: row["occurred_at"] for row in self._rows(FRESH, young)}
            for row in main:
                if row["published_at"] < since:
                    seen[row["note_id"]] = row["occurred_at"]
                elif row["pk"] in fresh:
                    seen[row["note_id"]] = min(row["occurred_at"], fresh[row["pk"]])
        return seen

    def vectors(self, note_ids: Sequence[str]) -> dict[str, Any]:
        """Vectors of the notes that the main collection has."""
        found: dict[str, Any] = {}
        client = self._client()
        for start in range(0, len(note_ids), BATCH_ROWS):
            keys = [note_key(note_id) for note_id in note_ids[start : start + BATCH_ROWS]]
            with milvus_errors():
                rows = client.get(self._name(MAIN), ids=keys, output_fields=["note_id", "vector"], timeout=WRITE_TIMEOUT_S)
            found |= {row["note_id"]: np.asarray(row["vector"], np.float32) for row in rows}
        return found

    def expire(self, before: int) -> int:
        """Removes from the fresh collection what was published before; returns how many."""
        expired = f"published_at < {before:d}"
        client = self._client()
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
            found = self._client().query(
                self._name(kind),
                filter=f"pk in [{listed}]",
                output_fields=["pk", "note_id", "published_at", "occurred_at"],
                consistency_level="Bounded",
                timeout=self._timeout_s,
            )
        return list(found)

    def _name(self, kind: str) -> str:
        return self._names[kind]


def _hit(score: float, fields: Mapping[str, Any]) -> Hit:
    return Hit(fields["note_id"], score, fields["published_at"])


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
