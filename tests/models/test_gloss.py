"""Glosses and character sketches: longest terms first, the same numbers on every machine, cosine by shared n-grams."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gloss import Gloss, Glossary, blend, has_cjk, sketch_characters

GLOSSARY = Glossary(
    {"跑鞋": "running shoes", "跑": "run", "红色": "red", "初学者跑鞋": "beginner running shoes", "shoe": "schuh", " 猫": "cat"}
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("跑鞋", Gloss("running shoes", 1.0)),
        ("红色跑鞋", Gloss("red running shoes", 1.0)),
        ("初学者跑鞋", Gloss("beginner running shoes", 1.0)),
        ("红色初学者", Gloss("red", 0.4)),
        ("Nike跑鞋 41", Gloss("Nike running shoes 41", 1.0)),
        ("巴黎", Gloss("", 0.0)),
        ("跑跑鞋!", Gloss("run running shoes !", 1.0)),
        ("🔥", Gloss("🔥", 0.0)),
        ("", Gloss("", 0.0)),
    ],
)
def test_longest_terms_win_from_left_to_right(text: str, expected: Gloss) -> None:
    assert GLOSSARY.gloss(text) == expected


def test_the_digest_tells_glossaries_apart_whatever_their_order() -> None:
    assert Glossary({"跑": "run", "猫": "cat"}).digest == Glossary({"猫": "cat", "跑": "run"}).digest
    assert Glossary({"跑": "run"}).digest != Glossary({"跑": "runs"}).digest
    assert Glossary({}).gloss("跑鞋") == Gloss("", 0.0)


@given(st.text(max_size=40))
def test_any_text_has_a_finite_sketch_and_a_gloss_within_bounds(text: str) -> None:
    sketch = sketch_characters(text, 96)
    assert sketch.shape == (96,)
    assert np.isfinite(sketch).all()
    assert float(np.linalg.norm(sketch)) == pytest.approx(1.0 if text.split() else 0.0, abs=1e-5)
    assert 0.0 <= GLOSSARY.gloss(text).coverage <= 1.0


def test_sketches_are_the_same_on_every_machine() -> None:
    assert hashlib.sha256(np.sign(sketch_characters("巴黎圣母院", 384)).astype(np.int8).tobytes()).hexdigest()[:16] == "835c527c936d4e3a"


@pytest.mark.parametrize(
    ("one", "other", "least", "most"), [("红色跑鞋", "跑鞋", 0.45, 0.75), ("Nike Air", "air nike", 0.99, 1.0), ("火锅", "跑鞋", -0.2, 0.2)]
)
def test_cosine_is_the_share_of_common_characters(one: str, other: str, least: float, most: float) -> None:
    cosine = float(sketch_characters(one, 768) @ sketch_characters(other, 768))
    assert least <= round(cosine, 6) <= most


def test_what_the_glossary_covers_decides_how_much_meaning_counts() -> None:
    meaning, sketch = np.eye(2, 4, dtype=np.float32)
    assert blend(None, sketch, 0.0) == pytest.approx(sketch)
    shares = [float(blend(meaning, sketch, coverage) @ meaning) for coverage in (0.1, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.75**0.5)


@pytest.mark.parametrize(("text", "expected"), [("鞋", True), ("シューズ", True), ("신발", True), ("shoes, café №1 🔥", False)])
def test_scripts_are_told_apart(text: str, expected: bool) -> None:
    assert has_cjk(text) is expected
