"""The note store as the engine sees it: records decide over vectors, and stages are reported once per applied event."""

import numpy as np

from consumers.index_notes import record_of
from consumers.stores import NoteStore
from recall.memory_notes import MemoryNotes
from recall.note_index import MemoryNoteIndex
from schemas.events import NoteTagged, Tag
from schemas.writes import DropVector, PutNote, PutVector

NOW = 1_750_000_000_000


def event(text: str, at: int, **fields: object) -> NoteTagged:
    tags = [Tag(text=text, dimension="d", rank=1, confidence=1.0)]
    plain = {"note_id": "n", "author_id": "a", "occurred_at": at, "published_at": NOW, "bundle": "b", "tags": tags}
    return NoteTagged(**(plain | fields))  # type: ignore[arg-type]


def vector(at: int) -> PutVector:
    return PutVector("n", "a", None, NOW, at, np.array([1.0, 0.0], dtype=np.float32))


def test_a_stale_record_takes_its_vector_with_it() -> None:
    notes, index = MemoryNotes(), MemoryNoteIndex(2, clock=lambda: NOW)
    store = NoteStore(notes, index)
    assert store.apply([PutNote(record_of(event("new", NOW + 2))), vector(NOW + 2)]).stale == 0
    assert store.apply([PutNote(record_of(event("old", NOW + 1))), vector(NOW + 1)]).stale == 1
    assert index.visible(["n"]) == {"n": NOW + 2}
    assert [tag.text for tag in notes.get(["n"])["n"].tags] == ["new"]
    assert store.apply([PutNote(record_of(event("", NOW + 1, deleted=True, tags=[]))), DropVector("n")]).stale == 1
    assert index.visible(["n"]) == {"n": NOW + 2}


def test_each_stage_is_reported_in_seconds_since_the_event_was_published() -> None:
    seen: list[tuple[str, float]] = []
    store = NoteStore(MemoryNotes(), MemoryNoteIndex(2, clock=lambda: NOW), observe=lambda stage, seconds: seen.append((stage, seconds)))
    stages = {"published": NOW + 1_000, "received": NOW + 1_100, "tagged": NOW + 1_250}
    store.apply([PutNote(record_of(event("x", NOW, stages=stages))), vector(NOW)])
    assert seen == [("received", 0.1), ("tagged", 0.25)]
    store.apply([PutNote(record_of(event("older", NOW - 1, stages=stages)))])
    assert len(seen) == 2, "a stale event passes no stage"
