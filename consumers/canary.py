"""A canary: a note that the pipeline publishes to itself, looks for through recall until it is found, and deletes again. Read ``run``.

It goes the way of every note: topic note-events, ``tag-notes``, ``index-notes``, Redis and Milvus. "Found" means that ``recall()``, over
the stores of the live bundle, returns it to a reader who likes exactly the tags that the tagger gave it, by the channel ``tag_embedding``:
the tag encoder made the reader's vector, a Milvus search found the note, and its record passed the filters. Only that reader's profile is
made up on the spot. Every other reader's recall removes it with the reason ``canary``.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from consumers.canary_log import SLOTS, CanaryLog, CanaryRun, OpenCanary, slot_id
from recall.build import Live
from recall.note_index import now_ms
from recall.profiles import MemoryProfiles
from recall.query import NO_BUNDLE, Query, Recalled, RecallStores, recall
from recall.serving import Opener
from schemas.canary import CANARY_PREFIX, CANARY_READER
from schemas.errors import TagStreamError
from schemas.events import NoteEvent, Tag
from schemas.stored import Profile, ProfileRecord
from schemas.writes import PutProfile
from streams.jobs import Stop
from streams.metrics import Metrics

log = logging.getLogger(__name__)
POLL_S = 0.05
LOOK_BEFORE = (Tag(text="cushioned midsole", dimension="cushioning", rank=1, confidence=1.0),)
FORGET_MS = 86_400_000
"""How long a deletion that is in Kafka may take to show before its entry is given up: the bundle it was for may be gone."""
Send = Callable[[NoteEvent], None]
"""Publishes a note event; returns once the broker has it."""


class Canary:
    """Publishes canary notes, one at a time, and leaves none behind.

    Args:
        live: stores and encoder of the live bundle.
        send: publishes a note event.
        late_s: time after which a canary that is not found is late; as long as it waits for one to be gone.
        pause: sleeps between two looks, seconds.
    """

    def __init__(
        self,
        live: Opener,
        memory: CanaryLog,
        send: Send,
        late_s: float,
        *,
        metrics: Metrics,
        clock: Callable[[], int] = now_ms,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._live = live
        self._memory = memory
        self._send = send
        self._late_ms = late_s * 1000
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._mine: set[str] = set()
        self._next = clock() // 60_000

    def run(self, stop: Stop) -> CanaryRun | None:
        """One canary, to its end; None when told to stop before it was found. What is down is said in the run, never raised."""
        published = self._published()
        if isinstance(published, CanaryRun):
            return self._ended(published)
        entry, began = published
        missing = "nobody looked for it"
        while missing and not stop.requested and self._clock() - began < self._late_ms:
            missing = self._missing(entry)
            if missing:
                self._pause(POLL_S)
        if missing and stop.requested:
            self._delete_or_say(entry)
            return None
        taken = self._clock() - began
        if missing:
            run = CanaryRun(began, entry.note_id, "late", None, f"not found after {taken / 1000:.1f} s: {missing}")
        elif taken > self._late_ms:
            run = CanaryRun(began, entry.note_id, "late", float(taken), f"found after {taken / 1000:.1f} s")
        else:
            run = CanaryRun(began, entry.note_id, "found", float(taken))
        self._ended(run)
        deleted = self._delete_or_say(entry)
        if deleted is not None and not missing:
            self._see_it_go(deleted, stop)
        return run

    def sweep(self) -> int:
        """Deletes canaries that a process left behind, and forgets deleted ones that are gone. Returns how many are left to wait for.

        Raises:
            Transient: the canary's memory does not answer, or Kafka does not take a deletion.
        """
        left = 0
        for entry in self._memory.open():
            if entry.note_id not in self._mine and entry.until > self._clock():
                continue  # another process sees to it
            deleted = self._delete(entry) if entry.deleted_at is None else entry
            if self._gone(deleted):
                self._forget(deleted)
            else:
                left += 1
        return left

    def finish(self) -> int:
        """Waits until everything of this process is gone, at most ``late_s``. Returns how many canaries are left to the next start."""
        until = self._clock() + self._late_ms
        left = 1
        while left and self._clock() < until:
            try:
                left = self.sweep()
            except TagStreamError as error:
                log.info("canary: %s", error)
            if left:
                self._pause(POLL_S)
        return left

    def _published(self) -> tuple[OpenCanary, int] | CanaryRun:
        """A canary on its way with the moment (epoch ms) just before it was published, or why there is none.

        A look before it spares it what only the first one would wait for: connecting, loading.
        """
        why = f"none of the {SLOTS} canaries before it is gone yet: deletions do not reach the stores"
        try:
            self.sweep()
            live = self._live()
            if live.stores.bundle is None:
                return CanaryRun(self._clock(), "", "skipped", None, NO_BUNDLE)
            look(live, LOOK_BEFORE, self._clock())
            now = self._clock()
            for number in range(self._next, self._next + SLOTS):
                note_id = slot_id(number)
                held = live.stores.notes.get([note_id]).get(note_id)
                at = now if held is None else max(now, held.occurred_at + 1)
                entry = OpenCanary(note_id, at, now + 2 * math.ceil(self._late_ms))
                if self._memory.replace(note_id, None, entry):
                    self._next = number + 1
                    self._mine.add(note_id)
                    self._send(note_of(entry))
                    return entry, now
        except TagStreamError as error:
            why = str(error)
        return CanaryRun(self._clock(), "", "skipped", None, why)

    def _missing(self, entry: OpenCanary) -> str:
        """Why recall does not return the canary; empty when it does."""
        try:
            live = self._live()
            record = live.stores.notes.get([entry.note_id]).get(entry.note_id)
            if record is None or record.occurred_at != entry.at:
                return "it waits for tag-notes or index-notes, the stores do not have it"
            if not record.tags:
                return f"tagger {record.tagger} gave it no tags, so no search can find it"
            answer = look(live, record.tags, entry.at)
        except TagStreamError as error:
            return str(error)
        if any(one.note_id == entry.note_id for one in answer.results):
            return ""
        return "; ".join(answer.degraded) or "it is stored, but the search does not return it"

    def _delete(self, entry: OpenCanary) -> OpenCanary:
        """The entry once the canary's deletion is in Kafka."""
        deleted = replace(entry, deleted_at=max(self._clock(), entry.at + 1))
        self._send(note_of(deleted))
        self._memory.replace(entry.note_id, entry, deleted)
        return deleted

    def _delete_or_say(self, entry: OpenCanary) -> OpenCanary | None:
        """The same; None, and a warning, where a server is down: the next sweep does it again."""
        try:
            return self._delete(entry)
        except TagStreamError as error:
            log.warning("canary %s is not deleted yet: %s", entry.note_id, error)
            return None

    def _forget(self, entry: OpenCanary) -> None:
        self._memory.replace(entry.note_id, entry, None)
        self._mine.discard(entry.note_id)

    def _gone(self, entry: OpenCanary) -> bool:
        """Whether the deletion reached the record and no search finds a vector."""
        assert entry.deleted_at is not None
        if self._clock() - entry.deleted_at > FORGET_MS:
            return True
        try:
            stores = self._live().stores
            record = stores.notes.get([entry.note_id]).get(entry.note_id)
            if record is None or not record.deleted or record.occurred_at < entry.deleted_at:
                return False
            return not stores.index.visible([entry.note_id])
        except TagStreamError as error:
            log.info("canary %s: %s", entry.note_id, error)
            return False

    def _see_it_go(self, entry: OpenCanary, stop: Stop) -> None:
        began = self._clock()
        while not self._gone(entry):
            if stop.requested:
                return
            if self._clock() - began >= self._late_ms:
                why = f"deleted, and not gone after {self._late_ms / 1000:g} s"
                self._ended(CanaryRun(began, entry.note_id, "kept", None, why))
                return
            self._pause(POLL_S)
        self._metrics.observe("tagstream_canary_seconds", (self._clock() - began) / 1000, step="gone")
        try:
            self._forget(entry)
        except TagStreamError as error:
            log.warning("canary: %s", error)

    def _ended(self, run: CanaryRun) -> CanaryRun:
        """Reports how a canary did: a warning, a metric, and a line for ``tagstream slo``."""
        self._metrics.count("tagstream_canaries_total", 1, outcome=run.outcome)
        if run.found_ms is not None:
            self._metrics.observe("tagstream_canary_seconds", run.found_ms / 1000, step="found")
        if run.outcome == "found":
            log.info("canary %s found after %.0f ms", run.note_id, run.found_ms)
        else:
            log.warning("canary %s%s", run.outcome, f" {run.note_id}: {run.detail}" if run.note_id else f": {run.detail}")
        try:
            self._memory.add_run(run)
        except TagStreamError as error:
            log.warning("canary: this run is not recorded: %s", error)
        return run


def note_of(entry: OpenCanary) -> NoteEvent:
    """The event that publishes a canary, or the one that deletes it: phrases that the handbook knows, and its number, so that no canary is
    a repost of another."""
    return NoteEvent(
        type="note.published" if entry.deleted_at is None else "note.deleted",
        note_id=entry.note_id,
        author_id=f"{CANARY_PREFIX}author",
        occurred_at=entry.at if entry.deleted_at is None else entry.deleted_at,
        published_at=entry.at,
        category="shoes",
        title="Breathable knit upper and cushioned midsole",
        body=f"Carbon plate, grippy rubber outsole and a roomy toe box. Canary {entry.note_id.removeprefix(CANARY_PREFIX)}.",
        language="en",
    )


def look(live: Live, tags: Sequence[Tag], at: int) -> Recalled:
    """What the canary's reader gets who likes these tags: the notes of a day whose vectors are most like theirs."""
    query = Query(user_id=CANARY_READER, channels=("tag_embedding",))
    return recall(query, stores_of_reader(live.stores, tags, at), live.encoder)


def stores_of_reader(stores: RecallStores, tags: Sequence[Tag], at: int) -> RecallStores:
    """The same stores with one reader, who likes the given tags as much as they weigh in their note's vector."""
    liked = {tag.text: max(tag.confidence, 1e-3) / math.log2(1 + tag.rank) for tag in tags}
    profile = Profile(newest=at, residue=liked, landmark=at, residue_at=at)
    profiles = MemoryProfiles()
    profiles.write([PutProfile(CANARY_READER, b"", ProfileRecord(settled=msgspec.msgpack.encode(profile)))])
    return replace(stores, profiles=profiles)
