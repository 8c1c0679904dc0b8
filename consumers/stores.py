"""The online stores as the engine sees them: each takes its kinds of writes and applies them."""

from collections.abc import Sequence
from typing import Any

from consumers.recallable import Observe, RecallableWatch
from recall.stores import NoteIndex, Notes, Profiles
from schemas.stored import NoteRecord
from schemas.writes import TAG_SPACE, DropVector, PutNote, PutProfile, PutVector
from streams.roles import Applied

TAGGER_STAGES = ("received", "tagged")


class ProfileStore:
    """Reader records; what compare-and-set refuses goes back to the engine, which has it decided again."""

    accepts: tuple[type[Any], ...] = (PutProfile,)

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def apply(self, writes: Sequence[PutProfile]) -> Applied:
        """Raises ``Transient`` when Redis does not answer; applying again then is harmless."""
        return Applied(conflicts=self._profiles.write(writes))


class NoteStore:
    """Note records, then vectors. The record decides: where it turns out stale, the vector decided with it is left out.

    Args:
        watch: stamps what a search finds.
        observe: called with each stage that a note had passed and the seconds since it was published.
    """

    accepts: tuple[type[Any], ...] = (PutNote, PutVector, DropVector)

    def __init__(self, notes: Notes, index: NoteIndex, watch: RecallableWatch | None = None, observe: Observe | None = None) -> None:
        self._notes = notes
        self._index = index
        self._watch = watch
        self._observe = observe

    def apply(self, writes: Sequence[PutNote | PutVector | DropVector]) -> Applied:
        """Raises ``Transient`` when Redis or Milvus does not answer, ``PoisonBatch`` for a vector that the index cannot hold."""
        puts = [write for write in writes if isinstance(write, PutNote)]
        stale = self._notes.put(puts) if puts else []
        late = {id(put) for put in stale}
        outdated = {note_id for note_id, put in {put.record.note_id: put for put in puts}.items() if id(put) in late}
        vectors = [write for write in writes if isinstance(write, PutVector) and write.note_id not in outdated]
        drops = [write for write in writes if isinstance(write, DropVector) and write.note_id not in outdated]
        if drops:
            self._index.drop(drops)
        if vectors:
            self._index.upsert(vectors)
            if self._watch is not None:
                published = {put.record.note_id: published_at(put.record) for put in puts}
                self._watch.written([put for put in vectors if put.space == TAG_SPACE], published)
        if self._observe is not None:
            self._report([put.record for put in puts if id(put) not in late], self._observe)
        return Applied(stale=len(stale))

    def _report(self, records: Sequence[NoteRecord], observe: Observe) -> None:
        for record in records:
            for stage in TAGGER_STAGES:
                if stage in record.stages:
                    observe(stage, (record.stages[stage] - published_at(record)) / 1000)


def published_at(record: NoteRecord) -> int:
    """When the note's event reached Kafka, epoch ms; without that stamp, when the author published it."""
    return record.stages.get("published", record.published_at)
