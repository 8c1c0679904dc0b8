import pytest

from models.handbook import load_handbook
from models.phrases import BODY_LIMIT, PRODUCT_SPAN, find_phrases, parts_of
from models.words import Words, stem, words_of
from schemas.events import NoteEvent, Product


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(load_handbook())


def found(words: Words, title: str = "", body: str = "", products: list[Product] | None = None) -> dict[str, list[tuple[str, int]]]:
    note = NoteEvent(
        type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, title=title, body=body, products=products or []
    )
    phrases = find_phrases(parts_of(note), words).values()
    return {phrase.text: [(evidence.source, evidence.position) for evidence in phrase.evidence] for phrase in phrases}


def test_english_phrases_run_between_function_words_and_punctuation(words: Words) -> None:
    phrases = found(words, body="The breathable knit upper, and a cushioned midsole I really like.")
    assert {"breathable knit upper", "knit upper", "cushioned midsole"} <= set(phrases)
    assert not any("like" in text or "and" in text.split() for text in phrases)
    assert phrases["cushioned midsole"] == [("body", 33)]


def test_chinese_phrases_join_segmented_words(words: Words) -> None:
    phrases = found(words, title="这双复古跑鞋采用缓震中底，很舒服")
    assert {"复古跑鞋", "缓震中底"} <= set(phrases)
    assert not any(text.startswith("这双") or "采用" in text or "，" in text for text in phrases)


def test_latin_words_in_chinese_keep_their_spaces(words: Words) -> None:
    assert "cold brew" in found(words, title="夏天在家做 cold brew 咖啡")


def test_a_handbook_phrase_counts_even_over_function_words(words: Words) -> None:
    assert "true to size" in found(words, body="They are true to size for me.")


def test_products_are_told_apart_by_position(words: Words) -> None:
    cards = [
        Product(name="Glide 2", brand="Kitefoot", description="gum sole"),
        Product(name="Mug", brand="Aurelle", description="celadon glaze"),
    ]
    phrases = found(words, products=cards)
    assert phrases["gum sole"] == [("product", len("Glide 2 Kitefoot "))]
    assert phrases["celadon glaze"] == [("product", PRODUCT_SPAN + len("Mug Aurelle "))]


def test_a_plural_inside_marks_a_clause(words: Words) -> None:
    note = NoteEvent(
        type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, body="It respects bedtime. A pixel art game."
    )
    odd = {phrase.text: phrase.odd for phrase in find_phrases(parts_of(note), words).values()}
    assert odd["respects bedtime"]
    assert not odd["pixel art game"]


@pytest.mark.parametrize(
    "body", ["crimson running shoes with a soft foam midsole. ", "这双复古跑鞋采用缓震中底，鞋面透气。", "a<" * 20, "@" * 50, "不" * 40]
)
def test_work_does_not_grow_beyond_the_cut(words: Words, body: str) -> None:
    at_limit = body * (BODY_LIMIT // len(body) + 1)
    assert found(words, body=at_limit) == found(words, body=at_limit + body * (500_000 // len(body)))


def test_plural_stems() -> None:
    assert [stem(word) for word in ("shoes", "dishes", "berries", "glass", "canvas", "tennis", "bus")] == [
        "shoe", "dish", "berry", "glass", "canva", "tennis", "bus",
    ]  # fmt: skip


def test_words_keep_inner_signs() -> None:
    assert words_of("Pour-over 1/64 k-pop 20% shoes.They a/b 3.5") == [
        "pour-over",
        "1/64",
        "k-pop",
        "20%",
        "shoes",
        "they",
        "a",
        "b",
        "3.5",
    ]
