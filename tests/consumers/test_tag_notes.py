"""tag-notes decides one publish per event, in order, with stamps, fingerprint and deletions carried along."""

from consumers.tag_notes import TagNotes, fingerprint
from models.roles import NoteTags
from schemas.events import NoteEvent, NoteTagged, Tag
from schemas.records import Received
from schemas.writes import Publish


class TitleTagger:
    """Test double: the title is the only tag."""

    name = "title"
    version = "1"

    def tag(self, notes):
        tags = [[] if n.type == "note.deleted" else [Tag(text=n.title, dimension="d", rank=1, confidence=1.0)] for n in notes]
        return [NoteTags("shoes", found, "en") for found in tags]


class Stamped:
    """Test double of a Kafka message that only knows its time."""

    def __init__(self, at):
        self._at = at

    def timestamp(self):
        return (1, self._at) if self._at else (0, -1)


def received(offset, at=1_000, **fields):
    defaults = {
        "type": "note.published",
        "note_id": f"n{offset}",
        "author_id": "a",
        "occurred_at": 5,
        "published_at": 4,
        "title": f"t{offset}",
    }
    return Received(NoteEvent(**(defaults | fields)), "note-events@1", 0, offset, Stamped(at))


def test_one_publish_per_event_in_order():
    clock = iter([2_000, 2_010]).__next__
    writes = TagNotes(TitleTagger(), "b1", "note-tagged", clock).handle([received(0), received(1, type="note.deleted")])
    assert [(w.topic, w.key) for w in writes] == [("note-tagged", "n0"), ("note-tagged", "n1")]
    assert all(isinstance(w, Publish) for w in writes)
    kept, gone = (w.event for w in writes)
    assert isinstance(kept, NoteTagged)
    assert [tag.text for tag in kept.tags] == ["t0"]
    assert (kept.deleted, gone.deleted, gone.tags) == (False, True, [])
    assert kept.stages == {"published": 1_000, "received": 2_000, "tagged": 2_010}
    assert (kept.bundle, kept.tagger, kept.category, kept.language) == ("b1", "title", "shoes", "en")
    assert (kept.occurred_at, kept.published_at, kept.author_id) == (5, 4, "a")


def test_a_record_without_a_time_counts_from_publication():
    (write,) = TagNotes(TitleTagger(), "b1", "t").handle([received(0, at=0)])
    assert write.event.stages["published"] == 4


def test_fingerprint_ignores_case_and_space_only():
    one = NoteEvent(type="note.published", note_id="1", author_id="a", occurred_at=1, published_at=1, title="Red  Shoes", body="so Light")
    same = NoteEvent(type="note.published", note_id="2", author_id="b", occurred_at=2, published_at=2, title="red shoes", body="so light ")
    other = NoteEvent(type="note.published", note_id="3", author_id="b", occurred_at=2, published_at=2, title="red shoes", body="so heavy")
    empty = NoteEvent(type="note.published", note_id="4", author_id="b", occurred_at=2, published_at=2)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert fingerprint(empty) == ""
