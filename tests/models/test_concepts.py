"""Concepts of a handbook: cues in the text, closeness of the text, and what one note's support depends on."""

import numpy as np
import pytest

from models.concept_cues import Cues
from models.concepts import CUE_WEIGHT, CategoryConcepts, reference_texts, whole_text
from models.handbook import CategoryHandbook, Concept, load_handbook
from models.phrases import find_phrases, parts_of
from models.words import Words
from schemas.events import NoteEvent
from tests.models.hashing_encoder import HashingEncoder

CONCEPTS = [
    Concept(en="heist film", zh="劫盗片", cues=["bank robbery", "steal*", "safe crack*", "劫案"]),
    Concept(en="wizard", zh="巫师", cues=["wizard", "witch*", "wand"]),
]


def note(title: str = "", body: str = "") -> NoteEvent:
    return NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, title=title, body=body)


def spoken(text: str) -> dict[int, set[str]]:
    return {number: set(places) for number, places in Cues(CONCEPTS).find(parts_of(note("", text))).items()}


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        ("Two bank robberies later", {0: {"bank robbery"}}),
        ("a bank, robbery aside", {0: {"bank robbery"}}),
        ("stealing is not asteal", {0: {"steal*"}}),
        ("a safe cracker", {0: {"safe crack*"}}),
        ("safe at home, cracks in the wall", {}),
        ("Wizards and witchcraft", {1: {"wizard", "witch*"}}),
        ("wizardry wanders", {}),
        ("一起劫案与一个巫师", {0: {"劫案"}, 1: {"巫师"}}),
        ("a heist film about wands", {0: {"heist film"}, 1: {"wand"}}),
        ("", {}),
    ],
)
def test_cues_by_stem_beginning_run_and_characters(text: str, cues: dict[int, set[str]]) -> None:
    assert spoken(text) == cues


def test_a_cue_is_found_where_it_first_stands() -> None:
    found = Cues(CONCEPTS).find(parts_of(note("No spells", "<b>The</b> wizard, another wizard")))
    assert [(place.source, place.position) for place in found[1].values()] == [("body", 11)]


@pytest.fixture(scope="module")
def media() -> CategoryHandbook:
    return load_handbook().category("media")


@pytest.fixture(scope="module")
def concepts(media: CategoryHandbook) -> CategoryConcepts:
    return CategoryConcepts(media, HashingEncoder())


def found(concepts: CategoryConcepts, source: NoteEvent) -> dict[str, float]:
    parts = parts_of(source)
    phrases = list(find_phrases(parts, Words(load_handbook())).values())[:24]
    encoder = HashingEncoder()
    vectors = encoder.encode([phrase.text for phrase in phrases]) if phrases else None
    supported = concepts.find(parts, encoder.encode([whole_text(parts)])[0], phrases, vectors)
    for one in supported:
        for evidence in one.evidence:
            assert 0 <= evidence.position < len(source.title if evidence.source == "title" else source.body)
    return {one.concept.en: one.support for one in supported}


def test_more_cues_support_a_concept_more(concepts: CategoryConcepts) -> None:
    one = found(concepts, note("", "A tale of a zombie in a quiet town"))
    three = found(concepts, note("", "A tale of a zombie, undead and infected, in a quiet town"))
    assert three["zombie"] > one["zombie"] + CUE_WEIGHT
    assert "vietnam war" not in three


def test_support_is_highest_first(concepts: CategoryConcepts) -> None:
    support = list(found(concepts, note("", "Robots and aliens invade a spaceship near Mars while a detective hunts a killer")).values())
    assert len(support) > 3
    assert support == sorted(support, reverse=True)


def test_reference_texts_are_always_the_same_and_differ(media: CategoryHandbook) -> None:
    texts = reference_texts(media)
    assert texts == reference_texts(media)
    assert len(set(texts)) > 0.9 * len(texts)
    assert texts[0].count(" of ") == 1
    assert not any("*" in text for text in texts)


def test_whole_text_is_title_and_body_bounded() -> None:
    text = whole_text(parts_of(note("Up!", "A house. " * 500)))
    assert text.startswith("up, a house")
    assert len(text) <= 800
    assert whole_text(parts_of(note("👟", "\u200f"))) == ""
    assert whole_text(parts_of(note("A short note"))) == ""
    assert whole_text(parts_of(note("十个汉字的文本是足够"))) != ""


def test_the_level_is_that_of_the_reference_texts(media: CategoryHandbook) -> None:
    """A reference text itself supports what it was made of more than what it was not, without any cue counted."""
    encoder = HashingEncoder()
    concepts = CategoryConcepts(media, encoder)
    text = reference_texts(media)[0]
    support = concepts._support(encoder.encode([text])[0], {})
    assert abs(float(support.mean())) < 1e-2
    assert np.isfinite(support).all()
