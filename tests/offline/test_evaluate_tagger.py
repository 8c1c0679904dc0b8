import json

import pytest

from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.roles import NoteTags
from models.words import Words
from offline.evaluate_tagger import Gold, GoldTag, dimension_accuracy, evaluate, match_tags, read_gold, score_answers
from offline.tag_peers import tfidf_phrases, title_ngrams
from schemas.errors import BadSetting
from schemas.events import NoteEvent, Tag
from tests.models.hashing_encoder import HashingEncoder

ENCODER = HashingEncoder()


def note(number: int, title: str, body: str = "") -> NoteEvent:
    return NoteEvent(
        type="note.published",
        note_id=f"n{number}",
        author_id="a",
        occurred_at=number,
        published_at=0,
        category="shoes",
        title=title,
        body=body,
    )


def gold(number: int, *texts: str) -> Gold:
    return Gold(f"n{number}", "shoes", [GoldTag(text, "cushioning") for text in texts])


def test_pairs_are_matched_one_to_one_best_first() -> None:
    assert match_tags(["knit upper", "breathable knit upper"], ["breathable knit upper"], ENCODER) == [(1, 0)]
    assert match_tags(["gum sole"], ["cushioned midsole"], ENCODER) == []
    assert match_tags(["缓震鞋底"], ["缓震中底"], ENCODER) == [(0, 0)]


def test_precision_and_recall_are_micro_means() -> None:
    figures = score_answers(
        [["soft foam", "gum sole"], ["red lace"]], [gold(1, "soft foam", "knit upper"), gold(2, "wide toe box")], ENCODER
    )
    assert figures["all"]["exact_precision"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["all"]["exact_recall"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["all"]["tags_per_note"] == 1.5


def test_languages_are_told_apart_by_the_gold_tags() -> None:
    figures = score_answers([["soft foam"], ["缓震中底"]], [gold(1, "soft foam"), gold(2, "缓震中底")], ENCODER)
    assert figures["en"]["notes"] == figures["zh"]["notes"] == 1
    assert figures["zh"]["exact_f1"] == 1.0


def test_dimensions_count_where_the_tag_is_right() -> None:
    def answer(dimension: str) -> list[NoteTags]:
        return [NoteTags("shoes", [Tag(text="soft foam", dimension=dimension, rank=1, confidence=0.5)])]

    handbook = load_handbook()
    assert dimension_accuracy(answer("cushioning"), [gold(1, "soft foam")], handbook, ENCODER) == 1.0
    assert dimension_accuracy(answer("elsewhere"), [gold(1, "soft foam")], handbook, ENCODER) == 0.0
    assert dimension_accuracy(answer("cushioning"), [Gold("n1", "shoes", [GoldTag("soft foam")])], handbook, ENCODER) is None


def test_peers_give_distinct_phrases_of_the_note() -> None:
    words = Words(load_handbook())
    notes = [note(1, "Crimson trail shoes", "A gum sole and a gum sole again."), note(2, "Crimson laces")]
    assert tfidf_phrases(notes, words, 2)[0][0] == "gum sole"
    assert title_ngrams(notes, words, 3) == [["crimson trail shoes"], ["crimson laces"]]


def test_the_newest_event_of_a_note_is_judged(tmp_path) -> None:
    events = [
        note(1, "old"),
        NoteEvent(**{name: getattr(note(1, "new"), name) for name in NoteEvent.__struct_fields__} | {"occurred_at": 9}),
    ]
    (tmp_path / "n.jsonl").write_text(
        "".join(
            json.dumps({f: getattr(e, f) for f in ("type", "note_id", "author_id", "occurred_at", "published_at", "title")}) + "\n"
            for e in events
        )
    )
    (tmp_path / "g.jsonl").write_text(json.dumps({"note_id": "n1", "category": "shoes", "tags": [{"text": "x"}]}) + "\n")
    notes, golds = read_gold(tmp_path / "n.jsonl", tmp_path / "g.jsonl", "all")
    assert [one.title for one in notes] == ["new"]
    assert len(golds) == 1
    halves = [read_gold(tmp_path / "n.jsonl", tmp_path / "g.jsonl", part)[1] for part in ("dev", "test")]
    assert sorted(map(len, halves)) == [0, 1]


def test_bad_gold_is_named_by_line(tmp_path) -> None:
    (tmp_path / "n.jsonl").write_text("")
    (tmp_path / "g.jsonl").write_text('{"note_id": "n1"}\n')
    with pytest.raises(BadSetting, match=r"g\.jsonl: line 1"):
        read_gold(tmp_path / "n.jsonl", tmp_path / "g.jsonl", "all")


def test_the_report_compares_with_both_peers() -> None:
    notes = [note(1, "Cushioned midsole", "A breathable knit upper."), note(2, "Gum sole", "True to size.")]
    report = evaluate(notes, [gold(1, "cushioned midsole"), gold(2, "gum sole")], HandbookTagger(load_handbook(), ENCODER), ENCODER)
    assert list(report["methods"]) == ["handbook", "handbook, category unknown", "tf-idf phrases", "title n-grams"]
    assert report["methods"]["handbook"]["all"]["exact_recall"] == 1.0
