"""Every reason of a dead letter, made by the real jobs on the real servers, and redriven: what is mended counts once, the rest says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import consumers.index_notes
import consumers.tag_notes
import tagstream
from consumers.build import open_engine
from consumers.stores import ProfileStore
from consumers.update_profiles import UpdateProfiles
from models.profile import GiveUpReason, scores_at
from models.profile_update import open_profile
from models.roles import NoteTags
from recall.note_tags import RedisNoteTags
from recall.pointer import active_bundle
from recall.profiles import MemoryProfiles
from recall.redis_client import redis_client
from schemas.codec import encode
from schemas.errors import PoisonBatch, TagStreamError
from schemas.events import EVENT_MAX_BYTES, Interaction, NoteEvent, NoteTagged, Tag
from schemas.keys import Keys
from schemas.settings import Settings, environ_of
from schemas.topics import INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, Topic, all_topics
from streams.engine import Counts, Engine, Job, Stop
from streams.memory import MemoryLog, MemoryPublisher
from streams.publisher import KafkaPublisher
from streams.scan import span_reader
from streams.source import KafkaSource
from streams.topics_admin import create_topics

ROOT = Path(__file__).parents[2]
NOW = time.time_ns() // 1_000_000
HOUR = 3_600_000


@pytest.fixture
def house(settings: Settings) -> Settings:
    """Topics under a namespace; nothing of a profile is rounded away, and actions wait for an hour of stream time."""
    chosen = replace(settings, profile_max_tags=0, profile_half_life_days=0.0, profile_pending_hours=1.0)
    create_topics(chosen, all_topics(chosen.namespace))
    return chosen


def note(note_id: str, title: str = "Crimson trail running shoes", at: int = NOW) -> NoteEvent:
    return NoteEvent(
        type="note.published", note_id=note_id, author_id="a", category="shoes", title=title, body="", occurred_at=at, published_at=at
    )


def action(number: int, note_id: str, what: Any = "like", at: int = NOW, user: str = "u") -> Interaction:
    return Interaction(event_id=f"e{number}", user_id=user, note_id=note_id, action=what, occurred_at=at)


def send(settings: Settings, topic: Topic, *values: bytes | NoteEvent | Interaction | NoteTagged, key: bytes = b"k") -> None:
    publisher = KafkaPublisher(settings)
    for value in values:
        raw = value if isinstance(value, bytes) else encode(value)
        own = key if isinstance(value, bytes) else getattr(value, "user_id", value.note_id).encode()
        publisher.publish(topic.within(settings.namespace).name, own, raw, [("own", b"\x00\xff"), ("own", None)])
    publisher.flush()
    publisher.close()


def records(settings: Settings, topic: Topic) -> list[Any]:
    with span_reader(settings, topic.within(settings.namespace).name) as reader:
        return [message for span in reader.spans() for message in reader.read(span)]


def consume(settings: Settings, *jobs: str) -> dict[str, Counts]:
    """The real jobs, one after the other, in this process."""
    counts = {}
    for job in jobs:
        with open_engine(job, settings) as engine:
            counts[job] = engine.run(Stop(), 1.0)
    return counts


@contextmanager
def running(settings: Settings, *jobs: str) -> Iterator[None]:
    """The real jobs, each in a thread."""
    stop = Stop()

    def run(job: str) -> None:
        with open_engine(job, settings) as engine:
            engine.run(stop)

    with futures.ThreadPoolExecutor(len(jobs)) as pool:
        ended = [pool.submit(run, job) for job in jobs]
        try:
            yield
            assert not any(one.done() for one in ended)
        finally:
            stop.request()
        for one in ended:
            one.result()


def ask(settings: Settings, *arguments: str, code: int = 0) -> str:
    """The stdout of a command, run in this process."""
    result = CliRunner().invoke(tagstream.cli, arguments, env=environ_of(settings))
    ended = 1 if isinstance(result.exception, TagStreamError) else result.exit_code
    assert ended == code, f"tagstream {' '.join(arguments)} ended {ended}: {result.exception!r} {result.stderr[-2000:]}"
    return result.stdout


def ask_json(settings: Settings, *arguments: str, code: int = 0) -> Any:
    return json.loads(ask(settings, *arguments, "--json", code=code))


def listed(settings: Settings, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask_json(settings, "dead-letters", "list", *options)["dead_letters"]
    return found


def redrive(settings: Settings, *options: str, code: int = 0) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = ask_json(settings, "dead-letters", "redrive", *options, code=code)["letters"]
    return told


def outcomes(told: list[dict[str, Any]]) -> list[str]:
    return [one["outcome"] for one in told]


def scores(settings: Settings, user: str = "u") -> dict[str, float]:
    found = ask_json(settings, "profile", user, "--as-of", str(NOW + 99 * HOUR), "-k", "1000")["tags"]
    return {tag["text"]: tag["score"] for tag in found}


REASONS = {"invalid_event", "poison", *get_args(GiveUpReason)}


def test_this_page_knows_every_reason_there_is():
    """A reason is a word in a ``Failure`` or a ``GiveUp``; those of a ``GiveUp`` are typed. A new one needs a test here."""
    source = "".join(path.read_text() for room in ("streams", "consumers", "recall", "models") for path in (ROOT / room).glob("*.py"))
    made = {part.split('"')[1] for part in source.split("Failure(")[1:] if part.startswith('"')}
    assert made == {"invalid_event", "poison"}
    assert source.count("GiveUp(") == 1 and "lost.reason" in source.split("GiveUp(")[1].split("\n")[0]
    assert source.count("Failure(DEGRADED") == 1, "tested in test_upgrade.py"
    tested = {"invalid_event", "poison", "note_never_tagged", "too_many_pending"}
    assert tested == REASONS


def test_invalid_events_fail_again_as_they_are_and_pass_when_corrected(house: Settings, tmp_path: Path) -> None:
    """In each topic; also one whose record is larger than an event may be."""
    send(house, NOTE_EVENTS, b'{"note_id": "n1", "type": "note.published"}', key=b"n1")
    send(house, NOTE_EVENTS, encode(replace(note("n2"), body="x" * (EVENT_MAX_BYTES + 10))), key=b"n2")
    send(house, NOTE_TAGGED, b"\xff\x00 not json", key=b"n3")
    send(house, INTERACTIONS, b'{"event_id": "e1", "user_id": "u", "note_id": "n1", "action": "adore", "occurred_at": 1}', key=b"u")
    assert sum(counts.dead_lettered for counts in consume(house, "tag-notes", "index-notes", "update-profiles").values()) == 4
    letters = {letter["user_id"] or letter["note_id"]: letter for letter in listed(house)}
    assert {(one["reason"], one["attempts"], one["state"]) for one in letters.values()} == {("invalid_event", 1, "open")}
    assert (letters["n3"]["stage"], letters["n2"]["size"] > EVENT_MAX_BYTES) == ("index-notes/decode", True)
    action_letter = letters["u"]
    assert action_letter["field"] == "$.action"

    shown = ask_json(house, "dead-letters", "show", letters["n3"]["id"])
    assert (shown["value"], shown["key"]) == ({"base64": "/wAgbm90IGpzb24="}, {"text": "n3"})
    assert shown["headers"] == [{"name": "own", "value": {"base64": "AP8="}}, {"name": "own", "value": None}]
    raw = ask(house, "dead-letters", "show", action_letter["id"].removeprefix(f"{house.namespace}."), "--raw")
    assert '"action": "adore"' in raw

    fixed = {
        letters["n1"]["id"]: encode(note("n1")),
        letters["n2"]["id"]: encode(note("n2")),
        letters["n3"]["id"]: encode(tagged(house, "n3")),
        action_letter["id"]: raw.replace("adore", "like").encode(),
    }
    with running(house, "tag-notes", "index-notes", "update-profiles"):
        again = redrive(house, "--reason", "invalid_event", "--yes", "--wait", "120", code=1)
        assert outcomes(again) == ["failed_again"] * 4
        assert {one["failed_as"][0]["attempts"] for one in again} == {2}
        assert {one["failed_as"][0]["redrive_of"] for one in again} == set(fixed)
        now_open = {one["redrive_of"]: one["id"] for one in listed(house)}
        bad = tmp_path / "bad.json"
        bad.write_bytes(b'{"note_id": "n1"}')
        ask(house, "dead-letters", "redrive", now_open[letters["n1"]["id"]], "--value", str(bad), code=1)
        assert len(listed(house)) == 4, "a correction that is no event either is not sent"
        for letter_id, value in fixed.items():
            file = tmp_path / "value.json"
            file.write_bytes(value)
            assert outcomes(redrive(house, now_open[letter_id], "--value", str(file), "--wait", "120")) == ["handled"]
    assert listed(house) == []
    consume(house, "index-notes")
    assert {ask_json(house, "note", name)["state"] for name in ("n1", "n2", "n3")} == {"recallable"}
    assert set(scores(house).values()) == {2.0}
    copy = next(m for m in records(house, NOTE_EVENTS) if m.value() == encode(note("n1")))
    assert (copy.key(), copy.headers()[:2]) == (b"n1", [("own", b"\x00\xff"), ("own", None)])


def tagged(settings: Settings, note_id: str) -> NoteTagged:
    bundle = active_bundle(redis_client(settings), settings)
    assert bundle is not None
    tag = Tag(text="red shoes", dimension="d", rank=1, confidence=1.0)
    return NoteTagged(note_id=note_id, author_id="a", occurred_at=NOW, published_at=NOW, bundle=bundle, category="shoes", tags=[tag])


class SickTagger:
    """Fails on one note: refuses it, or answers with more than a record can hold."""

    def __init__(self, tagger: Any, how: str) -> None:
        self._tagger = tagger
        self._how = how
        self.name = tagger.name
        self.sees, self.hears = tagger.sees, tagger.hears

    def tag(self, notes: list[NoteEvent], media: Any = None) -> list[NoteTags]:
        answers: list[NoteTags] = self._tagger.tag(notes, media)
        for place, one in enumerate(notes):
            if one.note_id == "sick":
                if self._how == "refuses":
                    raise PoisonBatch("cannot tag sick")
                answers[place] = replace(answers[place], tags=[Tag(text="x" * 6_000_000, dimension="d", rank=1, confidence=1.0)])
        return answers


@pytest.mark.parametrize("how", ["refuses", "answers too much"])
def test_poison_of_the_tagger_passes_once_the_tagger_is_mended(house: Settings, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    send(house, NOTE_EVENTS, note("well"), note("sick"), note("well too"))
    real = consumers.tag_notes.TagNotes
    with monkeypatch.context() as patch:
        patch.setattr(consumers.tag_notes, "TagNotes", lambda tagger, *args: real(SickTagger(tagger, how), *args))
        assert consume(house, "tag-notes")["tag-notes"].dead_lettered == 1
        (letter,) = listed(house, "--reason", "poison", "--stage", "tag-notes", "--match", "note_id=si*")
        assert (letter["note_id"], letter["source"]["topic"]) == ("sick", f"{house.namespace}.note-events")
        redrive(house, letter["id"])
        assert consume(house, "tag-notes")["tag-notes"].dead_lettered == 1
    (again,) = listed(house)
    assert (again["attempts"], again["redrive_of"]) == (2, letter["id"])
    assert redrive(house, again["id"], "--max-attempts", "2", code=1)[0]["outcome"] == "refused"
    with running(house, "tag-notes", "index-notes"):
        assert outcomes(redrive(house, "--all", "--yes", "--wait", "120")) == ["handled"]
    consume(house, "index-notes")
    assert ask_json(house, "note", "sick")["state"] == "recallable"
    assert [letter["state"] for letter in listed(house, "--state", "all")] == ["failed_again", "redriven"]
    assert [json.loads(m.value())["note_id"] for m in records(house, NOTE_TAGGED)].count("sick") == 1


def test_poison_of_the_index_goes_on_from_the_tags_there_are(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder gives what is no vector; the note goes back to note-tagged, and no tagger runs."""
    send(house, NOTE_EVENTS, note("well"), note("sick", "Teal suede loafers"))
    consume(house, "tag-notes")

    class SickEncoder:
        def __init__(self, encoder: Any) -> None:
            self._encoder = encoder
            self.dimension = encoder.dimension

        def encode(self, texts: list[str]) -> Any:
            vectors = np.array(self._encoder.encode(texts))
            vectors[[place for place, text in enumerate(texts) if "suede" in text]] = np.nan
            return vectors

    real = consumers.index_notes.IndexNotes
    with monkeypatch.context() as patch:
        patch.setattr(consumers.index_notes, "IndexNotes", lambda notes, encoder, *args: real(notes, SickEncoder(encoder), *args))
        assert consume(house, "index-notes")["index-notes"].dead_lettered == 1
    (letter,) = listed(house)
    assert (letter["reason"], letter["stage"], letter["note_id"]) == ("poison", "index-notes", "sick")
    assert ask_json(house, "note", "sick")["state"] == "dead_letter"
    with running(house, "index-notes"):
        (told,) = redrive(house, letter["id"], "--wait", "120")
    assert (told["outcome"], told["to"]["topic"]) == ("handled", f"{house.namespace}.note-tagged")
    assert ask_json(house, "note", "sick")["state"] == "recallable"
    assert len(records(house, NOTE_EVENTS)) == 2 and len(records(house, NOTE_TAGGED)) == 3
    assert redrive(house, letter["id"], "--again")[0]["outcome"] == "redriven"
    counts = consume(house, "index-notes")["index-notes"]
    assert (counts.handled, counts.dead_lettered, counts.stale) == (1, 0, 0)
    assert ask_json(house, "note", "sick")["state"] == "recallable"


@pytest.mark.parametrize("reason", get_args(GiveUpReason))
def test_an_action_that_waited_in_vain_counts_once_after_its_note_came(house: Settings, reason: str) -> None:
    """Redriven too early it waits and is given up again; after the note came it counts, once, however often it is sent; so it does for
    a reader record that is built anew from the originals and every copy."""
    if reason == "too_many_pending":
        house = replace(house, profile_max_pending=1, profile_pending_hours=1_000.0)
    send(house, INTERACTIONS, action(1, "late"), action(2, "other", "click", NOW + 2 * HOUR))
    assert consume(house, "update-profiles")["update-profiles"].dead_lettered == 1
    (letter,) = listed(house)
    assert (letter["reason"], letter["event_id"], letter["stage"]) == (reason, "e1", "update-profiles")

    with running(house, "update-profiles"):
        (early,) = redrive(house, letter["id"], "--wait", "120", code=1)
    if reason == "note_never_tagged":
        assert early["outcome"] == "waiting"
        send(house, INTERACTIONS, action(3, "other", "comment", NOW + 4 * HOUR))
        consume(house, "update-profiles")
        again = next(one for one in listed(house) if one["event_id"] == "e1")
    else:
        assert early["outcome"] == "waiting", "now the other one was given up"
        again = next(one for one in listed(house) if one["event_id"] == "e2")
    assert (again["reason"], again["attempts"]) == (reason, 2 if reason == "note_never_tagged" else 1)

    send(house, NOTE_EVENTS, note("late"), note("other", "Navy suede loafers"))
    consume(house, "tag-notes", "index-notes")
    with running(house, "update-profiles"):
        assert set(outcomes(redrive(house, "--all", "--yes", "--wait", "120"))) == {"handled"}
    want = scores(house)
    late = {tag["text"] for tag in ask_json(house, "note", "late")["tags"]}
    other = {tag["text"] for tag in ask_json(house, "note", "other")["tags"]}
    assert want == {text: 2.0 * (text in late) + 1.0 * (text in other) for text in late | other}

    send(house, INTERACTIONS, *(action(number, "other", "comment", NOW + 5 * HOUR) for number in range(10, 310)))
    ids = [one["id"] for one in listed(house, "--state", "all")]
    assert set(outcomes(redrive(house, *ids, "--again"))) == {"redriven"}
    consume(house, "update-profiles")
    assert scores(house) == want, "sent again after 300 other events, and not counted again"
    assert replayed(house) == want


def replayed(settings: Settings) -> dict[str, float]:
    """A reader record made of the whole topic, by a group of its own, with the tags of now."""
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    assert bundle is not None
    tags, profiles = RedisNoteTags(client, Keys(settings.namespace, bundle)), MemoryProfiles()
    handler = UpdateProfiles(profiles, tags, settings)
    topic = INTERACTIONS.within(settings.namespace)
    job: Job[Any] = Job(
        name="replay", topic=topic, handle=handler.handle, gather=handler.gather, batch_size=7, batch_age_s=0.0,
        group=f"{settings.namespace}.replay",
    )  # fmt: skip
    log = MemoryLog()
    log.create(topic.dead_letter_topic)
    counts = Engine(job, KafkaSource(settings, topic.name, job.group), MemoryPublisher(log), [ProfileStore(profiles)]).run(Stop(), 2.0)
    assert counts.dead_lettered == 0
    profile = open_profile(profiles.read(["u"])["u"].record, settings)
    return scores_at(profile, NOW + 99 * HOUR, settings, lambda _note: None)


def test_a_redrive_that_is_killed_before_it_could_say_so_sends_nothing_twice(house: Settings) -> None:
    send(house, NOTE_EVENTS, b"broken", b"broken too", key=b"n1")
    assert consume(house, "tag-notes")["tag-notes"].dead_lettered == 2
    child = Path(__file__).with_name("redrive_child.py")
    command = [sys.executable, str(child), msgspec.json.encode(house).decode()]
    done = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(records(house, NOTE_EVENTS)) == 4, "the copies had been sent"
    assert [letter["state"] for letter in listed(house)] == ["redriving"] * 2
    send(house, NOTE_EVENTS, note("n2"))
    told = redrive(house, "--all", "--yes")
    assert outcomes(told) == ["redriven"] * 2 and all("did not end" in one["detail"] for one in told)
    assert len(records(house, NOTE_EVENTS)) == 5
    assert listed(house) == []
    counts = consume(house, "tag-notes")["tag-notes"]
    assert (counts.handled, counts.dead_lettered) == (1, 2)
    assert [letter["attempts"] for letter in listed(house)] == [2, 2]


def test_what_is_dropped_stays_dropped_and_nothing_happens_by_accident(house: Settings) -> None:
    send(house, NOTE_EVENTS, b"broken 1", b"broken 2", key=b"n1")
    consume(house, "tag-notes")
    first, second = listed(house)
    plan = redrive(house, "--all", "--dry-run")
    assert outcomes(plan) == ["possible"] * 2 and all("will fail again" in one["detail"] for one in plan)
    assert ask_json(house, "dead-letters", "drop", "--match", f"id={first['id']}", "--why", "load test", "--yes")["dropped"] == 1
    assert [letter["id"] for letter in listed(house)] == [second["id"]]
    (dropped,) = listed(house, "--state", "dropped")
    assert (dropped["id"], dropped["mark"]["why"]) == (first["id"], "load test")
    assert redrive(house, first["id"], code=1)[0]["outcome"] == "refused"
    for wrong in (["redrive"], ["redrive", "--all"], ["drop", "--all", first["id"]], ["redrive", "--match", "colour=red"]):
        ask(house, "dead-letters", *wrong, code=2)
    ask(house, "dead-letters", "show", "note-events-dead-letters/0/99", code=1)
    assert "1 open, 1 dropped" in ask(house, "dead-letters", "list")
    assert "broken 1" in ask(house, "dead-letters", "show", first["id"])
    assert len(records(house, NOTE_EVENTS)) == 2
