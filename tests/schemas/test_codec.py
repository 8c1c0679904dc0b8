"""Decoding: every example for ever, every refusal with its path, and nothing but InvalidEvent whatever the bytes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import InvalidEvent
from schemas.events import DeadLetterMark, Interaction, NoteEvent, NoteTagged, TrainingExample

EXAMPLES = sorted((Path(codec.__file__).parent / "examples").glob("*.json"))
KINDS = {
    "note-event": NoteEvent,
    "interaction": Interaction,
    "note-tagged": NoteTagged,
    "training-example": TrainingExample,
    "dead-letter-mark": DeadLetterMark,
}
NOTE = {"type": "note.published", "note_id": "n", "author_id": "a", "occurred_at": 1, "published_at": 1}


def kind_of(path: Path):
    return KINDS[path.name.split(".")[0].removesuffix("-minimal")]


def test_every_event_version_has_an_example():
    covered = {(kind_of(path), int(path.name.split(".v")[1].split(".")[0])) for path in EXAMPLES}
    assert covered == {(kind, version) for kind, newest in codec.VERSIONS.items() for version in range(1, newest + 1)}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_decode_for_ever(path):
    kind = kind_of(path)
    version = path.name.split(".v")[1].split(".")[0].encode()
    event = codec.decoder(kind)(path.read_bytes(), [(codec.VERSION_HEADER, version)])
    written = json.loads(path.read_bytes())
    read = json.loads(codec.encode(event))
    for name, value in written.items():
        if name != "a_field_of_the_future":
            assert read[name] == value
    assert codec.decoder(kind)(codec.encode(event), codec.version_headers(event)) == event


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "$"),
        (b"", "$"),
        (b"not json", "$"),
        (b"[]", "$"),
        (b'{"note_id": "x"}', "$.type"),
        (NOTE | {"occurred_at": "yesterday"}, "$.occurred_at"),
        (NOTE | {"occurred_at": -1}, "$.occurred_at"),
        (NOTE | {"note_id": ""}, "$.note_id"),
        (NOTE | {"note_id": "x" * 257}, "$.note_id"),
        (NOTE | {"note_id": "鞋" * 86}, "$.note_id"),
        (NOTE | {"category": "spaceships"}, "$.category"),
        (NOTE | {"products": [{"name": "a"}, {"brand": "b"}]}, "$.products[1].name"),
        (NOTE | {"body": "x" * 1_000_001}, "$.body"),
        (b'{"type":"note.published","note_id":"\xff"}', "$"),
    ],
)
def test_refusals_name_the_field(value, field):
    raw = json.dumps(value, ensure_ascii=False).encode() if isinstance(value, dict) else value
    with pytest.raises(InvalidEvent) as caught:
        codec.decoder(NoteEvent)(raw)
    assert caught.value.field == field
    assert caught.value.reason


def test_escaped_ids_are_measured_in_bytes():
    with pytest.raises(InvalidEvent, match="258 bytes"):
        codec.decoder(NoteEvent)(json.dumps(NOTE | {"note_id": "鞋" * 86}).encode())


def test_an_unknown_version_is_refused():
    with pytest.raises(InvalidEvent, match="version b'99' is unknown"):
        codec.decoder(NoteEvent)(json.dumps(NOTE).encode(), [(codec.VERSION_HEADER, b"99")])


def test_long_text_below_the_limit_is_taken():
    event = codec.decoder(NoteEvent)(json.dumps(NOTE | {"body": "x" * 999_999}).encode())
    assert len(event.body) == 999_999


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(value):
    for kind in KINDS.values():
        try:
            event = codec.decoder(kind)(value)
        except InvalidEvent as refused:
            assert refused.field.startswith("$")
        else:
            assert isinstance(event, kind)


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(lambda text: len(text.encode()) <= 256)


@given(ids, ids, ids, st.sampled_from(["click", "unlike", "view"]), st.integers(0, 2**40), st.none() | st.integers(0, 10**6))
def test_interactions_survive_the_round_trip(event_id, user_id, note_id, action, at, dwell):
    event = Interaction(event_id=event_id, user_id=user_id, note_id=note_id, action=action, occurred_at=at, dwell_ms=dwell)
    assert codec.decoder(Interaction)(codec.encode(event), codec.version_headers(event)) == event
