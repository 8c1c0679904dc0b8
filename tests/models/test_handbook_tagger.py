import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.bundle import bundle_version
from models.handbook import load_handbook
from models.handbook_tagger import SHORTLIST, HandbookTagger
from models.phrases import PRODUCT_SPAN
from models.text import plain
from schemas.events import CATEGORIES, Evidence, NoteEvent, Product
from tests.models.hashing_encoder import HashingEncoder

HANDBOOK = load_handbook()
ENGLISH = {
    "title": "My crimson running shoes after 300 km",
    "body": "Two weeks with the crimson running shoes: breathable knit upper, cushioned midsole, and half a size up for wide feet.",
    "products": [Product(name="Glide 2", brand="Kitefoot", description="daily trainer with gum sole")],
}
CHINESE = {"title": "宽脚友好的复古跑鞋", "body": "这双复古跑鞋采用缓震中底，鞋面是透气网眼，适合日常通勤。"}


def note(number: int = 0, **fields: object) -> NoteEvent:
    return msgspec.convert(
        {"type": "note.published", "note_id": f"n{number}", "author_id": "a", "occurred_at": 0, "published_at": 0, **fields},
        NoteEvent,
        from_attributes=True,
    )


@pytest.fixture(scope="module")
def encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture(scope="module")
def tagger(encoder: HashingEncoder) -> HandbookTagger:
    return HandbookTagger(HANDBOOK, encoder)


def evidence_of(source: NoteEvent, evidence: Evidence) -> str:
    if evidence.source == "product":
        card = source.products[evidence.position // PRODUCT_SPAN]
        return f"{card.name} {card.brand} {card.description}"[evidence.position % PRODUCT_SPAN :]
    return (source.title if evidence.source == "title" else source.body)[evidence.position :]


def test_fine_phrases_with_their_dimension(tagger: HandbookTagger) -> None:
    answer = tagger.tag([note(category="shoes", **ENGLISH)])[0]
    dimension = {tag.text: tag.dimension for tag in answer.tags}
    assert dimension["breathable knit upper"] == "upper_material"
    assert dimension["cushioned midsole"] == "cushioning"
    assert answer.language == "en"
    assert [tag.rank for tag in answer.tags] == list(range(1, len(answer.tags) + 1))
    assert [tag.confidence for tag in answer.tags] == sorted((tag.confidence for tag in answer.tags), reverse=True)


def test_the_finer_of_two_variants_stays(tagger: HandbookTagger) -> None:
    texts = {tag.text for tag in tagger.tag([note(category="shoes", **ENGLISH)])[0].tags}
    assert "crimson running shoes" in texts
    assert not texts & {"running shoes", "shoes", "crimson", "crimson running"}


def test_chinese_notes_get_chinese_tags(tagger: HandbookTagger) -> None:
    answer = tagger.tag([note(category="shoes", **CHINESE)])[0]
    assert {"缓震中底", "宽脚友好", "复古跑鞋"} <= {tag.text for tag in answer.tags}
    assert answer.language == "zh"


@pytest.mark.parametrize(
    ("category", "title"),
    [
        ("shoes", "缓震跑鞋"),
        ("food", "mapo tofu with sichuan peppercorn"),
        ("pets", "猫砂盆除臭"),
        ("travel", "coastal town homestay, three day itinerary"),
    ],
)
def test_the_category_is_guessed_where_it_is_missing(tagger: HandbookTagger, category: str, title: str) -> None:
    assert tagger.tag([note(title=title)])[0].category == category


def test_a_given_category_is_kept_and_its_dimensions_used(tagger: HandbookTagger) -> None:
    answer = tagger.tag([note(category="arts", **ENGLISH)])[0]
    assert answer.category == "arts"
    assert {tag.dimension for tag in answer.tags} <= {dimension.id for dimension in HANDBOOK.category("arts").dimensions}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"title": "Wow"}, "wow"),
        ({"title": "好"}, "好"),
        ({"title": "👟👟", "products": [Product(name="Q9")]}, "q9"),
        ({"attributes": {"colour": "Red!"}}, "red"),
        ({"category": "shoes"}, "shoes"),
        ({"category": "shoes", "title": "👟"}, "shoes"),
    ],
)
def test_little_text_still_gives_a_tag(tagger: HandbookTagger, fields: dict[str, object], text: str) -> None:
    assert [tag.text for tag in tagger.tag([note(**fields)])[0].tags] == [text]


def test_nothing_to_go_by_gives_nothing(tagger: HandbookTagger) -> None:
    answer = tagger.tag([note(title="👟", body="\u200f")])[0]
    assert (answer.category, answer.tags) == (None, [])


def test_deleted_notes_get_no_tags_and_keep_their_place(tagger: HandbookTagger) -> None:
    answers = tagger.tag([note(**ENGLISH), note(type="note.deleted", category="shoes", **ENGLISH), note(**CHINESE)])
    assert [bool(answer.tags) for answer in answers] == [True, False, True]
    assert answers[1].category == "shoes"


def test_the_same_tags_in_any_batch(tagger: HandbookTagger) -> None:
    notes = [note(i, category=category, **(ENGLISH if i % 2 else CHINESE)) for i, category in enumerate([None, *CATEGORIES])]
    alone = [tagger.tag([one])[0] for one in notes]
    order = list(range(len(notes)))
    random.Random(3).shuffle(order)
    shuffled = tagger.tag([notes[i] for i in order])
    assert tagger.tag(notes) == alone
    assert [shuffled[order.index(i)] for i in range(len(notes))] == alone


def test_the_same_tags_whatever_the_hash_seed() -> None:
    program = (
        "import msgspec; from tests.models.test_handbook_tagger import *; t = HandbookTagger(HANDBOOK, HashingEncoder());"
        "print(msgspec.json.encode(t.tag([note(**ENGLISH), note(**CHINESE)])).decode())"
    )
    root = Path(__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_long_note_costs_no_more_encoding_than_a_short_one(encoder: HashingEncoder) -> None:
    tagger = HandbookTagger(HANDBOOK, encoder)
    tagger.tag([note(category="shoes", **ENGLISH)])
    before = encoder.texts
    tagger.tag([note(category="shoes", title=ENGLISH["title"], body="Soft foam, crimson laces and a grippy outsole. " * 20_000)])
    assert encoder.texts - before <= SHORTLIST


ANY = st.text(alphabet=st.characters(), max_size=80)
SOME = st.sampled_from(
    ["running shoes", "缓震中底", "SOFT foam", "<b>", "http://x.y", "a" * 70, "\u202e", "Ｔ恤", "1/64", "k-pop ", "，", "\n", "不"]
)
TEXT = st.lists(st.one_of(ANY, SOME), max_size=8).map("".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXT, body=TEXT, product=st.tuples(TEXT, TEXT, TEXT), category=st.sampled_from([None, "shoes", "media"]))
def test_any_note(tagger: HandbookTagger, title: str, body: str, product: tuple[str, str, str], category: str | None) -> None:
    source = note(category=category, title=title, body=body, products=[Product(name=product[0], brand=product[1], description=product[2])])
    answer = tagger.tag([source])[0]
    texts = [tag.text for tag in answer.tags]
    assert len(texts) == len(set(texts)) <= 10
    usable = any(c.isalnum() for c in plain("\n".join((title, body, *product)), 10_000).text)
    assert bool(texts) or not (usable or category)
    dimensions = HANDBOOK.category("media").dimensions
    concepts = {name for dimension in dimensions for one in dimension.concepts for name in (one.en, one.zh)}
    for tag in answer.tags:
        assert tag.text == " ".join(tag.text.split())
        assert 0 <= tag.confidence <= 1
        for evidence in tag.evidence if tag.text not in concepts else []:
            there = evidence_of(source, evidence)
            expanded = len(plain(there, 1).text)  # a character such as a fraction becomes several; a tag may begin at any of them
            words = " ".join(plain(there, 200).text.split())
            assert 0 <= words.find(tag.text) < max(expanded, 1), (tag.text, words[:80])


FILM = {
    "title": "Night of the Lanterns 2",
    "body": "A young wizard must break an ancient curse before a demon takes over the kingdom of his father, the old king.",
}


def test_a_film_gets_its_name_and_concepts_beside_phrases(tagger: HandbookTagger) -> None:
    answer = tagger.tag([note(category="media", **FILM)])[0]
    dimension = {tag.text: tag.dimension for tag in answer.tags}
    assert [tag.text for tag in answer.tags[:2]] == ["night of the lanterns 2", "night of the lanterns"]
    assert dimension["fantasy"] == "genre"
    assert dimension["medieval kingdom"] == "plot_setting"
    assert len(answer.tags) == len(dimension) <= 10
    assert [tag.confidence for tag in answer.tags] == sorted((tag.confidence for tag in answer.tags), reverse=True)
    wizard = next(tag for tag in answer.tags if tag.text == "fantasy").evidence[0]
    assert evidence_of(note(**FILM), wizard).startswith(("wizard", "curse", "kingdom"))


def test_a_film_called_like_a_concept_has_the_tag_once(tagger: HandbookTagger) -> None:
    texts = [
        tag.text
        for tag in tagger.tag([note(category="media", title="Zombie", body="The undead, infected by a zombie virus, rise.")])[0].tags
    ]
    assert texts[0] == "zombie"
    assert len(texts) == len(set(texts))


def test_concepts_of_a_chinese_note_are_chinese_and_stand_once(tagger: HandbookTagger) -> None:
    body = "一个年轻的巫师必须打破古老的诅咒，王国里的国王是他的父亲，魔法与龙，恶魔正在逼近。"
    texts = [tag.text for tag in tagger.tag([note(category="media", title="《灯笼之夜》", body=body)])[0].tags]
    assert texts[0] == "灯笼之夜"
    assert {"奇幻片", "国王与女王"} <= set(texts)
    assert len(texts) == len(set(texts))


def test_somebodys_own_words_about_a_work_get_no_concepts(tagger: HandbookTagger) -> None:
    texts = {tag.text for tag in tagger.tag([note(category="media", title="I finally saw it and cried", body=FILM["body"])])[0].tags}
    assert "fantasy" not in texts
    assert "fantasy" in {tag.text for tag in tagger.tag([note(category="media", title="", body=FILM["body"])])[0].tags}


def test_a_category_without_concepts_is_not_given_any(tagger: HandbookTagger, encoder: HashingEncoder) -> None:
    before = encoder.texts
    answer = tagger.tag([note(category="shoes", **FILM)])[0]
    assert encoder.texts - before <= SHORTLIST + 400  # the handbook's own, once
    assert "fantasy" not in {tag.text for tag in answer.tags}


def test_the_bundle_changes_with_tagger_and_encoder(tagger: HandbookTagger, encoder: HashingEncoder) -> None:
    here = bundle_version(tagger, encoder)
    assert here[0] == "b" and len(here) == 11
    fewer = HandbookTagger(HANDBOOK, encoder, max_tags=5)
    other = HashingEncoder()
    other.version = "hashing-2"
    assert len({here, bundle_version(fewer, encoder), bundle_version(tagger, other)}) == 3
