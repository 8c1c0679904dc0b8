"""Simulated notes: the same always and anywhere, and true where their truth says so."""

import collections
import hashlib
import itertools
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.simulate.catalogue import load_catalogue
from offline.simulate.compose import says
from offline.simulate.notes import DAY_MS, Community, SimulatedNote
from offline.simulate.truth import Attribute, Truth
from schemas.codec import decoder, encode
from schemas.events import CATEGORIES, Evidence, NoteEvent

COMMUNITY = Community(7)
FIRST_50 = "a7ba438c7bacccc085ab97f3774a3f1b0dd2af27aad0be3692de5028d4a7aec3"


@pytest.fixture(scope="module")
def notes() -> list[SimulatedNote]:
    return list(COMMUNITY.notes(1500))


def test_the_first_notes_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for event, truth in COMMUNITY.notes(50):
        digest.update(encode(event) + msgspec.json.encode(truth))
    assert digest.hexdigest() == FIRST_50


@given(st.integers(0, 2**40), st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_a_note_does_not_depend_on_which_others_are_made(seed: int, indices: list[int]) -> None:
    community = Community(seed)
    made = {index: community.note(index) for index in reversed(indices)}
    for index in indices:
        assert community.note(index) == made[index] == next(community.notes(1, index))
        assert Community(seed + 1).note(index) != made[index]


def test_fewer_notes_are_the_beginning_of_more(notes: list[SimulatedNote]) -> None:
    assert list(COMMUNITY.notes(40)) == notes[:40]


def test_events_are_valid_and_in_order_of_time(notes: list[SimulatedNote]) -> None:
    decode = decoder(NoteEvent)
    for event, truth in notes:
        assert decode(encode(event), None) == event
        assert msgspec.json.decode(msgspec.json.encode(truth), type=Truth) == truth
        assert event.attributes == {}, "the event must not give the truth away"
    times = [event.published_at for event, _ in notes]
    assert times == sorted(times)
    for index in (1, 17, 1400):
        assert COMMUNITY.published_by(times[index]) <= index + 1
        assert COMMUNITY.published_by(times[index] + DAY_MS // COMMUNITY.notes_a_day) >= index
    assert {event.category for event, _ in notes} == set(CATEGORIES)
    assert {event.language for event, _ in notes} == {"en", "zh"}


def test_text_stands_where_the_truth_says_and_nowhere_else(notes: list[SimulatedNote]) -> None:
    for event, truth in notes:
        card = " ".join(part for one in event.products for part in (one.name, one.brand, one.description))
        texts = {"title": event.title, "body": event.body, "product": card, "audio": truth.spoken}
        for attribute in truth.attributes:
            assert attribute.sources
            words = attribute.text(truth.language)
            for source, text in texts.items():
                assert says(text, words) == (source in attribute.sources), (truth.note_id, words, source)


def test_pictures_show_what_the_truth_says(notes: list[SimulatedNote]) -> None:
    shelves = load_catalogue().shelves
    for _, truth in notes:
        shelf = shelves[truth.category]
        for source, scenes in (("image", truth.images), ("video", truth.shots)):
            told = {attribute.en for attribute in truth.attributes if source in attribute.sources}
            shown = {shelf.items[scene.object].words.en for scene in scenes}
            shown |= {shelf.colours[scene.colour].words.en for scene in scenes}
            shown |= {shelf.patterns[scene.pattern].words.en for scene in scenes if scene.pattern in shelf.patterns}
            printed = {attribute.en for attribute in truth.attributes if attribute.en.upper() in {scene.label for scene in scenes}}
            assert told == shown | printed
        assert bool(truth.spoken) == (truth.voice is not None)


def test_each_modality_tells_something_that_no_other_does(notes: list[SimulatedNote]) -> None:
    alone: collections.Counter[str] = collections.Counter()
    total = 0
    for attribute in itertools.chain.from_iterable(truth.attributes for _, truth in notes):
        total += 1
        if len(attribute.sources) == 1:
            alone[attribute.sources[0]] += 1
    share = {source: count / total for source, count in alone.items()}
    assert share["body"] > share["image"] > 0.1, "text matters most"
    assert share["product"] > 0.1
    assert share["title"] > 0.03
    assert share["audio"] > 0.025
    assert share["video"] > 0.015


def test_what_is_untrue_is_said_and_marked(notes: list[SimulatedNote]) -> None:
    contradicting = [note for note in notes if note.truth.contradicts]
    denying = [note for note in notes if any(one.denied for one in note.truth.untrue)]
    assert 0.02 < len(contradicting) / len(notes) < 0.06
    assert 0.1 < len(denying) / len(notes) < 0.2
    for event, truth in {note.event.note_id: note for note in contradicting + denying}.values():
        true = {attribute.en: attribute for attribute in truth.attributes}
        for one in truth.untrue:
            assert one.en not in true
            assert says(event.body, one.en if truth.language == "en" else one.zh)
            if not one.denied:
                assert "product" in true[one.instead_of].sources
                assert "body" not in true[one.instead_of].sources
                assert true[one.instead_of].dimension == one.dimension


def test_low_quality_says_little(notes: list[SimulatedNote]) -> None:
    low = [truth for _, truth in notes if truth.low_quality]
    others = [truth for _, truth in notes if not truth.low_quality]
    assert 0.05 < len(low) / len(notes) < 0.2
    assert max(truth.quality for truth in low) <= min(truth.quality for truth in others)
    assert sum(len(truth.attributes) for truth in low) / len(low) < sum(len(truth.attributes) for truth in others) / len(others) - 1


def test_tags_in_both_languages_and_by_modality() -> None:
    seen = Attribute(kind="item", dimension="d", en="boots", zh="靴子", sources=["image", "title"])
    said = Attribute(kind="phrase", dimension="d", en="light", zh="轻", sources=["audio"])
    truth = Truth(note_id="n", category="shoes", language="zh", quality=0.5, attributes=[seen, said, seen])
    assert truth.tags() == ["靴子", "轻"]
    assert truth.tags("en") == ["boots", "light"]
    assert truth.all_tags() == ["靴子", "轻", "boots", "light"]
    assert truth.told_by({"audio"}) == [said]
    assert truth.told_by({"title", "body"}) == [seen, seen]
    assert not truth.contradicts
    assert Evidence(source=seen.sources[0]).source == "image"


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("A Boot, at last", "boot", True), ("reboot", "boot", False), ("boots", "boot", False), ("boots and boot", "boot", True),
        ("穿靴子吗", "靴子", True), ("OLED屏幕", "oled屏幕", True), ("新OLED屏幕", "OLED屏幕", True), ("", "x", False), ("4K", "k", False),
    ],
)  # fmt: skip
def test_words_stand_in_a_text_as_whole_words(text: str, words: str, found: bool) -> None:
    assert says(text, words) is found


def test_memory_does_not_grow_with_the_number_of_notes() -> None:
    """Far notes are made as cheaply as near ones, and what is kept between notes is bounded: caches are full after a while."""
    community = Community(11)

    def some(first: int, last: int) -> None:
        for start in range(first, last, 5000):
            for _ in community.notes(80, first=start):
                pass

    tracemalloc.start()
    some(0, 50_000)
    before = tracemalloc.get_traced_memory()[0]
    some(50_000, 100_000)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 3_000_000
    assert peak < 40_000_000
