"""Answers read tolerantly; what is no tag of the handbook's dimensions never leaves."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from models.answers import parse_answer
from models.handbook import load_handbook
from tests.models.injections import INJECTIONS

HANDBOOK = load_handbook()
SHOES = [dimension.id for dimension in HANDBOOK.category("shoes").dimensions]
TAGS = [
    {"text": "neutral cushioning", "dimension": "cushioning", "source": "title"},
    {"text": "宽楦", "dimension": SHOES[0], "source": "body"},
]


def texts(output: str, most: int = 10) -> list[str]:
    return [tag.text for tag in parse_answer(output, HANDBOOK, "shoes", most).tags]


def test_forms_that_models_write() -> None:
    plain = json.dumps(TAGS, ensure_ascii=False)
    wanted = ["neutral cushioning", "宽楦"]
    for output in (
        plain,
        f"```json\n{plain}\n```",
        f"Here are the tags:\n{plain}\nAnything else?",
        json.dumps({"category": "shoes", "tags": TAGS}),
        json.dumps({"tags": TAGS}),
        "\n".join(json.dumps(tag) for tag in TAGS),
        plain[:-1],
        plain[:-1] + ', {"text": "cut o',
        f'{{"category": "shoes", "tags": {plain[:-1]}, {{"te',
    ):
        assert texts(output) == wanted, output


def test_what_is_no_tag_is_dropped_and_counted() -> None:
    entries = [
        TAGS[0],
        TAGS[0] | {"text": "Neutral  CUSHIONING"},
        TAGS[0] | {"text": "x", "dimension": "admin"},
        TAGS[0] | {"text": "x", "dimension": 7},
        TAGS[0] | {"text": ["x"]},
        TAGS[0] | {"text": "!!!"},
        TAGS[0] | {"text": "a" * 61},
        TAGS[0] | {"text": "<|im_start|>system"},
    ]
    answer = parse_answer(json.dumps(entries), HANDBOOK, "shoes", 10)
    assert [tag.text for tag in answer.tags] == ["neutral cushioning"]
    assert answer.dropped == len(entries) - 1
    assert texts(json.dumps([TAGS[0] | {"text": f"tag {n}"} for n in range(9)]), most=4) == [f"tag {n}" for n in range(4)]


def test_a_source_that_does_not_exist_is_none() -> None:
    assert parse_answer(json.dumps([TAGS[0] | {"source": "rumour"}]), HANDBOOK, "shoes", 5).tags[0].source is None


def test_the_category_is_read_where_it_is_not_known() -> None:
    output = json.dumps({"category": "shoes", "tags": TAGS}, ensure_ascii=False)
    for cut in (len(output), len(output) - 1, output.index("宽楦") - 4):
        answer = parse_answer(output[:cut], HANDBOOK, None, 5)
        assert answer.category == "shoes"
        assert answer.tags[0].text == "neutral cushioning"
    assert parse_answer(json.dumps({"category": "hacking", "tags": TAGS}), HANDBOOK, None, 5).tags == []
    assert parse_answer(json.dumps({"category": "hacking", "tags": TAGS}), HANDBOOK, "shoes", 5).category == "shoes"


def test_the_place_of_a_text_in_the_output() -> None:
    output = '[{"text":"宽楦 fit","dimension":"cushioning","source":"title"}]'
    tag = parse_answer(output, HANDBOOK, "shoes", 5).tags[0]
    assert output[tag.start : tag.end] == "宽楦 fit"


def test_an_obeyed_injection_gives_no_tag() -> None:
    for text in INJECTIONS:
        answer = parse_answer(text, HANDBOOK, "dressing", 10)
        assert all(tag.dimension == "style" for tag in answer.tags)  # the one injection that knows a dimension's name


LEAVES = st.none() | st.text(max_size=5) | st.integers() | st.sampled_from([*SHOES, "title"])
KEYS = st.sampled_from(["text", "dimension", "source", "tags", "category"])
NESTED = st.recursive(LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=4), max_leaves=12)


@given(st.text(max_size=300) | NESTED.map(json.dumps))
@settings(max_examples=300)
def test_nothing_breaks_it_and_nothing_else_leaves(output: str) -> None:
    for category in ("shoes", None):
        answer = parse_answer(output, HANDBOOK, category, 3)
        assert len(answer.tags) <= 3
        assert all(tag.dimension in SHOES for tag in answer.tags) or category is None
        assert all(0 < len(tag.text) <= 60 for tag in answer.tags)


@given(
    st.lists(st.tuples(st.text(st.characters(categories=["L"]), min_size=1, max_size=20), st.sampled_from(SHOES)), max_size=8), st.data()
)
@settings(max_examples=200)
def test_every_whole_tag_of_a_cut_answer_is_kept(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    output = json.dumps([{"text": text, "dimension": dimension, "source": "title"} for text, dimension in pairs], ensure_ascii=False)
    whole = parse_answer(output, HANDBOOK, "shoes", 10).tags
    cut = data.draw(st.integers(0, len(output)))
    kept = parse_answer(output[:cut], HANDBOOK, "shoes", 10).tags
    assert kept == whole[: len(kept)]
    assert len(kept) >= output[:cut].count("}") - (len(pairs) - len(whole))


def test_deep_nesting_is_no_bomb() -> None:
    assert texts('{"tags":[' * 5000) == []
    assert texts('{"text":' * 5000) == []
    assert texts("[" * 20_000) == []
