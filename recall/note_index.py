"""Nearest notes by their vectors, in every space of a bundle: the tag encoder's and the learned ones.

What one space is made of is in ``recall/milvus_space.py``; the twin in memory is in ``recall/memory_index.py``. Writes go to all spaces at
once: the time a note takes to become recallable is that of one space.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from recall.memory_index import MemoryNoteIndex
from recall.milvus_client import milvus_client
from recall.milvus_space import BATCH_ROWS, MilvusSpace
from recall.note_collections import KINDS
from recall.stores import Hit, Vector, Window
from recall.vectors import HOUR_MS, SLACK_MS, checked, checked_queries, dropped, now_ms, window_filter
from schemas.errors import BundleMismatch
from schemas.settings import Settings
from schemas.writes import TAG_SPACE, DropVector, PutVector

T = TypeVar("T")
__all__ = ["BATCH_ROWS", "HOUR_MS", "MemoryNoteIndex", "MilvusNoteIndex", "now_ms", "window_filter"]


class MilvusNoteIndex:
    """``NoteIndex`` on a Milvus server. Connects on first use; safe to use from several threads.

    Args:
        settings: server, namespace, ``fresh_hours`` and ``recall_timeout_s`` (bound on each read).
        bundle: bundle version whose collections are meant; "" reads whatever the aliases point to.
        clock: epoch ms, decides what is fresh.
        spaces: names of the bundle's learned spaces; the tag encoder's is always there.
    """

    def __init__(self, settings: Settings, bundle: str, clock: Callable[[], int] = now_ms, spaces: Sequence[str] = ()) -> None:
        self._settings = settings
        self._clock = clock
        self._fresh_ms = int(settings.fresh_hours * HOUR_MS)
        self._connecting = threading.Lock()
        self._client: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._expired_at = 0
        self._spaces = {
            space: MilvusSpace(settings.namespace, space, bundle, self._connected, settings.recall_timeout_s)
            for space in dict.fromkeys((TAG_SPACE, *spaces))
        }

    def create(self, dimension: int, spaces: Mapping[str, int] | None = None) -> None:
        """Makes the collections, indexes and aliases that are absent and loads them; several processes may do so at once.

        Args:
            dimension: of the tag vectors.
            spaces: dimension of each learned space.

        Raises:
            BundleMismatch: when a collection holds vectors of another dimension.
            Transient: when Milvus does not answer.
        """
        dimensions = {TAG_SPACE: dimension, **(spaces or {})}
        if set(dimensions) != set(self._spaces):
            raise ValueError(f"dimensions of {', '.join(dimensions)} for an index of {', '.join(self._spaces)}")
        self._connected()
        made = [(self._spaces[space], kind, size) for space, size in dimensions.items() for kind in KINDS]
        with ThreadPoolExecutor(len(made)) as each:  # loading a new collection is seconds of waiting
            list(each.map(lambda one: one[0].create(one[1], one[2]), made))

    def activate(self) -> None:
        """Points the aliases to this bundle's collections."""
        for space in self._spaces.values():
            space.activate()

    def upsert(self, puts: Sequence[PutVector]) -> None:
        if not puts:
            return
        by_space = checked(puts, {name: space.dimension for name, space in self._spaces.items()})
        horizon = self._clock() - self._fresh_ms - SLACK_MS
        self._each(lambda name: self._spaces[name].upsert(by_space[name], horizon), list(by_space))
        if self._clock() - self._expired_at >= HOUR_MS:
            self.expire(horizon)
            self._expired_at = self._clock()

    def drop(self, drops: Sequence[DropVector]) -> None:
        by_space = {name: note_ids for name, note_ids in dropped(drops, self._spaces).items() if note_ids}
        self._each(lambda name: self._spaces[name].drop(by_space[name]), list(by_space))

    def search(self, vectors: Vector, k: int, window: Window, space: str = TAG_SPACE) -> list[list[Hit]]:
        asked = self._space(space)
        queries = checked_queries(vectors, space, asked.dimension)
        if k <= 0 or not len(queries):
            return [[] for _ in queries]
        fresh = window.since is not None and window.since >= self._clock() - self._fresh_ms
        return asked.search(queries, k, window, fresh=fresh)

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        since = self._clock() - self._fresh_ms
        distinct = list(dict.fromkeys(note_ids))
        seen = self._each(lambda name: self._spaces[name].visible(distinct, since), list(self._spaces))
        return {note_id: min(of[note_id] for of in seen) for note_id in seen[0] if all(note_id in of for of in seen)}

    def vectors(self, note_ids: Sequence[str], space: str = TAG_SPACE) -> dict[str, Vector]:
        return self._space(space).vectors(note_ids)

    def expire(self, before: int) -> int:
        before = min(before, self._clock() - self._fresh_ms)
        return max(self._each(lambda name: self._spaces[name].expire(before), list(self._spaces)))

    def _space(self, name: str) -> MilvusSpace:
        if name not in self._spaces:
            raise BundleMismatch(f"the note index has no space {name}, only {', '.join(self._spaces)}")
        return self._spaces[name]

    def _each(self, work: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """The work for each space, at the same time; the first error is raised once all have ended."""
        if len(names) <= 1:
            return [work(name) for name in names]
        with self._connecting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(2 * len(self._spaces), thread_name_prefix="note-index")
        running = [self._pool.submit(work, name) for name in names]
        failed = [error for error in [one.exception() for one in running] if error is not None]
        if failed:
            raise failed[0]
        return [one.result() for one in running]

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = milvus_client(self._settings)
            return self._client
