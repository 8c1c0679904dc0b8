"""One suite for the role ``Notes``: in memory, on Redis and on a one-node Redis Cluster."""

import random
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from recall.memory_notes import MemoryNotes
from recall.notes import RedisNotes, follow, places, supersedes
from recall.redis_client import redis_client
from recall.stores import Glance, Look, Notes, Window
from schemas.canary import CANARY_PREFIX
from schemas.errors import Transient
from schemas.events import Tag
from schemas.keys import Keys
from schemas.stored import NoteRecord
from schemas.writes import PutNote

OPEN = Window()
ODD_IDS = ["a b", 'quo"te', "{brace}", "sl/ash", "}{", "笔记-1", "é" * 128, "*", "[x]?", "line\nbreak", "\x00nul"]


def record(note_id: str = "n1", at: int = 1_000, texts: tuple[str, ...] = ("red shoes",), **fields: Any) -> NoteRecord:
    values: dict[str, Any] = {
        "note_id": note_id,
        "author_id": "a1",
        "occurred_at": at,
        "deleted": False,
        "revision": 0,
        "digest": f"{at}{texts}".encode(),
        "published_at": at,
        "category": "shoes",
        "tags": [Tag(text=text, dimension="d", rank=rank, confidence=0.5) for rank, text in enumerate(texts, 1)],
        "fingerprint": "f",
        "tagger": "t",
        "degraded": [],
        "stages": {"published": at},
    }
    return NoteRecord(**{**values, **fields})


def tombstone(note_id: str, at: int) -> NoteRecord:
    return record(note_id, at, (), deleted=True)


def put(notes: Notes, *records: NoteRecord) -> list[NoteRecord]:
    return [stale.record for stale in notes.put([PutNote(each) for each in records])]


def listed(notes: Notes, text: str, window: Window = OPEN, limit: int = 100) -> list[str]:
    """Notes under a tag; their order in a list is no part of the role."""
    return sorted(shared(notes, {text: 1.0}, window, limit, limit))


def shared(notes: Notes, weights: Mapping[str, float], window: Window = OPEN, limit: int = 100, best: int = 100) -> dict[str, float]:
    return notes.look(Look(tags=tuple(weights)), window, limit).listed.sums(weights, best)


def newest(notes: Notes, *categories: str, window: Window = OPEN, limit: int = 100) -> list[str]:
    return [hit.note_id for hit in notes.recent(categories, window, limit)]


@pytest.fixture(params=["memory", "redis", "cluster"])
def notes(request: pytest.FixtureRequest) -> Notes:
    if request.param == "memory":
        return MemoryNotes()
    settings = request.getfixturevalue("settings")
    if request.param == "cluster":
        settings = msgspec.structs.replace(settings, redis_url=request.getfixturevalue("redis_cluster_url"))
    return RedisNotes(redis_client(settings), Keys(settings.namespace, "b1"))


def test_document_counts_follow_what_is_listed(notes: Notes) -> None:
    assert notes.tag_counts([]) == (0, {})
    assert notes.tag_counts(["red shoes"]) == (0, {"red shoes": 0})
    put(notes, record("n1", 5, ("red shoes", "跑鞋")), record("n2", 7, ("red shoes",)), record("n3", 9, ()))
    assert notes.tag_counts(["red shoes", "跑鞋", "tea", "tea"]) == (3, {"red shoes": 2, "跑鞋": 1, "tea": 0})
    assert notes.tag_counts(["red shoes", "跑鞋"], until=5) == (1, {"red shoes": 1, "跑鞋": 1})
    put(notes, tombstone("n1", 10))
    assert notes.tag_counts(["red shoes", "跑鞋"]) == (2, {"red shoes": 1, "跑鞋": 0})


def test_a_canary_has_a_record_and_is_in_no_list(notes: Notes) -> None:
    canary = record(f"{CANARY_PREFIX}01", 5)
    put(notes, canary, record("n1", 7))
    assert notes.get([canary.note_id]) == {canary.note_id: canary}
    assert listed(notes, "red shoes") == newest(notes, "*") == newest(notes, "shoes") == ["n1"]
    assert notes.tag_counts(["red shoes"]) == (1, {"red shoes": 1})


def test_an_unknown_note_is_absent(notes: Notes) -> None:
    assert notes.get(["nobody"]) == {}
    assert shared(notes, {"nothing": 1.0}) == shared(notes, {}) == {}
    assert notes.look(Look(("nothing",), ("nothing",), ("*",), ("nobody",)), OPEN, 5)[1:] == ((0, {"nothing": 0}), {"*": []}, {})
    assert notes.recent(["*"], OPEN, 5) == []
    assert notes.put([]) == []


def test_a_record_comes_back_as_it_was_put(notes: Notes) -> None:
    first = record("n1", 5, ("red shoes", "跑鞋"), degraded=["video: too large"], category=None)
    assert put(notes, first) == []
    assert notes.get(["n1", "n1", "n2"]) == {"n1": first}


@pytest.mark.parametrize("note_id", ODD_IDS)
def test_any_id_and_any_tag_text_is_a_key(notes: Notes, note_id: str) -> None:
    put(notes, record(note_id, 7, (f"tag {note_id}", note_id)))
    assert set(notes.get([note_id])) == {note_id}
    assert listed(notes, note_id) == listed(notes, f"tag {note_id}") == newest(notes, "*") == [note_id]


def test_an_older_event_never_overwrites_a_newer_one(notes: Notes) -> None:
    new, old = record("n1", 20, ("new",)), record("n1", 10, ("old",))
    assert put(notes, new) == []
    assert put(notes, old) == [old]
    assert notes.get(["n1"])["n1"].tags == new.tags
    assert listed(notes, "old") == []


def test_the_first_of_two_rivals_at_one_time_wins(notes: Notes) -> None:
    first, rival = record("n1", 10, ("first",)), record("n1", 10, ("rival",))
    put(notes, first)
    assert put(notes, rival) == [rival]
    assert listed(notes, "first") == ["n1"]
    assert listed(notes, "rival") == []


def test_a_higher_revision_of_one_event_wins(notes: Notes) -> None:
    put(notes, record("n1", 10, ("degraded",)))
    assert put(notes, record("n1", 10, ("better",), revision=1)) == []
    assert (listed(notes, "degraded"), listed(notes, "better")) == ([], ["n1"])


def test_a_redelivery_changes_nothing_and_keeps_the_stamps(notes: Notes) -> None:
    put(notes, record("n1", 10))
    notes.stamp({"n1": 10}, "recallable", 99)
    before = notes.get(["n1"])
    assert put(notes, record("n1", 10, stages={"published": 10, "tagged": 77})) == []
    assert notes.get(["n1"]) == before
    assert before["n1"].stages == {"published": 10, "recallable": 99}


def test_an_update_leaves_the_places_it_no_longer_has(notes: Notes) -> None:
    put(notes, record("n1", 10, ("kept", "gone")))
    put(notes, record("n1", 20, ("kept", "came"), category="home"))
    assert [listed(notes, text) for text in ("kept", "gone", "came")] == [["n1"], [], ["n1"]]
    assert [newest(notes, category) for category in ("shoes", "home", "*")] == [[], ["n1"], ["n1"]]
    assert notes.get(["n1"])["n1"].published_at == 20
    assert notes.get(["n1"])["n1"].retired == []


def test_a_deletion_leaves_a_tombstone_and_no_entry(notes: Notes) -> None:
    put(notes, record("n1", 10, ("x",)), record("n2", 10, ("x",)))
    put(notes, tombstone("n1", 20))
    held = notes.get(["n1"])["n1"]
    assert (held.deleted, held.tags) == (True, [])
    assert listed(notes, "x") == newest(notes, "*") == newest(notes, "shoes") == ["n2"]
    late = record("n1", 15, ("x",))
    assert put(notes, late) == [late]
    assert listed(notes, "x") == ["n2"]


def test_a_deletion_wins_over_an_update_of_the_same_time_in_both_orders(notes: Notes) -> None:
    update = record("n2", 10, ("x",))
    put(notes, record("n1", 10, ("x",)), tombstone("n1", 10))
    assert put(notes, tombstone("n2", 10), update) == [update]
    assert all(held.deleted for held in notes.get(["n1", "n2"]).values())
    assert listed(notes, "x") == []


def test_a_note_may_come_back_after_its_deletion(notes: Notes) -> None:
    put(notes, record("n1", 10, ("x",)), tombstone("n1", 20), record("n1", 30, ("y",)))
    assert (listed(notes, "x"), listed(notes, "y"), newest(notes, "*")) == ([], ["n1"], ["n1"])


def test_several_events_of_a_note_in_one_batch_apply_in_order(notes: Notes) -> None:
    late = record("n1", 15, ("late",))
    assert put(notes, record("n1", 10, ("a",)), record("n2", 1, ("a",)), record("n1", 20, ("b",)), late) == [late]
    assert [listed(notes, text) for text in ("a", "b", "late")] == [["n2"], ["n1"], []]


def test_what_it_was_decided_against_may_be_outdated(notes: Notes) -> None:
    first, second, third = record("n1", 10, ("a",)), record("n1", 20, ("b",)), record("n1", 30, ("c",))
    put(notes, first, second)
    assert notes.put([PutNote(third, previous=first)]) == []
    assert [listed(notes, text) for text in ("a", "b", "c")] == [[], [], ["n1"]]
    outdated = PutNote(record("n1", 25, ("d",)), previous=second)
    assert notes.put([outdated]) == [outdated]
    assert listed(notes, "d") == []


def test_shared_gives_the_newest_within_the_window(notes: Notes) -> None:
    put(notes, *(record(f"n{at:03d}", at, ("t",)) for at in range(100)))
    assert listed(notes, "t", limit=3) == ["n097", "n098", "n099"]
    assert listed(notes, "t", Window(10, 12)) == ["n010", "n011", "n012"]
    assert listed(notes, "t", Window(None, 1)) == ["n000", "n001"]
    assert listed(notes, "t", Window(98, None)) == ["n098", "n099"]
    assert listed(notes, "t", Window(98, 97)) == listed(notes, "t", limit=0) == listed(notes, "t", limit=-1) == []
    assert shared(notes, {"t": 1.5}, OPEN, 1, 1) == {"n099": 1.5}


def test_ties_in_time_have_one_order(notes: Notes) -> None:
    put(notes, *(record(note_id, 10, ("t",)) for note_id in ("b", "é", "a", "Z", "笔")))
    assert newest(notes, "*") == newest(notes, "shoes", "*") == ["笔", "é", "b", "a", "Z"]
    assert listed(notes, "t") == ["Z", "a", "b", "é", "笔"]


def test_recent_merges_categories_without_repeats(notes: Notes) -> None:
    put(notes, record("n1", 10), record("n2", 20, category="home"), record("n3", 30, category=None))
    assert newest(notes, "shoes", "home") == ["n2", "n1"]
    assert newest(notes, "*", "home", limit=2) == ["n3", "n2"]


def test_epoch_milliseconds_are_exact(notes: Notes) -> None:
    at = 253_402_300_799_999
    put(notes, record("n1", at, ("t",)), record("n2", at - 1, ("t",)))
    assert listed(notes, "t", Window(at, at)) == ["n1"]
    assert notes.recent(["*"], OPEN, 1)[0].published_at == notes.look(Look(notes=("n1",))).notes["n1"].published_at == at


def test_a_stamp_is_kept_once_and_only_for_the_event_it_belongs_to(notes: Notes) -> None:
    put(notes, record("n1", 10), record("n2", 10))
    notes.stamp({"n1": 10, "n2": 9, "nobody": 10}, "recallable", 50)
    notes.stamp({"n1": 10}, "recallable", 60)
    assert notes.get(["n1"])["n1"].stages == {"published": 10, "recallable": 50}
    assert "recallable" not in notes.get(["n2"])["n2"].stages
    assert notes.get(["nobody"]) == {}
    put(notes, record("n1", 20))
    assert notes.get(["n1"])["n1"].stages == {"published": 20}


def test_trim_drops_old_entries_and_keeps_the_records(notes: Notes) -> None:
    put(notes, record("n1", 10, ("x", "y")), record("n2", 20, ("x",)))
    assert notes.trim(20) == 4  # x, y, shoes, *
    assert (listed(notes, "x"), listed(notes, "y"), newest(notes, "*")) == (["n2"], [], ["n2"])
    assert set(notes.get(["n1", "n2"])) == {"n1", "n2"}
    assert notes.trim(20) == 0


def test_any_order_of_arrival_ends_in_the_same_state(notes: Notes) -> None:
    """Shuffled events with redeliveries, in batches of any size: the newest event decides record and index."""
    rng = random.Random(4)
    for round_ in range(5):
        ids = [f"r{round_}n{i}" for i in range(4)]
        events = [
            record(i, at, (f"{i}t{at % 3}", f"{i}u{at}"), category=rng.choice(["home", "food", None])) for i in ids for at in range(6)
        ]
        events += [tombstone(ids[0], 9), tombstone(ids[1], 3)]
        log = events + rng.choices(events, k=20)
        rng.shuffle(log)
        while log:
            size = rng.randint(1, 8)
            put(notes, *log[:size])
            log = log[size:]
        for note_id in ids:
            newest_event = max((e for e in events if e.note_id == note_id), key=lambda e: e.order)
            held = notes.get([note_id])[note_id]
            assert msgspec.structs.replace(held, retired=[]) == newest_event
            texts = {text for e in events if e.note_id == note_id for tag in e.tags for text in [tag.text]}
            assert {text for text in texts if listed(notes, text)} == {tag.text for tag in newest_event.tags}
            for category in ("home", "food"):
                assert (note_id in newest(notes, category)) == (category == newest_event.category and not newest_event.deleted)


def test_follow_and_supersedes() -> None:
    held = record("n1", 10, ("a", "b"))
    assert supersedes(None, held)
    moved = follow(held, record("n1", 20, ("b",), category="home"))
    assert moved.retired == [("recent", "shoes"), ("tag", "a")]
    again = follow(moved, record("n1", 30, ("a",), category="home"))
    assert again.retired == [("recent", "shoes"), ("tag", "b")], "what is not yet cleared stays to be cleared, what came back does not"
    assert places(tombstone("n1", 40)) == set()


class DyingClient:
    """A Redis client whose process is killed before its n-th round trip."""

    def __init__(self, client: Any, survives: int) -> None:
        self._client = client
        self.left = survives

    def pipeline(self, transaction: bool) -> Any:
        self._go()
        return self._client.pipeline(transaction=transaction)

    def execute_command(self, *call: Any) -> Any:
        self._go()
        return self._client.execute_command(*call)

    def _go(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("survives", range(4))
@pytest.mark.parametrize("last", [record("n1", 20, ("kept", "came"), category="home"), tombstone("n1", 20)], ids=["update", "deletion"])
def test_a_crash_between_any_two_steps_heals_on_redelivery(settings: Any, survives: int, last: NoteRecord) -> None:
    client, keys = redis_client(settings), Keys(settings.namespace, "b1")
    whole = RedisNotes(client, keys)
    first = record("n1", 10, ("kept", "gone"))
    put(whole, first)
    dying = DyingClient(client, survives)
    put_ = PutNote(last, previous=first)
    if survives < 3:
        with pytest.raises(KeyboardInterrupt):
            RedisNotes(dying, keys).put([put_])  # type: ignore[arg-type]
    else:
        RedisNotes(dying, keys).put([put_])  # type: ignore[arg-type]
        assert dying.left == 0, "record, index, settled record: three round trips"
    assert whole.put([PutNote(last, previous=whole.get(["n1"])["n1"])]) == []
    live = [] if last.deleted else ["n1"]
    assert [listed(whole, text) for text in ("kept", "gone", "came")] == [live, [], live]
    assert [newest(whole, category) for category in ("shoes", "home", "*")] == [[], live, live]
    assert whole.get(["n1"])["n1"] == last


def test_a_late_index_step_of_a_zombie_does_not_hide_a_newer_entry(settings: Any) -> None:
    """The zombie writes its record, sleeps while the owner writes a newer one that has the tag again, and wakes to clear that tag."""
    client, keys = redis_client(settings), Keys(settings.namespace, "b1")
    owner = RedisNotes(client, keys)
    first, second, third = record("n1", 10, ("a",)), record("n1", 20, ("b",)), record("n1", 30, ("a",))
    put(owner, first)

    class Sleeping(RedisNotes):
        def _list_in_index(self, records: Any) -> None:
            put(owner, third)
            super()._list_in_index(records)

    put(Sleeping(client, keys), second)
    assert (listed(owner, "a"), listed(owner, "b")) == (["n1"], ["n1"])  # the entry under b is an orphan: the record does not have it
    assert [tag.text for tag in owner.get(["n1"])["n1"].tags] == ["a"]


def test_a_server_that_is_away_is_transient(settings: Any) -> None:
    away = RedisNotes(redis_client(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0")), Keys("", "b1"))
    with pytest.raises(Transient, match="redis"):
        away.get(["n1"])
    with pytest.raises(Transient, match="redis"):
        away.put([PutNote(record())])
    with pytest.raises(Transient, match="redis"):
        away.trim(1)


def test_shared_sums_the_weights_of_the_lists_that_have_a_note(notes: Notes) -> None:
    put(notes, record("both", 10, ("a", "b")), record("one", 30, ("a",)), record("two", 20, ("b",)))
    weights = {"a": 2.0, "b": 0.5}
    assert shared(notes, weights, OPEN, 5, 5) == {"both": 2.5, "one": 2.0, "two": 0.5}
    assert shared(notes, weights, OPEN, 1, 5) == {"one": 2.0, "two": 0.5}
    assert [notes.look(Look(tags=("a", "b")), OPEN, limit).listed.cut for limit in (5, 2, 1)] == [False, True, True]
    assert shared(notes, {"b": 0.5}, OPEN, 5, 1) == {"both": 0.5, "two": 0.5}


def test_the_best_sums_come_with_all_that_equal_the_last_of_them(notes: Notes) -> None:
    """Which of those are wanted their times say, which the records have."""
    put(notes, record("both", 1, ("a", "b")), record("one", 2, ("a",)), record("two", 3, ("b",)), record("three", 4, ("c",)))
    weights = {"a": 1.0, "b": 1.0, "c": 0.5}
    best = [set(shared(notes, weights, OPEN, 9, best)) for best in (0, 1, 2, 3, 4)]
    assert best == [set(), {"both"}, {"both", "one", "two"}, {"both", "one", "two"}, {"both", "one", "two", "three"}]


def test_one_look_sees_lists_counts_newest_notes_and_records(notes: Notes) -> None:
    put(notes, record("n1", 10, ("a",)), record("n2", 20, ("a", "b")), record("n3", 30, ("b",), category="home"), record("n4", 40, ()))
    look = Look(("a", "b", "a"), ("b", "c", "b"), ("*", "shoes", "home", "food", "shoes"), ("n4", "n1", "nobody", "n1"))
    seen = notes.look(look, Window(None, 30), 2)
    assert seen.listed.sums({"a": 1.0, "b": 2.0}, 9) == {"n1": 1.0, "n2": 3.0, "n3": 2.0}
    assert seen.counts == (3, {"b": 2, "c": 0})
    assert seen.newest == {"*": ["n3", "n2"], "shoes": ["n2", "n1"], "home": ["n3"], "food": []}
    assert {note_id: note.published_at for note_id, note in seen.notes.items()} == {"n4": 40, "n1": 10}
    for category, note_ids in seen.newest.items():
        assert note_ids == [hit.note_id for hit in notes.recent([category], Window(None, 30), 2)]


def test_a_glance_says_what_the_record_says(notes: Notes) -> None:
    def glances(*note_ids: str) -> Mapping[str, Glance]:
        return notes.look(Look(notes=note_ids)).notes

    live = record("n1", 5, ("red shoes", "跑鞋"), degraded=["video: too large"], category=None, fingerprint="text")
    put(notes, live, record("n2", 5), tombstone("n2", 7))
    assert set(glances("n1", "n2", "n3", "n1")) == {"n1", "n2"}
    for note_id, seen in glances("n1", "n2").items():
        held = notes.get([note_id])[note_id]
        for name in ("author_id", "deleted", "published_at", "category", "fingerprint", "tags"):
            assert getattr(seen, name) == getattr(held, name), name
    assert list(glances("n1")["n1"].texts) == ["red shoes", "跑鞋"]
    put(notes, record("n1", 9, ("blue shoes",)))
    assert list(glances("n1")["n1"].texts) == ["blue shoes"]


def test_many_records_come_back_whatever_slots_they_are_in(notes: Notes) -> None:
    put(notes, *(record(f"n{number}", number) for number in range(300)))
    found = notes.get([f"n{number}" for number in range(-5, 305)])
    assert [one.published_at for one in found.values()] == list(range(300))
    assert list(found) == [f"n{number}" for number in range(300)]
