"""Dead letters on the in-memory Kafka: listed, marked, sent again to where they failed; crashes in between, repetitions and limits."""

from contextlib import nullcontext

import pytest
from msgspec.structs import replace

from schemas.codec import encode, version_headers
from schemas.errors import PoisonBatch, Transient
from schemas.events import DeadLetterMark, Interaction, NoteEvent, NoteTagged
from schemas.topics import DEAD_LETTER_MARKS, INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, all_topics
from schemas.writes import Publish
from streams.dead_letter_log import DeadLetters, Letter
from streams.dead_letters import PREFIX, Coordinates
from streams.engine import Engine, Job, Limits, Stop
from streams.memory import MemoryLog, MemoryPublisher, MemoryReader, MemorySender, MemorySource
from streams.metric_steps import JOB
from streams.redrive import Asked, Redriver, expected, mark_of, plan, refusal
from streams.redrive_outcome import Follower

IDLE_S = 0.02
NS = "ns"
NOTES, TAGGED, ACTIONS = (topic.within(NS) for topic in (NOTE_EVENTS, NOTE_TAGGED, INTERACTIONS))


def note(note_id: str, at: int = 1) -> NoteEvent:
    return NoteEvent(type="note.published", note_id=note_id, author_id="a", occurred_at=at, published_at=at)


class Killed(BaseException):
    """A process ends here."""


class House:
    """Topics, the dead letters, and jobs whose handlers refuse the notes named in ``sick``."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        for topic in all_topics(NS):
            self.log.create(topic)
        self.letters = DeadLetters(lambda topic: nullcontext(MemoryReader(self.log, topic)), NS)
        self.sender = MemorySender(self.log)
        self.now = 1_000.0
        self.slept: list[float] = []
        self.sick: set[str] = set()
        self.tagged: list[str] = []
        self.indexed: list[str] = []

    def send(self, *notes: NoteEvent, headers=()) -> None:
        for one in notes:
            self.log.append(NOTES.name, encode(one), one.note_id.encode(), headers=[*version_headers(one), *headers])

    def send_raw(self, value, key=b"k", topic=NOTES, headers=()) -> None:
        self.log.append(topic.name, value, key, headers=list(headers))

    def _refuse(self, batch) -> None:
        for received in batch:
            if received.event.note_id in self.sick:
                raise PoisonBatch(f"cannot do {received.event.note_id}")

    def tag_notes(self, group: str = "", **limits):
        def handle(batch):
            self._refuse(batch)
            self.tagged += [one.event.note_id for one in batch]
            events = [
                NoteTagged(note_id=e.note_id, author_id="a", occurred_at=e.occurred_at, published_at=1, bundle="b")
                for e in (one.event for one in batch)
            ]
            return [Publish(TAGGED.name, event.note_id, event) for event in events]

        return self._run(Job(name="tag-notes", topic=NOTES, handle=handle, batch_size=10, batch_age_s=0.0, group=group), **limits)

    def index_notes(self):
        def handle(batch):
            self._refuse(batch)
            self.indexed += [one.event.note_id for one in batch]
            return []

        return self._run(Job(name="index-notes", topic=TAGGED, handle=handle, batch_size=10, batch_age_s=0.0))

    def _run(self, job, **limits):
        source = MemorySource(self.log, job.topic.name, job.group_id(NS))
        engine = Engine(job, source, MemoryPublisher(self.log), [], limits=Limits(patience_s=0.005, commit_interval_s=0.0, **limits))
        return engine.run(Stop(), IDLE_S)

    @property
    def redriver(self) -> Redriver:
        return Redriver(self.letters, self.sender, clock=lambda: self.now, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def redrive(self, *letters: Letter, **asked):
        return list(self.redriver.redrive(letters or self.listed("open", "redriving"), Asked(**asked)))

    def listed(self, *states: str) -> list[Letter]:
        return [letter for letter in self.letters.listing().letters if not states or letter.state in states]

    def states(self) -> list[str]:
        return [letter.state for letter in self.listed()]

    def positions(self, job: str, topic: str):
        name = f"{NS}.tagstream-{job}"
        committed = self.log.group(topic, name).committed
        return {name: {partition: offset for partition, (_, offset) in committed.items()}} if committed else {}

    def follower(self) -> Follower:
        topics = [topic.dead_letters for topic in (NOTES, TAGGED, ACTIONS)]
        return Follower(self.letters, self.positions, topics, clock=lambda: self.now, pause=self.pause)

    def count(self, topic) -> int:
        return len(self.log.records(topic.name))


@pytest.fixture
def house() -> House:
    return House()


def poisoned(house: House, *names: str) -> None:
    house.sick = set(names)
    house.send(*(note(name) for name in ("good", *names)), headers=[("own", b"1")])
    assert house.tag_notes().dead_lettered == len(names)


def test_a_letter_is_listed_with_what_can_be_asked_of_it(house):
    poisoned(house, "n1")
    house.send_raw(b"\xff\x00", key=b"n2")
    house.tag_notes()
    house.send_raw(None, key=None)
    house.tag_notes()
    first, second, third = house.listed()
    assert (first.id.shown, first.job, first.size) == ("ns.note-events-dead-letters/0/0", "tag-notes", len(encode(note("n1"))))
    assert first.content.value is None
    facts = first.facts()
    assert (facts["reason"], facts["stage"], facts["note_id"], facts["attempts"]) == ("poison", "tag-notes", "n1", 1)
    assert facts["id"] == "ns.note-events-dead-letters/0/0" and facts["topic"] == NOTES.name
    assert (second.ids, second.size, third.ids, third.size) == ({"note_id": "n2"}, 2, {}, -1)
    (whole,) = house.letters.with_values([first])
    assert whole.content.value == encode(note("n1"))
    assert house.letters.find(house.letters.listing(), "note-events-dead-letters/0/1").id == second.id
    assert house.letters.find(house.letters.listing(), "ns.note-events-dead-letters/0/1").id == second.id
    assert house.letters.find(house.letters.listing(), "note-events-dead-letters/0/9") is None


def test_records_that_are_no_dead_letters_are_counted(house):
    house.send_raw(b"{}", topic=replace(NOTES, name=NOTES.dead_letters))
    listing = house.letters.listing()
    assert (listing.letters, listing.unreadable) == ([], {NOTES.dead_letters: 1})


def test_a_mended_job_handles_what_is_sent_again_and_earlier_ones_stay_as_they_are(house):
    poisoned(house, "n1")
    house.sick.clear()
    (one,) = house.redrive(why="tagger mended")
    original = house.listed()[0].content.source
    assert (one.outcome, one.to.topic, one.to.partition) == ("redriven", NOTES.name, original.partition)
    copy = next(m for m in house.log.records(NOTES.name) if (m.partition(), m.offset()) == (one.to.partition, one.to.offset))
    assert (copy.key(), copy.value()) == (b"n1", encode(note("n1")))
    assert [header for header in copy.headers() if not header[0].startswith(PREFIX)] == [("tagstream-version", b"1"), ("own", b"1")]
    assert house.states() == ["redriven"]
    counts = house.tag_notes()
    assert (counts.handled, counts.dead_lettered, house.tagged) == (1, 0, ["good", "n1"])
    (letter,) = house.listed()
    assert (letter.mark.state, letter.mark.why, letter.mark.attempts) == ("redriven", "tagger mended", 1)
    assert (letter.mark.to_topic.partition("@")[0], letter.mark.to_offset) == (NOTES.name, one.to.offset)


def test_a_note_that_failed_in_the_index_is_not_tagged_again(house):
    house.send(note("n1"))
    house.tag_notes()
    house.sick = {"n1"}
    assert house.index_notes().dead_lettered == 1
    house.sick.clear()
    (one,) = house.redrive()
    assert one.to.topic == TAGGED.name
    house.tag_notes()
    house.index_notes()
    assert (house.tagged, house.indexed, house.count(NOTES)) == (["n1"], ["n1"], 1)


def test_what_fails_again_is_a_new_letter_that_names_the_old_one_and_counts_on(house):
    poisoned(house, "n1")
    (one,) = house.redrive()
    house.tag_notes()
    first, second = house.listed()
    assert (first.state, first.failed_as, second.state) == ("failed_again", (second.id.shown,), "open")
    assert (second.content.attempts, second.content.first_failed_at) == (2, first.content.first_failed_at)
    assert second.content.source == Coordinates(NOTES.name, one.to.partition, one.to.offset)
    assert second.content.headers == first.content.headers
    (refused,) = house.redrive(first)
    assert refused.outcome == "refused" and second.id.shown in refused.detail
    house.tag_notes()
    assert len(house.listed()) == 2, "nothing is sent again by itself"


def test_the_limit_of_attempts_ends_a_loop_of_redrives(house):
    poisoned(house, "n1")
    for attempt in range(1, 3):
        assert [one.outcome for one in house.redrive(max_attempts=3)] == ["redriven"]
        house.tag_notes()
        assert house.listed("open")[0].content.attempts == attempt + 1
    before = house.count(NOTES)
    (refused,) = house.redrive(max_attempts=3)
    assert refused.outcome == "refused" and "3 times" in refused.detail and "--max-attempts" in refused.detail
    assert house.count(NOTES) == before
    assert [one.outcome for one in house.redrive(max_attempts=4)] == ["redriven"]


def test_redriving_or_dropping_is_done_once_unless_asked_for_again(house):
    poisoned(house, "n1", "n2")
    first, second = house.listed()
    house.redrive(first)
    house.letters.mark(house.sender, [mark_of(second, "dropped", 5, "load test")])
    first, second = house.listed()
    assert (first.state, second.state, second.mark.why) == ("redriven", "dropped", "load test")
    before = house.count(NOTES)
    assert [("already" in one.detail, one.outcome) for one in house.redrive(first, second)] == [(True, "refused")] * 2
    assert house.count(NOTES) == before
    assert [one.outcome for one in house.redrive(first, second, again=True)] == ["redriven"] * 2
    assert house.count(NOTES) == before + 2


def test_a_corrected_value_keeps_key_and_headers(house):
    house.send_raw(b'{"note_id": "n1"}', key=b"n1", headers=[("own", b"1")])
    house.tag_notes()
    (letter,) = house.listed()
    assert "will fail again" in next(plan(house.letters, [letter], Asked())).detail
    value = encode(note("n1", 7))
    (one,) = house.redrive(corrected=value)
    assert (one.outcome, one.detail) == ("redriven", "")
    copy = house.log.records(NOTES.name)[-1]
    assert (copy.key(), copy.value(), copy.headers()[0]) == (b"n1", value, ("own", b"1"))
    assert house.listed()[0].mark.corrected
    assert house.tag_notes().handled == 1


def test_what_does_not_decode_here_either_is_said_before_it_fails_again(house):
    house.send_raw(b"broken")
    house.tag_notes()
    (one,) = house.redrive()
    assert one.outcome == "redriven" and one.detail.startswith("it will fail again")
    assert house.tag_notes().dead_lettered == 1
    assert house.states() == ["failed_again", "open"]


def test_letters_sent_again_in_bulk_do_not_stop_the_job_that_refuses_them(house):
    for number in range(30):
        house.send_raw(b"broken %d" % number)
    house.sick = {f"n{number}" for number in range(30)}
    house.send(*(note(name) for name in sorted(house.sick)))
    assert house.tag_notes(dead_letters_in_a_row=100).dead_lettered == 60
    assert len(house.redrive()) == 60
    counts = house.tag_notes(dead_letters_in_a_row=5)
    assert (counts.handled, counts.dead_lettered) == (0, 60)


def test_a_crash_after_the_records_and_before_the_marks_sends_nothing_twice(house):
    poisoned(house, "n1", "n2")
    house.sick.clear()
    mark = house.letters.mark

    def mark_once(sender, marks, unmarked=()):
        if any(one.state == "redriven" for one in marks):
            raise Killed
        mark(sender, marks, unmarked)

    house.letters.mark = mark_once
    with pytest.raises(Killed):
        house.redrive()
    house.letters.mark = mark
    assert house.states() == ["redriving", "redriving"]
    assert house.count(NOTES) == 5
    house.send(*(note(f"between {n}") for n in range(20)))
    done = house.redrive()
    assert [one.outcome for one in done] == ["redriven"] * 2
    assert all("did not end" in one.detail for one in done)
    assert house.count(NOTES) == 25
    assert sum(house.slept) > 0, "what a killed process had under way is waited for"
    assert house.states() == ["redriven", "redriven"]
    house.tag_notes()
    assert sorted(name for name in house.tagged if name.startswith("n")) == ["n1", "n2"]


def test_a_crash_before_the_records_sends_them_the_next_time(house):
    poisoned(house, "n1")
    house.sick.clear()
    send = house.sender.send

    def send_marks_only(records):
        if records[0].topic == NOTES.name:
            raise Killed
        return send(records)

    house.sender.send = send_marks_only
    with pytest.raises(Killed):
        house.redrive()
    house.sender.send = send
    assert house.states() == ["redriving"]
    (one,) = house.redrive()
    assert (one.outcome, one.detail, house.count(NOTES)) == ("redriven", "", 3)
    house.tag_notes()
    assert house.tagged == ["good", "n1"]


def test_marks_of_a_former_topic_mean_nothing_to_a_recreated_one(house):
    poisoned(house, "n1")
    house.redrive()
    house.log.delete(NOTES.dead_letters)
    house.log.create(NOTES.dead_letter_topic)
    house.sick.add("n2")
    house.send(note("n2"))
    house.tag_notes()
    assert "open" in house.states() and "redriven" not in house.states()


def test_what_the_topic_refuses_is_open_again(house):
    poisoned(house, "n1")
    send = house.sender.send
    house.sender.send = lambda records: ["too large"] * len(records) if records and records[0].topic == NOTES.name else send(records)
    (one,) = house.redrive()
    assert one.outcome == "refused" and "too large" in one.detail
    assert house.states() == ["open"]


def test_a_letter_whose_header_names_another_topic_is_refused(house):
    poisoned(house, "n1")
    (letter,) = house.listed()
    elsewhere = replace(letter, content=replace(letter.content, source=Coordinates("elsewhere", 0, 0)))
    assert "elsewhere" in refusal(elsewhere, Asked())
    assert refusal(letter, Asked()) == ""


def test_a_letter_of_the_metrics_job_is_left_to_that_of_the_topics_own_job(house):
    house.send_raw(b"broken")
    house.tag_notes()
    (letter,) = house.listed()
    counted = replace(letter, content=replace(letter.content, failure=replace(letter.content.failure, stage=f"{JOB}/decode")))
    assert "redrive that job's letter" in refusal(counted, Asked())
    assert refusal(letter, Asked()) == ""


def test_a_plan_writes_nothing(house):
    poisoned(house, "n1", "n2")
    before = {topic.name: house.count(topic) for topic in all_topics(NS)}
    assert [one.outcome for one in plan(house.letters, house.listed(), Asked(max_attempts=1))] == ["refused"] * 2
    assert [one.outcome for one in plan(house.letters, house.listed(), Asked())] == ["possible"] * 2
    assert {topic.name: house.count(topic) for topic in all_topics(NS)} == before
    assert house.states() == ["open", "open"]


def test_many_letters_go_in_chunks_each_with_its_marks(house, monkeypatch):
    monkeypatch.setattr("streams.redrive.CHUNK_LETTERS", 3)
    names = [f"n{number}" for number in range(8)]
    poisoned(house, *names)
    house.sick.clear()
    sizes = []
    send = house.sender.send
    house.sender.send = lambda records: sizes.append(len(records)) or send(records)
    assert [one.letter.id.offset for one in house.redrive()] == list(range(8))
    assert max(sizes) == 3
    house.tag_notes()
    assert sorted(house.tagged) == sorted(["good", *names])


def test_followed_letters_end_handled_failed_again_or_not_read(house):
    poisoned(house, "n1", "n2")
    house.sick = {"n2"}
    follower = house.follower()
    sent = sorted(house.redrive(), key=lambda one: one.letter.ids["note_id"])
    assert [one.outcome for one in follower.follow(sent, 2.0)] == ["not_read", "not_read"]
    assert sum(house.slept) >= 2.0
    house.tag_notes()
    handled, failed = follower.follow(sent, 0.0)
    assert (handled.outcome, handled.failed_as, failed.outcome) == ("handled", [], "failed_again")
    (again,) = failed.failed_as
    assert (again.content.failure.reason, again.content.attempts) == ("poison", 2)
    assert "n2" in again.content.failure.detail


def test_a_follower_waits_for_every_group_of_the_job(house):
    poisoned(house, "n1")
    house.sick.clear()
    follower = house.follower()
    sent = house.redrive()
    house.tag_notes()
    one_group = house.positions
    house.positions = lambda job, topic: one_group(job, topic) | {"another bundle's": {0: 0}}
    follower._positions = house.positions
    assert follower.follow(sent, 0.0)[0].outcome == "not_read"


def test_actions_go_back_to_their_partition_whatever_the_producer_made_of_the_key(house):
    event = Interaction(event_id="e", user_id="u", note_id="n", action="click", occurred_at=1)
    number = 5
    house.log.append(ACTIONS.name, b"broken", b"u", partition=number)
    house._run(Job(name="update-profiles", topic=ACTIONS, handle=lambda batch: [], batch_size=10, batch_age_s=0.0))
    (one,) = house.redrive(corrected=encode(event))
    assert one.to == Coordinates(ACTIONS.name, number, 1)
    assert house.listed()[0].ids == {"user_id": "u"}


def test_a_broker_that_stays_away_leaves_what_the_next_redrive_needs(house):
    poisoned(house, "n1")
    send = house.sender.send

    def away(records):
        if records[0].topic == NOTES.name:
            send(records)
            raise Transient("kafka", "1 records are not acknowledged")
        return send(records)

    house.sender.send = away
    with pytest.raises(Transient):
        house.redrive()
    house.sender.send = send
    (one,) = house.redrive()
    assert "did not end" in one.detail and house.count(NOTES) == 3


def test_marks_that_do_not_decode_are_passed_over(house):
    poisoned(house, "n1")
    (letter,) = house.listed()
    marks = DEAD_LETTER_MARKS.within(NS).name
    house.log.append(marks, b"nonsense", letter.id.full.encode())
    assert house.states() == ["open"]
    mark = DeadLetterMark(letter=letter.id.full, state="dropped", at=1, reason="poison", attempts=1)
    house.letters.mark(house.sender, [mark])
    assert house.states() == ["dropped"]
    house.letters.mark(house.sender, [], [letter.id])
    assert house.states() == ["open"]


def test_a_warning_names_what_is_wrong(house):
    house.send_raw(b'{"type": "note.published", "note_id": "n"}')
    house.tag_notes()
    (letter,) = house.letters.with_values(house.listed())
    assert "$.author_id" in expected(letter, Asked())
    assert expected(letter, Asked(corrected=encode(note("n")))) == ""
