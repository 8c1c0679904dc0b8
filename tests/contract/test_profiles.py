"""One suite for the role ``Profiles``: in memory, on Redis and on a one-node Redis Cluster."""

from typing import Any

import msgspec
import pytest

from consumers.stores import ProfileStore
from consumers.update_profiles import UpdateProfiles
from models.profile import pack_tags, rules_of, scores_at
from models.profile_batch import ProfileBatch, pack_notes
from models.profile_update import Known, apply_actions, open_profile, pack_append
from recall.memory_notes import MemoryNotes
from recall.note_tags import StoredNoteTags
from recall.profiles import ROUND_BYTES, MemoryProfiles, RedisProfiles
from recall.redis_client import redis_client
from recall.stores import Held, Profiles
from schemas.errors import BadSetting, Transient
from schemas.events import Action, Interaction, Tag
from schemas.keys import Keys
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord, ProfileHead, ProfileRecord
from schemas.writes import GiveUp, PutNote, PutProfile
from streams.memory import MemoryMessage

ODD_IDS = ["a b", 'quo"te', "{brace}", "sl/ash", "}{", "读者-1", "é" * 128, "*", "[x]?", "line\nbreak", "\x00nul"]
TAGS = {"n1": pack_tags([Tag(text="red shoes", dimension="d", rank=1, confidence=1.0)])}
RULES = rules_of(Settings())


def received(offset: int, action: Action = "click") -> Received[Interaction]:
    event = Interaction(event_id=f"e{offset}", user_id="u", note_id="n1", action=action, occurred_at=offset)
    return Received(event, "interactions@1", 0, offset, MemoryMessage(topic="interactions", partition=0, offset=offset, value=b"{}"))


def batch_of(offset: int) -> tuple[ProfileBatch, Known]:
    batch = ProfileBatch(RULES)
    batch.add([received(offset)])
    return batch, Known(TAGS, pack_notes(batch.notes, TAGS), batch.originals)


def acted(record: ProfileRecord, offset: int) -> ProfileRecord:
    batch, known = batch_of(offset)
    for place, readers in batch.places.items():
        apply_actions(record, place, readers["u"], known, RULES)
    return record


def put_append(profiles: Profiles, user_id: str, offset: int) -> PutProfile:
    version, head = profiles.heads([user_id])[user_id]
    batch, known = batch_of(offset)
    ((place, readers),) = batch.places.items()
    packed = pack_append(head, place, readers["u"], known.notes)
    assert packed
    return PutProfile(user_id, version, ProfileRecord(head), [], packed)


def put_action(profiles: Profiles, user_id: str, offset: int) -> PutProfile:
    version, record = profiles.read([user_id])[user_id]
    return PutProfile(user_id, version, acted(record, offset))


def applied(held: Held) -> dict[str, int]:
    return held.record.head.applied


@pytest.fixture(params=["memory", "redis", "cached", "cluster"])
def profiles(request: pytest.FixtureRequest) -> Profiles:
    if request.param == "memory":
        return MemoryProfiles()
    settings = request.getfixturevalue("settings")
    if request.param == "cluster":
        settings = msgspec.structs.replace(settings, redis_url=request.getfixturevalue("redis_cluster_url"))
    return RedisProfiles(redis_client(settings), Keys(settings.namespace, "b1"), 100 if request.param == "cached" else 0)


def test_an_unknown_reader_has_an_empty_record(profiles: Profiles) -> None:
    assert profiles.read(["nobody", "nobody"]) == {"nobody": Held(b"", ProfileRecord())}
    assert profiles.read([]) == {}
    assert profiles.write([]) == []


@pytest.mark.parametrize("user_id", ODD_IDS)
def test_a_record_comes_back_as_it_was_put(profiles: Profiles, user_id: str) -> None:
    put = put_action(profiles, user_id, 7)
    assert profiles.write([put]) == []
    held = profiles.read([user_id, "other"])
    assert held[user_id].record == put.record
    assert len(held[user_id].version) == 8
    assert held["other"].version == b""


def test_of_two_decided_on_the_same_version_one_is_refused(profiles: Profiles) -> None:
    first, second = put_action(profiles, "u", 1), put_action(profiles, "u", 2)
    assert profiles.write([first]) == []
    assert profiles.write([second]) == [second]
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 1}
    again = put_action(profiles, "u", 2)
    assert profiles.write([again]) == []
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 2}


def test_a_write_whose_answer_was_lost_is_done_and_no_conflict(profiles: Profiles) -> None:
    put = put_action(profiles, "u", 1)
    assert profiles.write([put]) == []
    assert profiles.write([put]) == []
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 1}


def test_many_readers_are_written_and_read_at_once(profiles: Profiles) -> None:
    users = [f"reader {number}" for number in range(2_500)]
    held = profiles.read(users)
    puts = [PutProfile(user, held[user].version, acted(held[user].record, number)) for number, user in enumerate(users)]
    assert profiles.write(puts) == []
    back = profiles.read(users)
    assert all(applied(back[user]) == {"interactions@1/0": number} for number, user in enumerate(users))
    late = [PutProfile(user, b"", acted(ProfileRecord(), 9_000)) for user in users[::7]]
    assert {put.user_id for put in profiles.write(late)} == set(users[::7])


def test_readers_beyond_a_round_trip_are_all_written(settings: Settings) -> None:
    profiles = RedisProfiles(redis_client(settings), Keys(settings.namespace, "b1"))
    size = ROUND_BYTES // 3
    puts = [PutProfile(f"u{number}", b"", ProfileRecord(ProfileHead(tail_length=number + 1), b"x" * size)) for number in range(10)]
    assert profiles.write(puts) == []
    back = profiles.read([put.user_id for put in puts])
    assert [back[f"u{number}"].record.head.tail_length for number in range(10)] == list(range(1, 11))


def test_another_process_is_noticed_by_one_that_caches(settings: Settings) -> None:
    keys = Keys(settings.namespace, "b1")
    caching, other = RedisProfiles(redis_client(settings), keys, 100), RedisProfiles(redis_client(settings), keys)
    assert caching.write([put_action(caching, "u", 1)]) == []
    assert other.write([put_action(other, "u", 2)]) == []
    stale = put_append(caching, "u", 3)
    assert caching.write([stale]) == [stale]
    assert caching.write([put_append(caching, "u", 3)]) == []
    record = other.read(["u"])["u"].record
    assert (record.head.tail_length, record.head.applied) == (3, {"interactions@1/0": 3})


def test_a_failed_write_leaves_no_changed_record_in_the_cache(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis_client(settings)
    profiles = RedisProfiles(client, Keys(settings.namespace, "b1"), 100)
    assert profiles.write([put_action(profiles, "u", 1)]) == []

    def refuse(*_: Any, **__: Any) -> None:
        from redis.exceptions import ConnectionError as Away

        raise Away("connection refused")

    put = put_action(profiles, "u", 2)
    monkeypatch.setattr(client, "pipeline", refuse)
    monkeypatch.setattr(client, "execute_command", refuse)
    with pytest.raises(Transient, match="redis is not available"):
        profiles.write([put])
    monkeypatch.undo()
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 1}
    assert profiles.write([put]) == []
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 2}


def test_a_server_that_forgot_the_script_gets_it_again(settings: Settings) -> None:
    client = redis_client(settings)
    profiles = RedisProfiles(client, Keys(settings.namespace, "b1"))
    assert profiles.write([put_action(profiles, "u", 1)]) == []
    client.script_flush()
    assert profiles.write([put_action(profiles, "u", 2)]) == []
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 2}


def test_the_cache_is_bounded(settings: Settings) -> None:
    profiles = RedisProfiles(redis_client(settings), Keys(settings.namespace, "b1"), 4)
    assert profiles.write([PutProfile(f"u{number}", b"", acted(ProfileRecord(), number)) for number in range(9)]) == []
    assert len(profiles._cache) == 4


def test_what_is_appended_comes_back_as_one_record(profiles: Profiles) -> None:
    whole = ProfileRecord()
    for offset in range(1, 6):
        put = put_append(profiles, "u", offset)
        assert profiles.write([put]) == []
        assert profiles.write([put]) == []
        acted(whole, offset)
    version, record = profiles.read(["u"])["u"]
    assert record == whole
    assert profiles.heads(["u"])["u"] == (version, whole.head)
    assert profiles.write([PutProfile("u", version, acted(record, 6))]) == []
    assert profiles.write([put_append(profiles, "u", 7)]) == []
    assert profiles.read(["u"])["u"].record == acted(acted(whole, 6), 7)


def test_of_two_appends_on_the_same_version_one_is_refused(profiles: Profiles) -> None:
    assert profiles.write([put_append(profiles, "u", 1)]) == []
    first, second = put_append(profiles, "u", 2), put_append(profiles, "u", 3)
    assert profiles.write([first, second]) == [second]
    assert applied(profiles.read(["u"])["u"]) == {"interactions@1/0": 2}


def test_a_new_reader_is_not_appended_to_somebody_elses_record(profiles: Profiles) -> None:
    first, second = put_append(profiles, "u", 1), put_append(profiles, "u", 2)
    assert profiles.write([first, second]) == [second]
    assert profiles.read(["u"])["u"].record.head.tail_length == 1


def test_a_server_that_is_away_is_transient() -> None:
    profiles = RedisProfiles(redis_client(Settings(redis_url="redis://127.0.0.1:1/0", recall_timeout_s=0.5)), Keys("", "b1"))
    with pytest.raises(Transient, match="redis"):
        profiles.read(["u"])
    with pytest.raises(Transient, match="redis"):
        redis_client(Settings(redis_url="redis://127.0.0.1:1/0?cluster=true", recall_timeout_s=0.5))


def test_a_url_that_cannot_be_read_is_named_without_its_password() -> None:
    with pytest.raises(BadSetting, match="TAGSTREAM_REDIS_URL") as raised:
        redis_client(Settings(redis_url="http://user:secret@host:1"))
    assert "secret" not in str(raised.value)


def test_a_refused_login_is_a_wrong_setting(settings: Settings) -> None:
    address = settings.redis_url.removeprefix("redis://")
    profiles = RedisProfiles(redis_client(Settings(redis_url=f"redis://nobody:wrong@{address}")), Keys("", "b1"))
    with pytest.raises(BadSetting, match="TAGSTREAM_REDIS_URL") as raised:
        profiles.read(["u"])
    assert "wrong@" not in str(raised.value)


def test_what_was_given_up_is_remembered_in_the_stored_record_until_it_is_sent_again(profiles: Profiles) -> None:
    """Through the job, with readers that are rewritten and appended to in turn; sent again twice, far from each other."""
    chosen = Settings(profile_max_tags=0, profile_half_life_days=0.0, profile_pending_hours=0.0)
    notes = MemoryNotes()
    job, store = UpdateProfiles(profiles, StoredNoteTags(notes), chosen), ProfileStore(profiles)

    def run(*batch: Received[Interaction]) -> list[GiveUp]:
        writes = job.handle(batch)
        assert store.apply([write for write in writes if isinstance(write, PutProfile)]).conflicts == []
        return [write for write in writes if isinstance(write, GiveUp)]

    def put(note_id: str, text: str) -> None:
        tags = [Tag(text=text, dimension="d", rank=1, confidence=1.0)]
        notes.put([PutNote(NoteRecord(note_id, "a", 1, False, 0, b"", 1, None, tags, "", "t", [], {}))])

    first = received(0, "like")
    first = msgspec.structs.replace(first, event=msgspec.structs.replace(first.event, note_id="late"))
    put("n1", "red")
    assert run(first) == []
    assert [write.reason for write in run(received(1))] == ["note_never_tagged"]
    put("late", "blue")
    for copy in (400, 800):
        run(*(received(offset, "comment") for offset in range(copy - 300, copy)))
        assert run(msgspec.structs.replace(first, offset=copy, redriven="note_never_tagged")) == []
        profile = open_profile(profiles.read(["u"])["u"].record, chosen)
        assert scores_at(profile, 1_000, chosen, lambda _note: None) == {"blue": 2.0, "red": 1.0}
