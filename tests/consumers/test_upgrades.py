"""Notes tagged while the endpoint is down, over the in-memory Kafka: each is upgraded once it answers, whoever dies meanwhile."""

import math
import threading
import time
from contextlib import nullcontext

import pytest
from msgspec.structs import replace

from consumers.index_notes import IndexNotes
from consumers.stores import NoteStore
from consumers.tag_notes import TagNotes
from consumers.upgrades import MAX_ATTEMPTS, Upgrades, due_at, pauses_of, upgrade_now_and_then
from models.endpoint_tagger import UNAVAILABLE
from models.roles import NoteTags
from schemas.codec import encode, version_headers
from schemas.errors import BadSetting
from schemas.events import NoteEvent, Tag
from schemas.settings import Settings
from schemas.topics import NOTE_EVENTS, NOTE_TAGGED, all_topics
from streams.dead_letter_log import DeadLetters
from streams.engine import Engine, Job, Limits, Stop
from streams.memory import MemoryLog, MemoryPublisher, MemoryReader, MemorySender, MemorySource
from tests.recall.world import World

QUICK = Limits(retry_max_s=0.01, patience_s=0.005, commit_interval_s=0.0)


class Killed(BaseException):
    """A process ends here."""


class Endpoint:
    """A tagger whose endpoint is up or down; ``lacks``: media that are missing of a note, by id."""

    name = "endpoint"
    version = "1"
    sees = hears = True

    def __init__(self):
        self.up = False
        self.lacks = {}

    def probe(self):
        return self.up

    def tag(self, notes, media=None):
        return [self._answer(note) for note in notes]

    def _answer(self, note):
        if note.type == "note.deleted":
            return NoteTags(note.category, [])
        degraded = ([] if self.up else [UNAVAILABLE]) + self.lacks.get(note.note_id, [])
        text = f"{'fine' if self.up else 'plain'} {note.title}"
        return NoteTags("shoes", [Tag(text=text, dimension="d", rank=1, confidence=0.9)], "en", degraded, bool(degraded))


class House:
    def __init__(self):
        self.log = MemoryLog()
        for topic in all_topics():
            self.log.create(topic)
        self.letters = DeadLetters(lambda topic: nullcontext(MemoryReader(self.log, topic)))
        self.endpoint = Endpoint()
        self.world = World()
        self.now = 1_000.0

    def send(self, *notes):
        for note in notes:
            self.log.append(NOTE_EVENTS.name, encode(note), note.note_id.encode(), headers=version_headers(note))

    def consume(self):
        """Both jobs, until all is read. Returns how many the index passed over as stale."""
        tag = Job(
            name="tag-notes",
            topic=NOTE_EVENTS,
            handle=TagNotes(self.endpoint, "b", NOTE_TAGGED.name).handle,
            batch_size=4,
            batch_age_s=0.0,
        )
        index = Job(
            name="index-notes",
            topic=NOTE_TAGGED,
            handle=IndexNotes(self.world.notes, self.world.encoder, "b").handle,
            batch_size=4,
            batch_age_s=0.0,
        )
        self._run(tag, [])
        return self._run(index, [NoteStore(self.world.notes, self.world.index)]).stale

    def _run(self, job, stores):
        source = MemorySource(self.log, job.topic.name, job.group_id())
        return Engine(job, source, MemoryPublisher(self.log), stores, limits=QUICK).run(Stop(), 0.02)

    def upgrades(self, sender=None, pauses=()):
        """As a process that has just started."""
        chosen = sender or MemorySender(self.log)
        return Upgrades(self.letters, chosen, self.endpoint, pauses=pauses, clock=lambda: self.now)

    def tags(self):
        return {note_id: record.texts[0] for note_id, record in self.world.notes.get(["n0", "n1", "n2"]).items() if record.tags}


def note(number, **fields):
    defaults = {"type": "note.published", "author_id": "a", "occurred_at": 5, "published_at": 5, "title": f"t{number}"}
    return NoteEvent(note_id=f"n{number}", **(defaults | fields))


@pytest.fixture
def house():
    made = House()
    made.send(*(note(number) for number in range(3)))
    made.consume()
    assert made.tags() == {f"n{number}": f"plain t{number}" for number in range(3)}
    return made


FINE = {f"n{number}": f"fine t{number}" for number in range(3)}


def test_they_are_upgraded_once_it_answers_and_then_left_alone(house):
    upgrades = house.upgrades()
    assert upgrades.look() == 0, "it is still down"
    house.endpoint.up = True
    assert upgrades.look() == 3
    assert house.consume() == 0 and house.tags() == FINE
    assert {record.revision for record in house.world.notes.get(list(FINE)).values()} == {1}
    assert [upgrades.look(), house.upgrades().look()] == [0, 0]
    assert len(house.log.records(NOTE_TAGGED.name)) == 6


def test_without_pauses_what_lacks_only_its_media_is_left_to_the_operator(house):
    house.endpoint.up = True
    house.endpoint.lacks = {"n9": ["image: refused, unreachable"]}
    house.send(note(9))
    house.consume()
    assert house.upgrades().look() == 3
    house.now = time.time() + 86_400
    assert house.upgrades().look() == 0


def at_each_minute(house, upgrades, minutes):
    """The minutes, from now, within which a note was sent again. Letters are dated now, whatever the house says."""
    begun, sent = time.time(), []
    for minute in range(minutes):
        house.now = begun + minute * 60 + 30
        if upgrades.look():
            sent.append(minute)
            house.consume()
    return sent


@pytest.fixture
def lacking():
    """A note that lacks a medium, in a house without an endpoint."""
    house = House()
    house.endpoint.up, house.endpoint.probe = True, lambda: False
    house.endpoint.lacks = {"n0": ["image: refused, http_status (images[0]: 503)"]}
    house.send(note(0))
    house.consume()
    return house


def test_what_lacks_a_medium_is_tried_after_each_pause_and_then_left_to_the_operator(lacking):
    assert at_each_minute(lacking, lacking.upgrades(pauses=(1, 10, 60)), 70) == [1, 10, 60]
    assert lacking.upgrades(pauses=(1, 10, 60)).look() == 0
    assert [letter.content.attempts for letter in lacking.letters.listing().letters if letter.state == "open"] == [4]
    assert lacking.world.notes.get(["n0"])["n0"].revision == 3


def test_a_medium_that_is_back_ends_it(lacking):
    lacking.now = time.time() + 61
    lacking.endpoint.lacks = {}
    upgrades = lacking.upgrades(pauses=(1, 10))
    assert upgrades.look() == 1
    lacking.consume()
    lacking.now += 10_000
    assert [upgrades.look(), lacking.upgrades(pauses=(1, 10)).look()] == [0, 0]
    assert lacking.world.notes.get(["n0"])["n0"].degraded == []


def test_two_bundles_that_leave_a_letter_each_do_not_double_them(lacking):
    """Both read whatever is sent again, and both fail again."""
    for attempt in range(1, 4):
        newest = lacking.log.records(NOTE_EVENTS.dead_letters)[-1]
        lacking.log.append(NOTE_EVENTS.dead_letters, newest.value(), newest.key(), headers=newest.headers())
        lacking.now = time.time() + 601
        assert lacking.upgrades(pauses=(1, 1, 1)).look() == 1, attempt
        lacking.consume()
    states = [letter.state for letter in lacking.letters.listing().letters]
    assert (states.count("dropped"), states.count("open")) == (3, 1)


@pytest.mark.parametrize("text", ["soon", "1,-2", "0", "nan", "1,inf", ",".join("1" * 10)])
def test_pauses_that_are_none(text):
    with pytest.raises(BadSetting, match="TAGSTREAM_MEDIA_UPGRADE_MINUTES"):
        pauses_of(Settings(media_upgrade_minutes=text))


def test_pauses():
    assert (pauses_of(Settings()), pauses_of(Settings(media_upgrade_minutes=""))) == ([1, 10, 60], [])


def test_what_fails_again_is_tried_again_with_a_higher_revision_but_not_for_ever(house):
    house.endpoint.probe = lambda: True  # it answers, but never for these
    for attempt in range(1, MAX_ATTEMPTS):
        assert house.upgrades().look() == 3
        assert house.consume() == 0
        assert {record.revision for record in house.world.notes.get(list(FINE)).values()} == {attempt}
    assert house.upgrades().look() == 0
    assert sum(letter.state == "open" for letter in house.letters.listing().letters) == 3


@pytest.mark.parametrize("kill_after", range(9))
def test_a_process_that_is_killed_forgets_nothing(house, kill_after):
    """At each record that a look produces: marks and copies."""
    sent = []

    class Mortal(MemorySender):
        def send(self, records):
            answers = []
            for one in records:
                if len(sent) == kill_after:
                    raise Killed
                sent.append(one)
                answers += super().send([one])
            return answers

    house.endpoint.up = True
    with pytest.raises(Killed):
        house.upgrades(Mortal(house.log)).look()
    house.now += 60
    house.upgrades().look()
    house.consume()
    assert house.tags() == FINE
    assert house.upgrades().look() == 0


def test_two_that_look_at_the_same_time_do_no_harm(house):
    house.endpoint.up = True
    one, other = house.upgrades(), house.upgrades()
    due = house.letters.listing()
    other._letters.listing = lambda topics: due  # it has looked before the first one marked
    assert one.look() == 3 and other.look() == 3
    house.consume()
    assert house.tags() == FINE
    assert {record.revision for record in house.world.notes.get(list(FINE)).values()} == {1}


def test_an_upgrade_of_a_note_that_was_changed_or_deleted_meanwhile_is_dropped(house):
    house.endpoint.up = True
    house.send(note(0, type="note.updated", title="new", occurred_at=6), note(1, type="note.deleted", occurred_at=6))
    house.consume()
    assert house.upgrades().look() == 3
    assert house.consume() == 2
    assert house.tags() == {"n0": "fine new", "n2": "fine t2"}


def test_a_replay_of_everything_leaves_the_upgraded_tags(house):
    house.endpoint.up = True
    house.upgrades().look()
    house.consume()
    house.endpoint.up = False
    for topic in (NOTE_EVENTS, NOTE_TAGGED):
        house.log._groups = {key: group for key, group in house.log._groups.items() if key[0] != topic.name}
    house.consume()
    house.endpoint.up = True
    while house.upgrades().look():
        house.consume()
    assert house.tags() == FINE


def test_looks_go_on_after_an_error_and_end_when_told():
    third = threading.Event()
    calls = []

    def look():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no broker")
        if len(calls) == 3:
            third.set()
        return 0

    end = upgrade_now_and_then(look, 0.001)
    assert third.wait(30)
    end()
    assert not any(thread.name == "upgrades" for thread in threading.enumerate())


def test_a_letter_of_the_same_reason_from_elsewhere_is_not_taken(house):
    """Only what names the endpoint is due once it answers, and only while nothing was done with it."""
    letters = house.letters.listing().letters

    def due(letter):
        return due_at(letter, (), answers=True) == 0.0

    assert all(map(due, letters))
    assert not any(due_at(letter, (), answers=False) < math.inf for letter in letters)
    content = letters[0].content
    assert not due(replace(letters[0], content=replace(content, failure=replace(content.failure, reason="poison"))))
    assert not any(due(replace(letters[0], state=state)) for state in ("redriven", "failed_again", "dropped"))
