"""Stamps the stages ``indexed`` (upsert acknowledged) and ``recallable`` (a search finds it) on notes, beside the upsert path and without
slowing it."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from recall.note_index import now_ms
from recall.stores import NoteIndex, Notes
from schemas.errors import Transient
from schemas.writes import PutVector

log = logging.getLogger(__name__)
TICK_S = 0.05
DUTY = 4.0
GIVE_UP_S = 60.0
PENDING_MAX = 20_000
INDEXED = "indexed"
STAGE = "recallable"
Observe = Callable[[str, float], None]


class Awaited(NamedTuple):
    """A vector that was written and is not yet seen by a search. ``published`` and ``indexed`` are epoch ms, ``since`` is on the monotonic
    clock; ``stamped``: the record carries the stage ``indexed``."""

    note_id: str
    occurred_at: int
    published: int
    indexed: int
    since: float
    stamped: bool = False


class RecallableWatch:
    """A thread that asks the index which of the vectors written last a search finds by now (a Bounded read, as recall does it), and
    stamps their records. It rests four times as long as it works, so it takes at most a fifth of a core while a backfill runs.

    What it stamps is an observation, not state: notes that are not found within a minute, or still awaited when the process ends, keep no
    stamp and are recallable all the same.

    Args:
        notes: gets the stamps.
        index: is asked for what is visible.
        observe: called with the stage and the seconds since the note was published, for each stamp.
    """

    def __init__(self, notes: Notes, index: NoteIndex, observe: Observe | None = None) -> None:
        self._notes = notes
        self._index = index
        self._observe = observe
        self._changed = threading.Condition()
        self._pending: list[Awaited] = []
        self._looking = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def written(self, puts: Sequence[PutVector], published: Mapping[str, int]) -> None:
        """Hands over vectors whose upsert was acknowledged, with the epoch ms at which their notes were published; returns at once."""
        self.expect(puts, published)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recallable-watch", daemon=True)
            self._thread.start()

    def expect(self, puts: Sequence[PutVector], published: Mapping[str, int]) -> None:
        """``written`` without the thread: the caller looks by ``check``."""
        now, at = time.monotonic(), now_ms()
        with self._changed:
            self._await([Awaited(put.note_id, put.occurred_at, published[put.note_id], at, now) for put in puts])

    def close(self, timeout_s: float = 2.0) -> None:
        """Waits for what is still awaited, at most so long, and ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending and not self._looking, timeout_s)
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def check(self) -> int:
        """One look at everything awaited; returns how many notes were stamped.

        Raises:
            Transient: when a store does not answer; what is awaited stays so.
        """
        with self._changed:
            awaited, self._pending, self._looking = self._pending, [], True
        left = awaited
        try:
            found = self._index.visible([item.note_id for item in awaited])
            at = now_ms()
            left = awaited = self._stamp_indexed(awaited)
            reached = {item.note_id: item.occurred_at for item in awaited if found.get(item.note_id, -1) >= item.occurred_at}
            self._notes.stamp(reached, STAGE, at)
            oldest = time.monotonic() - GIVE_UP_S
            left = [item for item in awaited if item.note_id not in reached and item.since > oldest]
        finally:
            with self._changed:
                later, self._pending, self._looking = self._pending, [], False
                self._await(left + later)
        if self._observe is not None:
            for item in awaited:
                if item.note_id in reached:
                    self._observe(STAGE, (at - item.published) / 1000)
        return len(reached)

    def _stamp_indexed(self, awaited: list[Awaited]) -> list[Awaited]:
        """What is awaited, each stamped ``indexed``; of one upsert all at once."""
        upserts: dict[int, list[Awaited]] = defaultdict(list)
        for item in awaited:
            if not item.stamped:
                upserts[item.indexed].append(item)
        for at, items in upserts.items():
            self._notes.stamp({item.note_id: item.occurred_at for item in items}, INDEXED, at)
        if self._observe is not None:
            for item in (item for items in upserts.values() for item in items):
                self._observe(INDEXED, (item.indexed - item.published) / 1000)
        return [item._replace(stamped=True) for item in awaited]

    def _await(self, items: list[Awaited]) -> None:
        """Under the lock: a backfill faster than the watch loses the stamps of its oldest notes, never memory."""
        self._pending = (self._pending + items)[-PENDING_MAX:]
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._pending) or self._closing)
                if self._closing:
                    return
            started = time.monotonic()
            try:
                self.check()
            except Transient as error:
                log.info("stage %s waits: %s", STAGE, error)
            spent = time.monotonic() - started
            with self._changed:
                self._changed.wait_for(lambda: self._closing, max(TICK_S, DUTY * spent))
