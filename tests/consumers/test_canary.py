"""The canary over the in-memory twins: found, late, and cleaned up after a crash at any point. The clock moves only while it waits."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consumers.canary import FORGET_MS, Canary, note_of
from consumers.canary_log import SLOTS, MemoryCanaryLog, slot_id
from consumers.index_notes import IndexNotes
from consumers.stores import NoteStore
from consumers.tag_notes import TagNotes
from models.roles import NoteTags
from recall.build import Live
from recall.note_index import MemoryNoteIndex, now_ms
from recall.query import Query, recall
from schemas.canary import is_canary
from schemas.codec import encode
from schemas.errors import Transient
from schemas.events import NoteEvent, Tag
from schemas.records import Received
from schemas.writes import Publish
from streams.jobs import Stop
from streams.memory import MemoryMessage
from streams.metrics import Metrics
from tests.recall.world import DIMENSION, World

LATE_S = 10.0
PHRASES = ["breathable knit upper", "carbon plate"]


class Crash(BaseException):
    """The process dies here."""


class Pipeline:
    """The real handlers over the twins. What is sent waits ``delay_ms`` of the clock; nothing moves while ``stopped``."""

    name = "test"
    version = "1"

    def __init__(self, world: World) -> None:
        self.now = now_ms()
        self.world = world
        world.index = MemoryNoteIndex(DIMENSION, clock=lambda: self.now)
        self.delay_ms = 120
        self.stopped = False
        self.bundle: str | None = "b1"
        self.phrases = list(PHRASES)
        self.sent: list[NoteEvent] = []
        self.waiting: list[tuple[int, NoteEvent]] = []
        self.fail: Callable[[NoteEvent], None] = lambda event: None
        self.watching: Callable[[], None] = lambda: None
        self._tag_notes = TagNotes(self, "b1", "note-tagged", clock=lambda: self.now)  # type: ignore[arg-type]
        self._index_notes = IndexNotes(world.notes, world.encoder, "b1")
        self._store = NoteStore(world.notes, world.index)

    def tag(self, notes: list[NoteEvent], media: Any = None) -> list[NoteTags]:
        tags = [Tag(text=text, dimension="d", rank=rank, confidence=0.9) for rank, text in enumerate(self.phrases, 1)]
        return [NoteTags(category=note.category, tags=[] if note.type == "note.deleted" else tags) for note in notes]

    def send(self, event: NoteEvent) -> None:
        self.fail(event)
        self.sent.append(event)
        self.waiting.append((self.now + self.delay_ms, event))

    def pause(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        if not self.stopped:
            due = [event for at, event in self.waiting if at <= self.now]
            self.waiting = self.waiting[len(due) :]
            for event in due:
                self._process(event)
        self.watching()

    def _process(self, event: NoteEvent) -> None:
        message = MemoryMessage(topic="note-events", partition=0, offset=0, value=encode(event), timestamp=self.now)
        (publish,) = self._tag_notes.handle([Received(event, "t@1", 0, 0, message)])
        assert isinstance(publish, Publish)
        self._store.apply(self._index_notes.handle([Received(publish.event, "t@1", 0, 0, message)]))

    def live(self) -> Live:
        return Live(msgspec.structs.replace(self.world.stores, bundle=self.bundle), self.world.encoder)


@pytest.fixture
def pipeline(world: World) -> Pipeline:
    return Pipeline(world)


@pytest.fixture
def memory() -> MemoryCanaryLog:
    return MemoryCanaryLog()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def canary(pipeline: Pipeline, memory: MemoryCanaryLog, metrics: Metrics) -> Canary:
    return start(pipeline, memory, metrics)


def start(pipeline: Pipeline, memory: MemoryCanaryLog, metrics: Metrics | None = None) -> Canary:
    return Canary(
        pipeline.live,
        memory,
        pipeline.send,
        LATE_S,
        metrics=metrics or Metrics(),
        clock=lambda: pipeline.now,
        pause=pipeline.pause,
    )


def kinds(pipeline: Pipeline) -> list[tuple[str, str]]:
    return [(event.type.removeprefix("note."), event.note_id) for event in pipeline.sent]


def clean(pipeline: Pipeline, memory: MemoryCanaryLog) -> bool:
    """Nothing of any canary is left but tombstones."""
    records = pipeline.world.notes.get([slot_id(number) for number in range(SLOTS)])
    return not memory.open() and all(record.deleted for record in records.values()) and not pipeline.world.index.visible(list(records))


def test_a_canary_is_found_measured_and_taken_away(canary, pipeline, memory, metrics):
    run = canary.run(Stop())
    assert (run.outcome, run.found_ms) == ("found", 150.0), "handled after 120 ms, looked for every 50"
    assert kinds(pipeline) == [("published", run.note_id), ("deleted", run.note_id)]
    assert memory.runs() == [run]
    assert clean(pipeline, memory)
    text = metrics.text()
    assert 'tagstream_canaries_total{outcome="found"} 1.0' in text
    assert 'tagstream_canary_seconds_sum{step="found"} 0.15' in text
    assert 'tagstream_canary_seconds_count{step="gone"} 1.0' in text


def test_no_reader_is_shown_one_and_no_list_holds_one(canary, pipeline, world):
    """While it is there, a reader who likes its very tags and one who likes nothing get only the real note."""
    world.note("liked", *PHRASES, age_h=-(now_ms() - 1_790_000_000_000) / 3_600_000)
    world.note("real", *PHRASES, age_h=-(now_ms() - 1_790_000_000_000) / 3_600_000)
    world.act("u", "like", "liked")
    answers = []

    def look():
        live = [entry for entry in world.notes.get([slot_id(n) for n in range(SLOTS)]).values() if not entry.deleted]
        if live:
            query = Query(user_id="u", fresh_within_ms=None)
            found = recall(query, *pipeline.live())
            stranger = recall(msgspec.structs.replace(query, user_id="nobody"), *pipeline.live())
            answers.append((found, stranger, world.notes.tag_counts(PHRASES)))

    pipeline.watching = look
    assert canary.run(Stop()).outcome == "found"
    assert answers
    for found, stranger, counts in answers:
        assert [one.note_id for one in found.results] == ["real"]
        assert {one.reason for one in found.removed if is_canary(one.note_id)} == {"canary"}
        assert sorted(one.note_id for one in stranger.results) == ["liked", "real"]
        assert counts == (2, dict.fromkeys(PHRASES, 2))


def test_it_is_found_by_a_search_and_not_by_its_record(canary, pipeline, world, monkeypatch):
    monkeypatch.setattr(world.index, "search", lambda vectors, k, window, space="tag": [[] for _ in vectors])
    run = canary.run(Stop())
    assert (run.outcome, run.detail) == ("late", "not found after 10.0 s: it is stored, but the search does not return it")


@pytest.mark.parametrize(
    ("break_it", "detail"),
    [
        (lambda pipeline: setattr(pipeline, "stopped", True), "it waits for tag-notes or index-notes, the stores do not have it"),
        (lambda pipeline: pipeline.phrases.clear(), "tagger test gave it no tags, so no search can find it"),
    ],
)
def test_a_late_canary_alarms_and_is_taken_away_once_that_is_possible(canary, pipeline, memory, metrics, caplog, break_it, detail):
    break_it(pipeline)
    with caplog.at_level(logging.WARNING):
        run = canary.run(Stop())
    assert (run.outcome, run.found_ms, run.detail) == ("late", None, f"not found after 10.0 s: {detail}")
    assert detail in caplog.text
    assert 'tagstream_canaries_total{outcome="late"} 1.0' in metrics.text()
    assert memory.runs() == [run]
    assert kinds(pipeline) == [("published", run.note_id), ("deleted", run.note_id)]
    assert [entry.note_id for entry in memory.open()] == [run.note_id]

    pipeline.stopped, pipeline.phrases = False, list(PHRASES)
    again = canary.run(Stop())
    assert again.outcome == "found"
    assert again.note_id != run.note_id
    assert canary.finish() == 0
    assert clean(pipeline, memory)


def test_one_that_is_found_after_its_time_is_late(canary, pipeline, world, monkeypatch):
    real = world.index.search

    def slow(*arguments, **named):
        if pipeline.sent:
            pipeline.now += 11_000
        return real(*arguments, **named)

    monkeypatch.setattr(world.index, "search", slow)
    run = canary.run(Stop())
    assert (run.outcome, run.found_ms, run.detail) == ("late", 11_150.0, "found after 11.2 s")


@pytest.mark.parametrize("reached", ["entered", "published", "deleted"])
def test_what_a_crash_leaves_the_next_start_takes_away(canary, pipeline, memory, reached):
    """The process dies with the note entered but unsent, sent, or its deletion sent but not noted down."""

    def die(event):
        if reached == "entered" or event.type == "note.deleted":
            if reached == "deleted":
                pipeline.waiting.append((pipeline.now, event))
            raise Crash

    pipeline.fail = die
    with pytest.raises(Crash):
        canary.run(Stop())
    pipeline.fail = lambda event: None
    (left,) = memory.open()
    assert left.deleted_at is None

    start(pipeline, memory).sweep()
    assert memory.open() == [left], "its process may still be at it"
    pipeline.now = left.until
    pipeline.pause(0.2)
    second = start(pipeline, memory)
    run = second.run(Stop())
    assert run.outcome == "found"
    assert pipeline.sent[-3].type == "note.deleted" and pipeline.sent[-3].note_id == left.note_id
    assert second.finish() == 0
    assert clean(pipeline, memory)


def test_a_deletion_is_not_taken_for_gone_before_it_reached_the_stores(canary, pipeline, memory):
    """The publication is still in the topic: there is no record yet, and there will be one."""
    pipeline.stopped = True
    canary.run(Stop())
    assert canary.finish() == 1
    assert len(memory.open()) == 1
    pipeline.now += FORGET_MS
    assert canary.finish() == 0, "after a day the bundle that it was for is gone"


def test_what_is_down_is_said_and_the_next_canary_is_tried(canary, pipeline, memory):
    pipeline.bundle = None
    assert canary.run(Stop()).detail == "no bundle is active yet: run `tagstream consume`"
    pipeline.bundle = "b1"

    def down(event):
        raise Transient("kafka", "1 records are not acknowledged after 10 s")

    pipeline.fail = down
    for _ in range(2):
        run = canary.run(Stop())
        assert (run.outcome, run.detail) == ("skipped", "kafka is not available: 1 records are not acknowledged after 10 s")
    assert len(memory.open()) == 1, "while Kafka is down no further one is entered"
    pipeline.fail = lambda event: None
    assert canary.run(Stop()).outcome == "found"
    assert canary.finish() == 0
    assert clean(pipeline, memory)
    assert [run.outcome for run in memory.runs()].count("skipped") == 3


def test_without_redis_it_only_warns(pipeline, caplog):
    class Down:
        def __getattr__(self, name):
            def call(*_):
                raise Transient("redis", "connection refused")

            return call

    run = start(pipeline, Down()).run(Stop())
    assert (run.outcome, run.detail) == ("skipped", "redis is not available: connection refused")
    assert pipeline.sent == []
    assert "this run is not recorded" in caplog.text


def test_milvus_down_makes_it_late(canary, pipeline, world, monkeypatch):
    def down(*_, **__):
        raise Transient("milvus", "connection refused")

    monkeypatch.setattr(world.index, "search", down)
    assert canary.run(Stop()).detail.endswith("tag_embedding: milvus is not available: connection refused")


def test_told_to_stop_it_leaves_nothing_behind(canary, pipeline, memory):
    stop = Stop()
    pipeline.watching = stop.request
    assert canary.run(stop) is None
    assert kinds(pipeline)[-1][0] == "deleted"
    assert canary.finish() == 0
    assert clean(pipeline, memory)
    assert memory.runs() == []


def test_two_processes_use_different_canaries(canary, pipeline, memory):
    other = start(pipeline, memory)
    pipeline.stopped = True
    canary.run(Stop())
    other.run(Stop())
    assert len({entry.note_id for entry in memory.open()}) == 2


def test_without_a_free_canary_that_is_said(canary, pipeline, memory):
    pipeline.stopped = True
    runs = [canary.run(Stop()) for _ in range(SLOTS + 1)]
    assert [run.outcome for run in runs] == ["late"] * SLOTS + ["skipped"]
    assert "none of the 16 canaries before it is gone yet" in runs[-1].detail
    assert len(pipeline.sent) == 2 * SLOTS, "one publication and one deletion each, however often it is looked"


def test_a_canary_is_newer_than_its_tombstone_whatever_the_clock_says(canary, pipeline, memory):
    for _ in range(SLOTS):
        canary.run(Stop())
    pipeline.now -= 3_600_000
    run = canary.run(Stop())
    assert run.outcome == "found"
    assert clean(pipeline, memory)


def test_one_that_does_not_go_is_told(canary, pipeline, memory, world, monkeypatch):
    monkeypatch.setattr(world.index, "drop", lambda drops: None)
    assert canary.run(Stop()).outcome == "found"
    assert [(run.outcome, run.detail) for run in memory.runs()] == [("kept", "deleted, and not gone after 10 s"), ("found", "")]
    assert len(memory.open()) == 1


def test_no_canary_is_a_repost_of_another(memory, pipeline):
    from consumers.canary_log import OpenCanary
    from consumers.tag_notes import fingerprint

    assert len({fingerprint(note_of(OpenCanary(slot_id(number), 1, 2))) for number in range(SLOTS)}) == SLOTS
