"""What ``index-notes`` decides for a batch, and that applying it in any split gives the same stores."""

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.index_notes import IndexNotes, digest_of, record_of
from consumers.recallable import INDEXED, STAGE, RecallableWatch
from recall.memory_notes import MemoryNotes
from recall.note_index import MemoryNoteIndex
from recall.stores import Window
from schemas.errors import PoisonBatch, Transient
from schemas.events import NoteTagged, Tag
from schemas.records import Received
from schemas.writes import DropVector, PutNote, PutVector, Skip, Write
from tests.models.hashing_space import HashingSpace, write_space

DIMENSION = 16
NOW = 1_700_000_000_000


class LetterEncoder:
    """Counts letters into a unit vector, and remembers what it was asked."""

    dimension = DIMENSION
    version = "letters"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, texts: Any) -> Any:
        self.calls.append(list(texts))
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for character in text:
                row[ord(character) % DIMENSION] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def tagged(note_id: str = "n1", at: int = NOW, *texts: str, **fields: Any) -> NoteTagged:
    tags = [Tag(text=text, dimension="d", rank=rank, confidence=0.9) for rank, text in enumerate(texts, 1)]
    return NoteTagged(
        **{"note_id": note_id, "author_id": "a", "occurred_at": at, "published_at": at, "bundle": "b1", "tags": tags, **fields}
    )


def received(*events: NoteTagged) -> list[Received[NoteTagged]]:
    return [Received(event, "note-tagged@1", 0, offset, None) for offset, event in enumerate(events)]  # type: ignore[arg-type]


class Stores:
    """The memory twins, written in the order the engine writes the real ones."""

    def __init__(self) -> None:
        self.notes, self.encoder = MemoryNotes(), LetterEncoder()
        self.index = MemoryNoteIndex(DIMENSION, clock=lambda: NOW)
        self.job = IndexNotes(self.notes, self.encoder, "b1")

    def apply(self, writes: list[Write]) -> None:
        assert self.notes.put([write for write in writes if isinstance(write, PutNote)]) == []
        self.index.upsert([write for write in writes if isinstance(write, PutVector)])
        self.index.drop([write for write in writes if isinstance(write, DropVector)])

    def state(self) -> Any:
        everything = self.index.search(np.ones((1, DIMENSION), dtype=np.float32), 1000, Window())[0]
        rows = sorted((hit.note_id, round(hit.score, 4), hit.published_at) for hit in everything)
        ids = [f"n{i}" for i in range(10)]
        return self.notes.get(ids), rows, sorted(self.notes.recent(["*"], Window(), 1000))


@pytest.fixture
def stores() -> Stores:
    return Stores()


def test_a_live_note_gets_a_record_and_a_vector(stores: Stores) -> None:
    event = tagged("n1", NOW, "red shoes", "mesh", category="shoes", stages={"tagged": 5})
    put, vector = stores.job.handle(received(event))
    assert put == PutNote(record_of(event), None)
    assert isinstance(vector, PutVector)
    assert (vector.note_id, vector.category, vector.published_at, vector.occurred_at) == ("n1", "shoes", NOW, NOW)
    assert vector.vector.shape == (DIMENSION,)
    assert np.linalg.norm(vector.vector) == pytest.approx(1.0, abs=1e-5)


def test_distinct_tags_of_a_batch_are_encoded_in_one_call(stores: Stores) -> None:
    stores.job.handle(received(tagged("n1", NOW, "b", "a"), tagged("n2", NOW, "a", "c"), tagged("n3", NOW, deleted=True)))
    assert stores.encoder.calls == [["a", "b", "c"]]
    stores.job.handle(received(tagged("n4", NOW)))
    assert len(stores.encoder.calls) == 1, "nothing to encode, no call"


def test_a_vector_does_not_depend_on_the_batch(stores: Stores) -> None:
    alone = stores.job.handle(received(tagged("n1", NOW, "x", "y")))[-1]
    together = stores.job.handle(received(tagged("n0", NOW, "y", "z"), tagged("n1", NOW, "x", "y")))[-1]
    assert isinstance(alone, PutVector)
    assert isinstance(together, PutVector)
    assert alone.vector.tobytes() == together.vector.tobytes()


def test_deleted_and_untagged_notes_have_no_vector(stores: Stores) -> None:
    writes = stores.job.handle(received(tagged("n1", NOW, "x", deleted=True), tagged("n2", NOW)))
    assert [write for write in writes if not isinstance(write, PutNote)] == [DropVector("n1"), DropVector("n2")]
    tombstone = writes[0]
    assert isinstance(tombstone, PutNote)
    assert (tombstone.record.deleted, tombstone.record.tags) == (True, [])


def test_each_space_gets_the_tags_by_rank_and_a_vector_per_note(tmp_path: Path) -> None:
    spaces = [HashingSpace(write_space(tmp_path / name, name, size)) for name, size in (("two_tower", 4), ("linear", 6))]
    job = IndexNotes(MemoryNotes(), LetterEncoder(), "b1", spaces)
    ranked = tagged("n1", NOW, "x", "y")
    ranked = msgspec.structs.replace(ranked, tags=[ranked.tags[0], msgspec.structs.replace(ranked.tags[1], confidence=0.4)])
    shuffled = msgspec.structs.replace(ranked, tags=ranked.tags[::-1])
    for event in (ranked, shuffled):
        writes = job.handle(received(tagged("n0", NOW, "y", "z"), event, tagged("gone", NOW, "x", deleted=True), tagged("bare", NOW)))
        assert [write for write in writes if isinstance(write, DropVector)] == [DropVector("gone"), DropVector("bare")], "from every space"
        puts = {(write.note_id, write.space): write for write in writes if isinstance(write, PutVector)}
        assert set(puts) == {(note, space) for note in ("n0", "n1") for space in ("tag", "two_tower", "linear")}
        for space in spaces:
            put = puts["n1", space.name]
            assert put.vector.tobytes() == space.notes([["x", "y"]], [[0.9, 0.4]])[0].tobytes()
            assert (put.published_at, put.occurred_at, put.author_id) == (NOW, NOW, "a")


def test_a_vector_of_a_space_that_is_not_finite_is_poison(tmp_path: Path) -> None:
    space = HashingSpace(write_space(tmp_path / "linear", "linear", scale=float("inf")))
    with pytest.raises(PoisonBatch, match=r"'n1'.*linear.*finite"):
        IndexNotes(MemoryNotes(), LetterEncoder(), "b1", [space]).handle(received(tagged("n1", NOW, "x")))


def test_stale_events_are_skipped_and_write_nothing(stores: Stores) -> None:
    stores.apply(stores.job.handle(received(tagged("n1", NOW, "new"))))
    assert stores.job.handle(received(tagged("n1", NOW - 1, "old"), tagged("n1", NOW, "rival"))) == [Skip("stale"), Skip("stale")]


def test_within_a_batch_the_last_winner_gets_the_vector(stores: Stores) -> None:
    first, second, late = tagged("n1", NOW, "a"), tagged("n1", NOW + 2, "b"), tagged("n1", NOW + 1, "c")
    writes = stores.job.handle(received(first, second, late))
    assert writes[:3] == [PutNote(record_of(first), None), PutNote(record_of(second), record_of(first)), Skip("stale")]
    assert [(type(write), write.occurred_at) for write in writes[3:] if isinstance(write, PutVector)] == [(PutVector, NOW + 2)]
    assert stores.encoder.calls == [["b"]]


def test_a_redelivery_is_written_again(stores: Stores) -> None:
    """So that what a crash left half done is completed; stage times of a second tagging do not make it another event."""
    event = tagged("n1", NOW, "a", stages={"tagged": 1})
    stores.apply(stores.job.handle(received(event)))
    before = stores.state()
    again = stores.job.handle(received(tagged("n1", NOW, "a", stages={"tagged": 9})))
    assert [type(write) for write in again] == [PutNote, PutVector]
    stores.apply(again)
    assert stores.state() == before


def test_events_of_another_bundle_are_left_to_its_group(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    foreign = tagged("n1", NOW, "a", bundle="b2")
    assert stores.job.handle(received(foreign, foreign)) == []
    assert stores.job.handle(received(foreign)) == []
    assert [r.message for r in caplog.records if "b2" in r.message] == [caplog.records[0].message], "said once"


def test_a_note_whose_vector_cannot_be_made_is_named(stores: Stores) -> None:
    stores.encoder.encode = lambda texts: np.full((len(texts), DIMENSION), np.nan, dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(PoisonBatch, match=r"'n1'"):
        stores.job.handle(received(tagged("n1", NOW, "a")))


def test_the_digest_is_content() -> None:
    event = tagged("n1", NOW, "a", stages={"tagged": 1})
    assert digest_of(event) == digest_of(tagged("n1", NOW, "a", stages={}))
    assert digest_of(event) != digest_of(tagged("n1", NOW, "b"))


def test_any_split_and_redelivery_of_a_log_gives_the_same_stores() -> None:
    rng = random.Random(2)
    texts = ["red shoes", "mesh", "tea", "linen", "跑鞋"]
    log = [
        tagged(f"n{rng.randrange(6)}", NOW + rng.randrange(8), *rng.sample(texts, rng.randrange(4)), deleted=rng.random() < 0.2)
        for _ in range(60)
    ]
    states = []
    for size in (1, 7, 60):
        stores = Stores()
        for start in range(0, len(log), size):
            stores.apply(stores.job.handle(received(*log[start : start + size])))
        stores.apply(stores.job.handle(received(*log[30:])))  # a crash before the commit: the tail comes again
        states.append(stores.state())
    assert states[0] == states[1] == states[2]
    records, rows, recent = states[0]
    live = sorted(note_id for note_id, held in records.items() if not held.deleted)
    assert sorted(hit.note_id for hit in recent) == live
    assert [row[0] for row in rows] == [note_id for note_id in live if records[note_id].tags]


class LaggingIndex(MemoryNoteIndex):
    """Shows an upsert only after so many looks, or fails."""

    def __init__(self, looks: int) -> None:
        super().__init__(DIMENSION)
        self.looks = looks
        self.down = False

    def visible(self, note_ids: Any) -> dict[str, int]:
        if self.down:
            raise Transient("milvus", "test")
        self.looks -= 1
        return super().visible(note_ids) if self.looks < 0 else {}


def vector(note_id: str, at: int) -> PutVector:
    return PutVector(note_id, "a", None, NOW, at, np.ones(DIMENSION, dtype=np.float32))


def test_recallable_is_stamped_once_a_search_finds_the_note() -> None:
    notes, index = MemoryNotes(), LaggingIndex(looks=2)
    notes.put([PutNote(record_of(tagged("n1", NOW, "a"))), PutNote(record_of(tagged("n2", NOW, "a")))])
    observed: list[tuple[str, float]] = []
    watch = RecallableWatch(notes, index, lambda stage, seconds: observed.append((stage, seconds)))
    puts = [vector("n1", NOW), vector("n2", NOW)]
    index.upsert(puts)
    watch.written(puts, {"n1": NOW - 1_000, "n2": NOW - 2_000})
    watch.close(timeout_s=10.0)
    held = notes.get(["n1", "n2"])
    assert all(record.stages[INDEXED] <= record.stages[STAGE] for record in held.values())
    assert held["n1"].stages[INDEXED] == held["n2"].stages[INDEXED], "one upsert"
    published = {"n1": NOW - 1_000, "n2": NOW - 2_000}
    expected = [(stage, (held[note_id].stages[stage] - at) / 1000) for note_id, at in published.items() for stage in (INDEXED, STAGE)]
    assert sorted(observed) == sorted(expected), "each stage of each note once, although it took three looks"


def test_the_watch_waits_for_the_version_that_was_written_and_survives_an_outage() -> None:
    notes, index = MemoryNotes(), LaggingIndex(looks=0)
    notes.put([PutNote(record_of(tagged("n1", NOW + 1, "a")))])
    index.upsert([vector("n1", NOW)])
    watch = RecallableWatch(notes, index)
    watch.expect([vector("n1", NOW + 1)], {"n1": NOW})
    index.down = True
    with pytest.raises(Transient):
        watch.check()
    index.down = False
    assert watch.check() == 0, "the search still finds the vector of the older event"
    index.upsert([vector("n1", NOW + 1)])
    assert watch.check() == 1
    assert notes.get(["n1"])["n1"].stages.keys() >= {INDEXED, STAGE}
    assert watch.check() == 0
