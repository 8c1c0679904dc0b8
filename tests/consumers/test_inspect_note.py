"""Where a note is on its way, and why a reader does not get it."""

import json

import msgspec
import pytest
from click.testing import CliRunner

import recall.build
from consumers import inspect_cli
from consumers.inspect_note import inspect, why_not
from recall.known_note import WhyNot
from recall.query import Query, RecallStores
from schemas.codec import encode, version_headers
from schemas.errors import Transient
from schemas.events import NoteEvent, NoteTagged, Tag
from streams.dead_letters import Failure, dead_letter_headers
from streams.memory import MemoryMessage
from tests.recall.world import World

NOW = 1_790_000_000_000


class Log:
    """Records by topic name."""

    def __init__(self):
        self.records = {}

    def add(self, topic, event, at=NOW, key=None, headers=None):
        value = event if isinstance(event, bytes | None) else encode(event)
        key = key if key is not None else (event.note_id.encode() if not isinstance(event, bytes | None) else None)
        records = self.records.setdefault(topic, [])
        message = MemoryMessage(
            topic=topic,
            partition=0,
            offset=len(records),
            key=key,
            value=value,
            headers=headers or (version_headers(event) if not isinstance(event, bytes | None) else []),
            timestamp=at,
        )
        records.append(message)
        return message

    def bury(self, message, failure, stage="tag-notes/decode", reason="invalid_event"):
        headers = dead_letter_headers(message, Failure(reason, failure, stage, "$.occurred_at"))
        self.add(f"{message.topic()}-dead-letters", message.value(), NOW + 9, message.key(), headers)

    def find(self, topic):
        return self.records.get(topic.name, [])


def published(at=NOW, kind="note.published", **changes):
    return NoteEvent(type=kind, note_id="n", author_id="a", occurred_at=at, published_at=at, **changes)


def tagged(at=NOW, **changes):
    tag = Tag(text="green tea", dimension="taste", rank=1, confidence=0.9)
    stages = {"published": at, "tagged": at + 5}
    return NoteTagged(note_id="n", author_id="a", occurred_at=at, published_at=at, bundle="b1", tags=[tag], stages=stages, **changes)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def log():
    return Log()


def reasons(found):
    return [why.reason for why in found.why_not]


def test_a_note_that_nobody_published(world, log):
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.tags, found.stages, reasons(found)) == ("unknown", [], {}, ["unknown"])


def test_a_published_note_waits_for_its_tags(world, log):
    log.add("note-events", published(category="food"), at=NOW + 1)
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.category, found.stages, reasons(found)) == ("published", "food", {"published": NOW + 1}, ["not_tagged_yet"])


def test_a_tagged_note_waits_for_the_index(world, log):
    log.add("note-events", published())
    log.add("note-tagged", tagged(category="food"), at=NOW + 5)
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.category, found.bundle, reasons(found)) == ("tagged", "food", "b1", ["not_indexed_yet"])
    assert [tag.text for tag in found.tags] == ["green tea"]


def test_an_update_that_is_not_tagged_yet_counts(world, log):
    log.add("note-tagged", tagged(), at=NOW + 5)
    log.add("note-events", published(at=NOW + 10, kind="note.updated"), at=NOW + 10)
    assert inspect("n", world.stores, log.find).state == "published"
    log.add("note-events", published(at=NOW + 20, kind="note.deleted"), at=NOW + 20)
    assert inspect("n", world.stores, log.find).state == "deleted"


def test_a_late_copy_of_an_older_event_does_not_count(world, log):
    log.add("note-events", published(at=NOW + 20, kind="note.deleted"), at=NOW + 20)
    log.add("note-events", published(at=NOW), at=NOW + 30)
    assert inspect("n", world.stores, log.find).state == "deleted"


def test_records_of_other_notes_do_not_count(world, log):
    other = msgspec.structs.replace(published(), note_id="other", title='say "n"')
    log.add("note-events", other)
    log.bury(log.add("note-events", b'{"note_id": "other", "title": "n"}', key=b"other"), "required field is missing; add it")
    assert inspect("n", world.stores, log.find).state == "unknown"


@pytest.mark.parametrize(("key", "value"), [(b"n", b"not json"), (None, b'{"note_id": "n"}'), (b"n", None)])
def test_a_dead_letter_is_found_by_key_or_by_value(world, log, key, value):
    log.bury(log.add("note-events", value, key=key), "required field is missing; add it")
    found = inspect("n", world.stores, log.find)
    assert found.state == "dead_letter"
    assert found.why_not == [
        WhyNot("dead_letter", "invalid_event: $.occurred_at required field is missing; add it (given up by tag-notes/decode)")
    ]


def test_a_good_event_after_a_dead_letter_counts(world, log):
    log.bury(log.add("note-events", b'{"note_id": "n"}', at=NOW, key=b"n"), "missing")
    log.add("note-events", published(), at=NOW + 1)
    assert inspect("n", world.stores, log.find).state == "published"


def test_a_note_that_is_kept_for_an_upgrade_is_tagged_all_the_same(world, log):
    log.bury(log.add("note-events", published(), at=NOW), "image: refused, timeout", "tag-notes", "degraded")
    assert inspect("n", world.stores, log.find).state == "published"
    log.add("note-tagged", tagged(tagger="vlm", degraded=["image: refused, timeout"]), at=NOW)
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.tagger, found.degraded) == ("tagged", "vlm", ["image: refused, timeout"])


def test_the_stores_decide_where_they_know_the_note(world, log):
    log.add("note-events", published(kind="note.deleted"))
    record = world.note("n", "green tea", category="food")
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.category, found.bundle, found.why_not) == ("recallable", "food", "b1", [])
    world.notes.stamp({"n": record.occurred_at}, "recallable", NOW)
    assert inspect("n", world.stores, log.find).stages == {"recallable": NOW}
    world.note("n", deleted=True, occurred_at=NOW + 1)
    assert inspect("n", world.stores, log.find).state == "deleted"


def test_a_note_whose_vector_is_not_there_yet_is_tagged(world, log, monkeypatch):
    world.note("n", "green tea")
    monkeypatch.setattr(world.index, "visible", lambda note_ids: {})
    found = inspect("n", world.stores, log.find)
    assert (found.state, reasons(found)) == ("tagged", ["not_searchable_yet"])

    world.note("bare")
    assert reasons(inspect("bare", world.stores, log.find)) == ["no_tags"]

    def down(_):
        raise Transient("milvus", "connection refused")

    monkeypatch.setattr(world.index, "visible", down)
    found = inspect("n", world.stores, log.find)
    assert (found.state, found.why_not) == (
        "tagged",
        [WhyNot("not_known", "whether a search finds its vector: milvus is not available: connection refused")],
    )


def test_without_an_active_bundle_the_topics_decide(world, log):
    log.add("note-tagged", tagged())
    stores = RecallStores(world.profiles, world.notes, world.index, world.settings, None)
    assert inspect("n", stores, log.find).state == "tagged"
    assert [why.reason for why in why_not("n", Query(user_id="u"), stores, world.encoder)] == ["no_bundle"]


def why(world, note_id, **asked):
    return why_not(note_id, Query(user_id="u", **({"as_of": NOW} | asked)), world.stores, world.encoder)


def test_a_note_that_the_reader_gets_has_no_reason(world):
    world.note("n", "green tea")
    assert why(world, "n") == []


def test_the_filter_that_takes_it_out_is_named(world):
    world.note("liked", "green tea", fingerprint="x")
    world.note("repost", "green tea", fingerprint="x")
    world.note("mine", "green tea", author="u")
    world.note("old", "green tea", age_h=30)
    world.act("u", "like", "liked")
    assert [(one.reason, one.detail) for note_id in ("liked", "repost", "mine", "old") for one in why(world, note_id)] == [
        ("filtered_by_seen", "the reader acted on it before"),
        ("filtered_by_duplicate", "its text is the same as another note's: liked"),
        ("filtered_by_own", "the reader wrote it"),
        ("filtered_by_outside_window", f"it was published outside the time asked for: {NOW - 30 * 3_600_000}"),
    ]
    assert why(world, "old", fresh_within_ms=None) == []


def test_its_rank_below_k_is_told(world):
    world.note("liked", "green tea", age_h=9)
    world.act("u", "like", "liked")
    for number in range(6):
        world.note(f"better{number}", "green tea", age_h=1)
    world.note("n", "green tea", "red wine", age_h=2)
    (one,) = why(world, "n", k=3)
    assert one.reason == "below_top_k"
    assert one.detail.startswith("rank 7 of 7 with score ") and ", 3 asked for; number 3 has " in one.detail


def test_a_note_that_no_channel_proposes_is_told(world):
    world.note("liked", "green tea")
    world.act("u", "like", "liked")
    world.note("n", "red wine")
    (one,) = why(world, "n", channels=("tag_index",))
    assert (one.reason, one.detail) == ("not_proposed", "no channel of tag_index proposes it")


def test_a_channel_that_was_down_is_part_of_the_answer(world, monkeypatch):
    def down(*_):
        raise Transient("milvus", "connection refused")

    world.note("liked", "green tea")
    world.act("u", "like", "liked")
    world.note("n", "black tea")
    monkeypatch.setattr(world.index, "search", down)
    assert [one.reason for one in why(world, "n", channels=("tag_embedding",))] == ["degraded", "not_proposed"]


@pytest.fixture
def invoke(world, log, monkeypatch):
    monkeypatch.setattr(recall.build, "open_live", lambda settings: recall.build.Live(world.stores, world.encoder))
    monkeypatch.setattr(inspect_cli, "finder", lambda settings, note_id: log.find)
    return lambda *arguments: CliRunner().invoke(inspect_cli.note, [str(argument) for argument in arguments])


def test_note_json(invoke, world):
    world.note("n", "green tea", category="food")
    document = json.loads(invoke("n", "--json").stdout)
    assert set(document) == {"note_id", "state", "category", "tags", "bundle", "tagger", "degraded", "stages", "why_not"}
    assert document["tags"] == [{"text": "green tea", "dimension": "d", "rank": 1, "confidence": 0.9, "evidence": []}]
    world.act("u", "like", "n")
    document = json.loads(invoke("n", "--user", "u", "--as-of", NOW, "--json").stdout)
    assert document["why_not"] == [{"reason": "filtered_by_seen", "detail": "the reader acted on it before"}]


def test_note_for_a_person(invoke, world, log):
    log.add("note-tagged", tagged(category="food", degraded=["image: refused, timeout"]))
    text = invoke("n", "--user", "u").stdout
    assert "tagged without image: refused, timeout" in text
    assert "n: tagged" in text and "green tea" in text and "not recalled: not indexed yet" in text
    assert "tagged +0.005 s" in text
    world.note("m", "green tea")
    assert "u gets this note." in invoke("m", "--user", "u", "--as-of", NOW).stdout


def test_wrong_usage(invoke):
    assert invoke("").exit_code == 2
    assert invoke("n", "--user", "").exit_code == 2
    assert "Example: tagstream note" in invoke("--help").stdout
