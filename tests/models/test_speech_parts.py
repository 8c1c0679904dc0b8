"""Speech as further text of a note: where a phrase was said is told in milliseconds, and notes without speech stay as they are."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.roles import NoteMedia, Spoken, Utterance
from models.speech_parts import SPEECH_LIMIT, speech_of
from schemas.events import Evidence, NoteEvent, Tag
from tests.models.hashing_encoder import HashingEncoder


@pytest.fixture(scope="module")
def tagger() -> HandbookTagger:
    return HandbookTagger(load_handbook(), HashingEncoder())


def note(**fields: object) -> NoteEvent:
    defaults = {"type": "note.published", "note_id": "n", "author_id": "a", "occurred_at": 0, "published_at": 0, "category": "shoes"}
    return msgspec.convert(defaults | fields, NoteEvent)


def said(*texts: str, source: str = "audio", index: int = 0, every_ms: int = 2_000) -> list[Spoken]:
    return [Spoken(Utterance(text, i * every_ms, (i + 1) * every_ms), source, index) for i, text in enumerate(texts)]  # type: ignore[arg-type]


def test_what_is_only_said_becomes_a_tag_with_its_moment(tagger: HandbookTagger) -> None:
    media = NoteMedia(speech=said("Hello everybody.", "They have a cushioned midsole!"))
    (answer,) = tagger.tag([note(title="Crimson running shoes")], [media])
    (tag,) = [one for one in answer.tags if one.text == "cushioned midsole"]
    assert [one.source for one in tag.evidence] == ["audio"] and 2_000 < tag.evidence[0].position < 4_000
    assert any(one.evidence[0].source == "title" for one in answer.tags)


def test_a_note_that_only_speaks_is_tagged(tagger: HandbookTagger) -> None:
    media = NoteMedia(speech=said("这双复古跑鞋采用缓震中底", source="video"), degraded=["image: refused, timeout"], may_recover=True)
    (answer,) = tagger.tag([note()], [media])
    assert "缓震中底" in [tag.text for tag in answer.tags] and answer.language == "zh"
    assert {one.source for tag in answer.tags for one in tag.evidence} == {"video"}
    assert (answer.degraded, answer.may_recover) == (["image: refused, timeout"], True)


def test_without_speech_nothing_changes_and_the_note_beside_it_does_not_matter(tagger: HandbookTagger) -> None:
    plain = note(title="Crimson running shoes", body="A cushioned midsole.")
    spoken = note(note_id="m", title="Trail shoes")
    (alone,) = tagger.tag([plain])
    with_media, _ = tagger.tag([plain, spoken], [NoteMedia(), NoteMedia(speech=said("gum sole and a wide toe box"))])
    assert msgspec.json.encode(with_media) == msgspec.json.encode(alone)


def test_each_medium_is_cut_for_itself() -> None:
    media = NoteMedia(speech=said("a" * 5_000) + said("cushioned midsole", index=1))
    speech = speech_of(media)
    assert [len(part.content.text) for part in speech.parts] == [SPEECH_LIMIT, 17]
    assert speech.parts[1].base == 5_001


TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30), min_size=1, max_size=6)


@given(TEXTS, TEXTS)
def test_every_place_lies_in_the_utterance_that_holds_it(first: list[str], second: list[str]) -> None:
    """Two media of one source: a position is in its own utterance's time, whatever was dropped in making the text plain."""
    speech = speech_of(NoteMedia(speech=said(*first) + said(*second, index=1)))
    for part, texts in zip(speech.parts, (first, second), strict=True):
        bounds = [0]
        for text in texts:
            bounds.append(bounds[-1] + len(text) + 1)
        for offset in part.content.offsets:
            number = next(i for i in range(len(texts)) if offset < bounds[i + 1])
            tag = Tag(text="x", dimension="", rank=1, confidence=1.0, evidence=[Evidence(source="audio", position=part.base + offset)])
            moment = speech.timed([tag])[0].evidence[0].position
            assert number * 2_000 <= moment <= (number + 1) * 2_000
