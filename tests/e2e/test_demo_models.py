"""The committed demo models as a user runs them, on held-out simulated notes: ``tag`` with a bundle, and the consumer with every tagger."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from consumers.build import open_engine
from models.bundle_build import build_bundle
from offline.simulate.notes import Community
from offline.simulate.render import render_note
from schemas.codec import decoder
from schemas.events import EvidenceSource, NoteEvent, NoteTagged, Tag
from schemas.settings import Settings
from schemas.topics import NOTE_TAGGED, all_topics
from streams.engine import Stop
from streams.topics_admin import create_topics
from tests.e2e.test_redrive import ask, ask_json, running
from tests.e2e.test_redrive import records as stored
from tests.e2e.test_upgrade import consuming, free_port, publish, records, serving_model, until
from tests.models.transcriber.voice import VOICE

NUMBERS = [200_000 + one for one in (0, 1, 2, 4, 7, 56, 68, 113)]
"""Among them images, clips, notes without any, both languages."""
SPOKEN = ("sim-0200068", "夏日凉鞋", "styling_occasion")
"""The note that gets the committed voice, and what is said in it."""
TEXTS: set[EvidenceSource] = {"title", "body", "product"}


class Media(NamedTuple):
    """Rendered notes; ``truth``: by note, what tells each true tag."""

    directory: Path
    notes: list[NoteEvent]
    truth: dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    """No voice of espeak-ng: it is not on every machine, and one note has a voice from a file."""
    directory = tmp_path_factory.mktemp("media")
    notes, truth = [], {}
    for number in NUMBERS:
        made = Community(7).note(number)
        silent = made._replace(truth=replace(made.truth, voice=None))
        notes.append(render_note(silent, directory))
        told = made.truth.told_by(TEXTS | {"image", "video"})
        truth[made.event.note_id] = {one.text(made.truth.language): set(one.sources) for one in told}
    (directory / VOICE.name).write_bytes(VOICE.read_bytes())
    spoken, said, _ = SPOKEN
    truth[spoken][said] = {"audio"}
    voiced = [replace(note, audios=[(directory / VOICE.name).as_uri()]) if note.note_id == spoken else note for note in notes]
    return Media(directory, voiced, truth)


@pytest.fixture
def seeing(settings: Settings, media: Media) -> Settings:
    """The demo models on the CPU, and where the media lie."""
    create_topics(settings, all_topics(settings.namespace))
    return replace(settings, tagger="vlm", vlm_model="demo", vlm_device="cpu", transcriber_model="demo", media_roots=str(media.directory))


def judged(media: Media, tags: dict[str, list[Tag]]) -> tuple[float, float]:
    """Precision and recall of the tags; every true one that claims words must have them where the truth says."""
    right = given = true = 0
    for note_id, found in tags.items():
        truth = media.truth[note_id]
        hits = [tag for tag in found if tag.text in truth]
        for tag in hits:
            claimed = {one.source for one in tag.evidence} - {"image", "video"}
            assert claimed <= truth[tag.text], f"{note_id}: {tag.text} is told by {truth[tag.text]}, not by {claimed}"
        right, given, true = right + len(hits), given + len(found), true + len(truth)
    return right / given, right / true


def sources(tags: Sequence[Tag], texts: Sequence[str]) -> dict[str, str]:
    """The foremost evidence of those of the texts that were found."""
    return {tag.text: tag.evidence[0].source for tag in tags if tag.text in texts}


def test_tag_with_a_bundle_sees_and_hears_the_notes_of_a_file(seeing: Settings, media: Media, tmp_path: Path) -> None:
    bundle = build_bundle(seeing, [], None, tmp_path / "bundle", lambda _: None)
    chosen = [note for note in media.notes if note.note_id in ("sim-0200002", "sim-0200068", "sim-0200113")]
    file = tmp_path / "notes.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(note) for note in chosen))
    plain = replace(seeing, tagger="", vlm_model="", transcriber_model="")
    lines = [json.loads(line) for line in ask(plain, "tag", str(file), "--bundle", str(bundle), "--json").splitlines()]
    assert [(line["note_id"], line["degraded"]) for line in lines] == [(note.note_id, []) for note in chosen]
    tags = {line["note_id"]: msgspec.convert(line["tags"], list[Tag]) for line in lines}
    precision, recall = judged(media, tags)
    assert precision > 0.8 and recall > 0.75
    assert sources(tags["sim-0200002"], ["snowboard deck", "teal gear"]) == {"snowboard deck": "title", "teal gear": "image"}
    assert sources(tags["sim-0200113"], ["薰衣草紫色系", "手工蜡烛"]) == {"薰衣草紫色系": "image", "手工蜡烛": "video"}
    (heard,) = [tag for tag in tags[SPOKEN[0]] if tag.text == SPOKEN[1]]
    assert heard.dimension == SPOKEN[2] and [one.source for one in heard.evidence] == ["audio"]
    refused = ask(plain, "tag", str(file), "--bundle", "another", code=1)
    assert refused == ""


def by_endpoint(seeing: Settings, url: str) -> Settings:
    return replace(
        seeing,
        tagger="endpoint",
        vlm_model="",
        endpoint_url=url,
        endpoint_model="demo",
        endpoint_prompt="compact",
        endpoint_attempts=1,
        endpoint_failures=2,
        endpoint_cool_down_s=0.3,
        endpoint_upgrade_s=0.5,
    )


CHOICES = {"handbook": "", "vlm": "demo"}
"""Taggers in the consumer's process, and their model."""


@pytest.mark.parametrize("name", CHOICES)
def test_the_consumer_tags_without_an_endpoint(name: str, seeing: Settings, media: Media) -> None:
    """The same notes, the same job; what sees finds what only pictures and clips tell, and all hear."""
    publish(seeing, *media.notes)
    with open_engine("tag-notes", replace(seeing, tagger=name, vlm_model=CHOICES[name])) as engine:
        counts = engine.run(Stop(), 1.0)
    assert (counts.handled, counts.dead_lettered) == (len(NUMBERS), 0)
    decode = decoder(NoteTagged)
    tagged = {event.note_id: event for event in (decode(message.value(), None) for message in stored(seeing, NOTE_TAGGED))}
    assert set(tagged) == set(media.truth)
    assert all(event.degraded == [] and event.tagger == name for event in tagged.values())
    tags = {note_id: event.tags for note_id, event in tagged.items()}
    if name == "vlm":
        seen_and_heard(media, tags)
        return
    assert any(SPOKEN[1] in tag.text and tag.evidence[0].source == "audio" for tag in tags[SPOKEN[0]])
    assert evidence_of(tags) <= TEXTS | {"audio"} and all(tags.values())


def seen_and_heard(media: Media, tags: dict[str, list[Tag]]) -> None:
    """What a tagger with the demo model makes of the notes, wherever the model runs."""
    precision, recall = judged(media, tags)
    assert precision > 0.8 and recall > 0.75
    assert evidence_of(tags) == TEXTS | {"audio", "image", "video"}
    assert SPOKEN[1] in [tag.text for tag in tags[SPOKEN[0]]]


def evidence_of(tags: dict[str, list[Tag]]) -> set[EvidenceSource]:
    return {one.source for found in tags.values() for tag in found for one in tag.evidence}


def test_a_model_server_killed_in_the_middle_loses_nothing_and_upgrades_later(seeing: Settings, media: Media) -> None:
    """Notes published while it is away are recallable by the handbook's tags, and have the model's once it is back."""
    port = free_port()
    chosen = replace(by_endpoint(seeing, f"http://127.0.0.1:{port}/v1"), tag_notes_batch=2)
    ids = list(media.truth)
    with running(chosen, "index-notes"), consuming(chosen, "tag-notes"):
        with serving_model(port, "tests.models.model_server", "demo") as server:
            publish(chosen, *media.notes[:4])
            until("the model tags", lambda: any(not one.degraded for one in records(chosen, *ids).values()))
            server.kill()
            publish(chosen, *media.notes[4:])
            until("all are tagged", lambda: len(records(chosen, *ids)) == len(ids))
        held = records(chosen, *ids)
        assert [bool(held[one].degraded) for one in ids[4:]] == [True] * 4 and not all(one.degraded for one in held.values())
        assert {line for one in held.values() for line in one.degraded} == {"tagger: endpoint unavailable"}
        with serving_model(port, "tests.models.model_server", "demo"):
            until("all have the model's tags", lambda: not any(one.degraded for one in records(chosen, *ids).values()))
        until("all are recallable", lambda: all(ask_json(chosen, "note", one)["state"] == "recallable" for one in ids), 30)
    final = records(chosen, *ids)
    assert {record.tagger for record in final.values()} == {"endpoint"}
    seen_and_heard(media, {note_id: record.tags for note_id, record in final.items()})
    assert ask_json(chosen, "dead-letters", "list")["dead_letters"] == []
