"""tag-notes decides one publish per event, in order, with stamps, fingerprint and deletions carried along."""

from hypothesis import given
from hypothesis import strategies as st

from consumers.index_notes import record_of
from consumers.tag_notes import TagNotes, fingerprint
from models.roles import NoteMedia, NoteTags
from recall.notes import supersedes
from schemas.events import NoteEvent, NoteTagged, Tag
from schemas.records import Received
from schemas.writes import DEGRADED, KeepForUpgrade, Publish
from streams.dead_letters import Failure, dead_letter_headers, read_dead_letter, redrive_headers, redriven_reason
from streams.memory import MemoryMessage


class TitleTagger:
    """Test double: the title is the only tag."""

    name = "title"
    version = "1"
    sees = hears = True

    def tag(self, notes, media=None):
        tags = [[] if n.type == "note.deleted" else [Tag(text=n.title, dimension="d", rank=1, confidence=1.0)] for n in notes]
        given = media or [NoteMedia()] * len(notes)
        return [NoteTags("shoes", found, "en", of.degraded, of.may_recover) for found, of in zip(tags, given, strict=True)]


class Stamped:
    """Test double of a Kafka message that only knows its time."""

    def __init__(self, at):
        self._at = at

    def timestamp(self):
        return (1, self._at) if self._at else (0, -1)

    def headers(self):
        return None


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
    writes = TagNotes(TitleTagger(), "b1", "note-tagged", clock=clock).handle([received(0), received(1, type="note.deleted")])
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


LACKS = NoteMedia(degraded=["image: refused, unreachable"], may_recover=True)
CUT = NoteMedia(degraded=["video: cut"], may_recover=False)


def test_what_may_recover_is_published_and_kept_for_an_upgrade():
    media = {"n0": NoteMedia(), "n1": LACKS, "n2": CUT}
    job = TagNotes(TitleTagger(), "b1", "t", lambda notes: [media[note.note_id] for note in notes])
    batch = [received(number) for number in range(3)]
    writes = job.handle(batch)
    published = [write.event for write in writes if isinstance(write, Publish)]
    assert [event.degraded for event in published] == [[], LACKS.degraded, CUT.degraded]
    assert [write for write in writes if not isinstance(write, Publish)] == [KeepForUpgrade(batch[1].message, LACKS.degraded[0])]
    assert {event.revision for event in published} == {0}


@given(st.lists(st.sampled_from(["degraded", "poison"]), max_size=6))
def test_an_upgrade_always_supersedes_what_it_upgrades(reasons):
    """Whatever the event was given up for before: each answer of a copy sent again from the letter of a degraded answer has a higher
    revision than that answer, and the index takes it."""
    message = MemoryMessage(topic="note-events", partition=0, offset=7, value=b"{}", key=b"n7", timestamp=1)
    media = [LACKS]
    job = TagNotes(TitleTagger(), "b1", "t", lambda notes: media)
    held = None
    for reason in [*reasons, DEGRADED]:
        item = Received(received(7).event, "note-events@1", 0, message.offset(), message, redriven_reason(message.headers()))
        publish = job.handle([item])[0]
        if reason == DEGRADED:
            record = record_of(publish.event)
            assert held is None or (record.order > held.order and supersedes(held, record))
            held = record
        headers = dead_letter_headers(message, Failure(reason, "d", "tag-notes"))
        letter = read_dead_letter(
            MemoryMessage(topic="note-events-dead-letters", partition=0, offset=1, value=b"{}", key=b"n7", headers=headers)
        )
        again = redrive_headers(letter, "note-events-dead-letters@u/0/1", corrected=False)
        message = MemoryMessage(topic="note-events", partition=0, offset=8, value=b"{}", key=b"n7", headers=again, timestamp=2)


def test_an_upgrade_of_a_note_that_was_changed_meanwhile_is_stale():
    held = record_of(TagNotes(TitleTagger(), "b1", "t").handle([received(1, occurred_at=6)])[0].event)
    letter = [("tagstream-dl-reason", b"degraded"), ("tagstream-dl-attempts", b"3")]
    message = MemoryMessage(topic="note-events", partition=0, offset=9, value=b"{}", headers=letter)
    upgrade = TagNotes(TitleTagger(), "b1", "t").handle([Received(received(1).event, "note-events@1", 0, 9, message, DEGRADED)])[0].event
    assert upgrade.revision == 3 and not supersedes(held, record_of(upgrade))
