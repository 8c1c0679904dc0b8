"""The profile job decides records, dead letters and skips; two rivals, redelivery and both orders of tags end in the same record."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.stores import ProfileStore
from consumers.update_profiles import UpdateProfiles
from models.profile import scores_at
from models.profile_update import open_profile
from recall.memory_notes import MemoryNotes
from recall.note_tags import StoredNoteTags
from recall.profiles import MemoryProfiles
from schemas.codec import decoder
from schemas.events import Action, Interaction, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.writes import GiveUp, PutNote, PutProfile, Skip, Write
from streams.memory import MemoryMessage

EXACT = Settings(profile_max_tags=0)
HOUR = 3_600_000
HEADERS = [("own", b"\xff"), ("own", None)]


def received(user: str, note: str, action: Action, offset: int, at: int = 1_000, partition: int = 0) -> Received[Interaction]:
    event = Interaction(event_id=f"e{partition}.{offset}", user_id=user, note_id=note, action=action, occurred_at=at)
    value = msgspec.json.encode(event)
    message = MemoryMessage(topic="interactions", partition=partition, offset=offset, value=value, key=user.encode(), headers=HEADERS)
    return Received(event, "interactions@t", partition, offset, message)


def put_tags(notes: MemoryNotes, note_id: str, *texts: str, at: int = 1, deleted: bool = False) -> None:
    tags = [Tag(text=text, dimension="d", rank=rank, confidence=1.0) for rank, text in enumerate(texts, 1)]
    notes.put([PutNote(NoteRecord(note_id, "a", at, deleted, 0, b"", at, None, tags, "", "t", [], {}))])


class Rig:
    """The job over in-memory stores."""

    def __init__(self, settings: Settings = EXACT) -> None:
        self.settings = settings
        self.profiles, self.notes = MemoryProfiles(), MemoryNotes()
        self.job = UpdateProfiles(self.profiles, StoredNoteTags(self.notes), settings)
        self.store = ProfileStore(self.profiles)

    def run(self, *batch: Received[Interaction]) -> list[Write]:
        writes = self.job.handle(batch)
        puts = [write for write in writes if isinstance(write, PutProfile)]
        assert self.store.apply(puts).conflicts == []
        return writes

    def scores(self, user: str, at: int = 1_000) -> dict[str, float]:
        def tags_of(note_id: str) -> list[Tag] | None:
            found = self.notes.get([note_id]).get(note_id)
            return None if found is None else found.tags

        profile = open_profile(self.profiles.read([user])[user].record, self.settings)
        return scores_at(profile, at, self.settings, tags_of)


def test_one_record_per_reader_whatever_the_number_of_events() -> None:
    rig = Rig()
    put_tags(rig.notes, "n1", "red", "shoes")
    writes = rig.run(received("u1", "n1", "click", 0), received("u2", "n1", "like", 1), received("u1", "n1", "like", 2))
    assert sorted(write.user_id for write in writes if isinstance(write, PutProfile)) == ["u1", "u2"]
    assert rig.scores("u1") == {"red": 3.0, "shoes": 3.0}
    assert rig.scores("u2") == {"red": 2.0, "shoes": 2.0}


def test_what_was_applied_is_skipped_and_not_written_again() -> None:
    rig = Rig()
    batch = [received("u1", "n1", "click", 0), received("u1", "n1", "click", 1)]
    rig.run(*batch)
    assert rig.run(*batch) == [Skip("applied", 2)]


def test_impressions_are_neither_read_nor_written_by_default() -> None:
    rig = Rig()
    assert rig.run(received("u1", "n1", "impression", 0)) == []


def test_an_empty_batch_decides_nothing() -> None:
    assert Rig().run() == []


def test_a_rival_who_wrote_first_makes_the_events_be_decided_again() -> None:
    rig = Rig()
    put_tags(rig.notes, "n1", "red")
    batch = rig.job.gather()
    batch.add([received("u1", "n1", "click", 5), received("u2", "n1", "click", 6)])
    ours = [write for write in rig.job.handle(batch) if isinstance(write, PutProfile)]
    rig.run(received("u1", "n1", "like", 5, partition=1))
    conflicts = rig.store.apply(ours).conflicts
    assert [write.user_id for write in conflicts] == ["u1"]
    again = [write for write in rig.job.handle(batch.again(conflicts)) if isinstance(write, PutProfile)]
    assert ([write.user_id for write in again], rig.store.apply(again).conflicts) == (["u1"], [])
    assert rig.scores("u1") == {"red": 3.0}
    assert rig.scores("u2") == {"red": 1.0}


def test_tags_that_come_later_count_on_reading_and_are_folded_by_the_next_write() -> None:
    rig = Rig()
    rig.run(received("u1", "n1", "like", 0))
    assert rig.scores("u1") == {}
    put_tags(rig.notes, "n1", "red")
    assert rig.scores("u1") == {"red": 2.0}
    rig.run(received("u1", "n2", "comment", 1))
    assert rig.profiles.read(["u1"])["u1"].record.head.waiting == 0
    assert rig.scores("u1") == {"red": 2.0}


def test_a_deleted_note_does_not_wait() -> None:
    rig = Rig()
    put_tags(rig.notes, "n1", deleted=True)
    rig.run(received("u1", "n1", "like", 0))
    assert rig.profiles.read(["u1"])["u1"].record.head.waiting == 0


def test_what_waited_too_long_becomes_a_dead_letter_with_its_own_bytes_and_coordinates() -> None:
    rig = Rig(Settings(profile_pending_hours=1.0))
    lost = received("u1", "n1", "like", 7, partition=3)
    rig.run(lost)
    writes = rig.run(received("u1", "n2", "comment", 8, at=1_000 + HOUR + 1))
    (given_up,) = [write for write in writes if isinstance(write, GiveUp)]
    message = given_up.message
    assert (given_up.reason, message.value(), message.key()) == ("note_never_tagged", lost.message.value(), b"u1")
    assert (message.topic(), message.partition(), message.offset(), message.timestamp()) == ("interactions", 3, 7, (1, 1_000))
    assert decoder(Interaction)(message.value(), message.headers()) == lost.event
    assert message.headers() == HEADERS


def test_an_action_that_was_given_up_counts_once_when_it_is_sent_again() -> None:
    """Through the records as they are stored, with readers whose record is only appended to in the same batch."""
    rig = Rig(Settings(profile_max_tags=0, profile_pending_hours=1.0, profile_half_life_days=0.0))
    put_tags(rig.notes, "n2", "blue")
    lost = received("u1", "n1", "like", 0)
    rig.run(lost, received("u1", "n2", "click", 1, at=1_000 + HOUR + 1), received("u2", "n2", "click", 2))
    put_tags(rig.notes, "n1", "red")
    copies = [msgspec.structs.replace(lost, offset=offset, redriven="note_never_tagged") for offset in (3, 400)]
    rig.run(copies[0], received("u2", "n2", "click", 4))
    assert (rig.scores("u1"), rig.scores("u2")) == ({"red": 2.0, "blue": 1.0}, {"blue": 2.0})
    rig.run(*(received("u1", "n2", "comment", offset) for offset in range(5, 400)))
    rig.run(copies[1])
    assert rig.scores("u1") == {"red": 2.0, "blue": 1.0}
    assert rig.run(*copies) == [Skip("applied", 2)]


def test_a_copy_of_an_action_that_counts_already_changes_nothing_but_the_watermark() -> None:
    rig = Rig()
    put_tags(rig.notes, "n1", "red")
    first = received("u1", "n1", "click", 0)
    rig.run(first)
    rig.run(*(received("u1", "n1", "comment", offset) for offset in range(1, 300)))
    rig.run(msgspec.structs.replace(first, offset=300, redriven="too_many_pending"))
    assert rig.scores("u1") == {"red": 1.0}
    rig.run(msgspec.structs.replace(first, offset=301, redriven="invalid_event"))
    assert rig.scores("u1") == {"red": 2.0}, "what did not decode was never counted: only the last 256 ids tell"


def test_an_action_sent_again_too_early_keeps_its_headers_for_the_next_dead_letter() -> None:
    rig = Rig(Settings(profile_pending_hours=1.0))
    lost = received("u1", "n1", "like", 0)
    rig.run(lost, received("u1", "n2", "comment", 1, at=1_000 + HOUR + 1))
    again = MemoryMessage(
        topic="interactions", partition=0, offset=2, value=lost.message.value(), headers=[("tagstream-dl-attempts", b"1")]
    )
    rig.run(msgspec.structs.replace(lost, offset=2, message=again, redriven="note_never_tagged"))
    writes = rig.run(received("u1", "n2", "comment", 3, at=1_000 + 3 * HOUR))
    (given_up,) = [write for write in writes if isinstance(write, GiveUp)]
    assert (given_up.message.offset(), given_up.message.headers()) == (2, [("tagstream-dl-attempts", b"1")])


def test_more_waiting_than_allowed_gives_up_the_oldest() -> None:
    rig = Rig(Settings(profile_max_pending=1))
    writes = rig.run(received("u1", "n1", "like", 0), received("u1", "n2", "like", 1))
    assert [(write.reason, write.message.offset()) for write in writes if isinstance(write, GiveUp)] == [("too_many_pending", 0)]


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collection_is_as_it_was_after_a_batch(collecting: bool) -> None:
    import gc

    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        Rig().run(received("u1", "n1", "like", 0))
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()


ACTIONS: list[Action] = ["click", "like", "favorite", "unlike", "unfavorite", "comment"]
made = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(["n1", "n2", "n3"]), st.sampled_from(ACTIONS)), max_size=40)


@given(made, st.lists(st.integers(1, 40), max_size=6))
def test_any_batching_stores_the_same_values(steps: list[tuple[str, str, Action]], cuts: list[int]) -> None:
    log = [received(user, note, action, offset, at=offset * HOUR) for offset, (user, note, action) in enumerate(steps)]
    whole, cut = Rig(), Rig()
    for rig in (whole, cut):
        put_tags(rig.notes, "n1", "a", "b")
        put_tags(rig.notes, "n2", "b")
        put_tags(rig.notes, "n3")
    whole.run(*log)
    start = 0
    for length in cuts:
        cut.run(*log[max(0, start - 2) : start + length])
        start = min(start + length, len(log))
    cut.run(*log)
    assert set(cut.profiles.parts) == set(whole.profiles.parts)
    for user in whole.profiles.parts:
        assert cut.profiles.read([user])[user].record == whole.profiles.read([user])[user].record
