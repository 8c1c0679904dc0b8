"""``index-notes``: tagged notes in, records and vectors out. What is live and what is shadow does not matter here: one job, one bundle.

Every bundle version has its own consumer group (``consumers.build.group_of``) and reads the whole topic from the start, so that a new
version is built beside the live one. An event tagged by another bundle is therefore passed over without a write: it is neither invalid nor
stale, it is the work of that bundle's own group, and vectors of two encoders must never meet in one collection.
"""

import logging
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np

from models.pooling import note_vector
from models.roles import Space, TagEncoder
from recall.notes import supersedes
from recall.stores import Notes, Vector
from schemas.errors import PoisonBatch
from schemas.events import NoteTagged
from schemas.records import Received
from schemas.stored import NoteRecord
from schemas.writes import TAG_SPACE, DropVector, PutNote, PutVector, Skip, Write

log = logging.getLogger(__name__)
_canonical = msgspec.json.Encoder(order="deterministic").encode


class IndexNotes:
    """Decides what the stores hold of each tagged note.

    Args:
        notes: records that decide which event is newer.
        encoder: the bundle's tag encoder.
        bundle: the bundle version these stores belong to.
        spaces: the bundle's learned spaces.
    """

    def __init__(self, notes: Notes, encoder: TagEncoder, bundle: str, spaces: Sequence[Space] = ()) -> None:
        self._notes = notes
        self._encoder = encoder
        self._bundle = bundle
        self._spaces = spaces
        self._foreign: set[str] = set()

    def handle(self, batch: Sequence[Received[NoteTagged]]) -> list[Write]:
        """``PutNote`` per event that is not stale, then per note, for the event that won, a ``PutVector`` in
        every space or one ``DropVector``.

        A redelivery is written again, so that what a crash left half done is completed.

        Raises:
            PoisonBatch: when a note's tag vectors are not finite; the engine finds it by bisection.
            Transient: when Redis does not answer.
        """
        events = [item.event for item in batch if self._ours(item.event)]
        held = dict(self._notes.get([event.note_id for event in events]))
        writes: list[Write] = []
        winners: dict[str, NoteTagged] = {}
        for event in events:
            record, previous = record_of(event), held.get(event.note_id)
            if not supersedes(previous, record):
                writes.append(Skip("stale"))
                continue
            writes.append(PutNote(record, previous))
            held[event.note_id] = record
            winners[event.note_id] = event
        return writes + self._vectors(list(winners.values()))

    def _vectors(self, events: Sequence[NoteTagged]) -> list[Write]:
        """The vectors of each note; all distinct tag texts of the batch are encoded in one call, and each space maps it in one."""
        texts = sorted({tag.text for event in events for tag in event.tags if not event.deleted})
        encoded: dict[str, Vector] = dict(zip(texts, self._encoder.encode(texts), strict=True)) if texts else {}
        writes: list[Write] = [DropVector(event.note_id) for event in events if event.deleted or not event.tags]
        live = [event for event in events if event.tags and not event.deleted]
        for event in live:
            rows = np.stack([encoded[tag.text] for tag in event.tags])
            try:
                vector = note_vector(rows, [tag.confidence for tag in event.tags], [tag.rank for tag in event.tags])
            except ValueError as error:
                raise PoisonBatch(f"note {event.note_id!r}: {error}") from None
            writes.append(_put(event, vector, TAG_SPACE))
        ranked = [sorted(event.tags, key=lambda tag: tag.rank) for event in live]
        tags, confidences = [[tag.text for tag in mine] for mine in ranked], [[tag.confidence for tag in mine] for mine in ranked]
        for space in self._spaces if live else ():
            for event, vector in zip(live, space.notes(tags, confidences), strict=True):
                if not np.isfinite(vector).all():
                    raise PoisonBatch(f"note {event.note_id!r}: its vector in space {space.name} is not finite")
                writes.append(_put(event, vector, space.name))
        return writes

    def _ours(self, event: NoteTagged) -> bool:
        if event.bundle == self._bundle:
            return True
        if event.bundle not in self._foreign:
            self._foreign.add(event.bundle)
            log.warning(
                "note-tagged holds notes of bundle %s; they are left to its own group, this one indexes %s", event.bundle, self._bundle
            )
        return False


def _put(event: NoteTagged, vector: Vector, space: str) -> PutVector:
    return PutVector(event.note_id, event.author_id, event.category, event.published_at, event.occurred_at, vector, space)


def record_of(event: NoteTagged) -> NoteRecord:
    """What is stored of an event; a deletion leaves a tombstone without tags, so that an older event cannot bring the note back."""
    return NoteRecord(
        note_id=event.note_id,
        author_id=event.author_id,
        occurred_at=event.occurred_at,
        deleted=event.deleted,
        revision=event.revision,
        digest=digest_of(event),
        published_at=event.published_at,
        category=event.category,
        tags=[] if event.deleted else event.tags,
        fingerprint=event.fingerprint,
        tagger=event.tagger,
        degraded=event.degraded,
        stages=dict(event.stages),
    )


def digest_of(event: NoteTagged) -> bytes:
    """16 bytes of content hash without the stage times: a note event tagged once more with the same tags is the same event."""
    return blake2b(_canonical(msgspec.structs.replace(event, stages={})), digest_size=16).digest()
