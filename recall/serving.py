"""Recall as a service: stores that follow the live bundle, and an answer also while Redis is down.

Without Redis nothing is known of the reader. The newest notes, read every few seconds while it was there, are answered then, with a line in
``degraded``: what the reader acted on cannot be left out, and a note deleted since may be among them. Without Milvus the query itself goes
on with the channels that need Redis alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from recall.build import Live
from recall.known_note import Inspected, in_stores
from recall.merge import RANK_OFFSET, ChannelScore
from recall.note_index import now_ms
from recall.query import Query, Recalled, Result, recall
from recall.reader import KnownNotes, ProfileView, read_reader, view_profile
from recall.stores import Window
from recall.together import TogetherIndex, TogetherSpace
from schemas.errors import TagStreamError, Transient
from schemas.settings import Settings
from schemas.stored import NoteRecord

REFRESH_S = 5.0
POINTER_S = 1.0
NEWEST = 1_000

Opener = Callable[[], Live]
log = logging.getLogger(__name__)


class LiveStores:
    """Stores and encoder of the live bundle; the pointer is read once a second.

    When another bundle becomes live it is opened and loaded by a thread while the one before goes on answering, so a switch delays no
    request; each answer is made of one bundle alone.

    Args:
        opened: opens the bundle that is live, ready to answer.
        active: the version of that bundle.
        batch: readers whose searches are made together; 1 for none.
    """

    def __init__(self, opened: Opener, active: Callable[[], str | None], batch: int) -> None:
        self._opened, self._active, self._batch = opened, active, batch
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._opening: threading.Thread | None = None
        self._asked_at = 0.0

    def __call__(self) -> Live:
        """What answers now.

        Raises:
            Transient: Redis does not answer.
            BundleMismatch: at first: what is live is not what the settings name.
        """
        with self._lock:
            moment = time.monotonic()
            if self._live is None:
                self._live, self._asked_at = self._together(self._opened()), moment
            elif moment - self._asked_at >= POINTER_S:
                self._follow(self._live.stores.bundle)
                self._asked_at = moment
            return self._live

    def _follow(self, bundle: str | None) -> None:
        """Begins to open what is live, if it is another bundle and nobody does so already."""
        if self._opening is not None and self._opening.is_alive():
            return
        if self._active() != bundle:
            self._opening = threading.Thread(target=self._open, name="next-bundle", daemon=True)
            self._opening.start()

    def _open(self) -> None:
        try:
            found = self._together(self._opened())
        except TagStreamError as error:
            log.error("the bundle that is live now cannot be opened, answers go on from the one before: %s", error)
            return
        with self._lock:
            self._live = found

    def _together(self, live: Live) -> Live:
        if self._batch == 1:
            return live
        stores = live.stores
        spaces = {name: TogetherSpace(space, self._batch) for name, space in stores.spaces.items()}
        return live._replace(stores=replace(stores, index=TogetherIndex(stores.index, self._batch), spaces=spaces))


class Newest(NamedTuple):
    """The newest notes as they were at a moment, epoch ms."""

    at: int
    records: Sequence[NoteRecord]


class Readiness(NamedTuple):
    """Whether requests can be answered in full. ``down``: what does not answer, with why."""

    bundle: str | None
    down: dict[str, str]

    @property
    def ready(self) -> bool:
        """Milvus down still leaves answers, so it does not count."""
        return self.bundle is not None and "redis" not in self.down


class Answers:
    """What the HTTP API answers with; safe to use from several threads.

    Args:
        live: what the live bundle answers from.
    """

    def __init__(self, live: Opener, settings: Settings) -> None:
        self._live = live
        self._settings = settings
        self._newest = Newest(0, [])

    def recall(self, query: Query) -> Recalled:
        """Answers a query; from the newest notes where Redis does not answer.

        Raises:
            BadSetting: a channel is asked for that the live bundle does not have.
            BundleMismatch: the live bundle is another than the settings name.
        """
        try:
            return recall(query, *self._live())
        except Transient as error:
            return self.newest(query, str(error))

    def newest(self, query: Query, why: str) -> Recalled:
        """The newest notes known, for a reader of whom nothing can be said."""
        now = now_ms() if query.as_of is None else query.as_of
        held = self._newest
        since = 0 if query.fresh_within_ms is None else now - query.fresh_within_ms
        fitting = [
            record
            for record in held.records
            if record.author_id != query.user_id and since <= record.published_at and (query.as_of is None or record.published_at <= now)
        ]
        results = [
            Result(
                note_id=record.note_id,
                score=1.0 / (RANK_OFFSET + rank),
                channels=[ChannelScore("fresh", rank, float(record.published_at))],
                reasons=[],
                category=record.category,
                published_at=record.published_at,
                tags=[tag.text for tag in record.tags],
            )
            for rank, record in enumerate(fitting[: query.k], start=1)
        ]
        line = f"profiles: {why}; these are the newest notes as of {held.at}, whatever the reader acted on"
        return Recalled(query.user_id, now, results, [], [line])

    def profile(self, user_id: str, as_of: int | None, k: int) -> ProfileView:
        """A reader's profile.

        Raises:
            Transient: Redis does not answer.
        """
        stores = self._live().stores
        moment = now_ms() if as_of is None else as_of
        return view_profile(read_reader(user_id, moment, stores.profiles, KnownNotes(stores.notes), stores.settings), moment, k)

    def note(self, note_id: str) -> Inspected | None:
        """A note as the stores know it; None where they do not.

        Raises:
            Transient: Redis does not answer.
        """
        return in_stores(note_id, self._live().stores)

    def readiness(self) -> Readiness:
        """Asks every store."""
        down: dict[str, str] = {}
        try:
            stores = self._live().stores
            stores.notes.get(["-"])
        except Transient as error:
            return Readiness(None, {error.dependency: str(error)})
        try:
            stores.index.visible(["-"])
        except Transient as error:
            down[error.dependency] = str(error)
        return Readiness(stores.bundle, down)

    def refresh(self) -> None:
        """Reads the newest notes, to be answered while Redis is down.

        Raises:
            Transient: Redis does not answer.
        """
        stores, now = self._live().stores, now_ms()
        hits = stores.notes.recent(["*"], Window(), NEWEST)
        records = stores.notes.get([hit.note_id for hit in hits])
        self._newest = Newest(now, [record for hit in hits if (record := records.get(hit.note_id)) is not None and not record.deleted])

    def keep_fresh(self, stop: threading.Event) -> None:
        """Refreshes until told to stop; while Redis is down what was read last stays."""
        while not stop.is_set():
            with suppress(Transient):  # readiness says so
                self.refresh()
            stop.wait(REFRESH_S)
