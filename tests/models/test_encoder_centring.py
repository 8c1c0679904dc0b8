"""Centring: what all vectors have in common goes, what tells them apart stays, and a row is a row."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoder_centring import Centring, centred, measure_centring
from models.text import has_han

PAIRS = yaml.safe_load((Path(__file__).parents[2] / "models" / "lexicon" / "pairs.yaml").read_text())


def narrow(texts: list[str] | tuple[str, ...]) -> np.ndarray:
    """An encoder of two languages: what is meant counts .4, that it is text at all 1, its language .5."""
    meant = {chinese: english for english, chinese in PAIRS}
    chance = [np.random.default_rng(zlib.crc32(meant.get(text, text).encode())).normal(size=64) for text in texts]
    vectors = 0.4 / 8.0 * np.stack(chance)
    vectors = np.hstack([vectors, np.ones((len(texts), 1)), [[0.5 if has_han(text) else -0.5] for text in texts]])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_pairs_are_english_and_chinese_and_each_is_there_once() -> None:
    assert len({text for pair in PAIRS for text in pair}) == 2 * len(PAIRS) == 432
    assert all(not has_han(english) for english, _ in PAIRS)
    assert sum(has_han(chinese) for _, chinese in PAIRS) > 200


def test_texts_that_have_nothing_in_common_are_no_longer_close_and_those_that_mean_the_same_are_one() -> None:
    plain = narrow(["cat", "dog", "piano"])
    assert (plain @ plain.T).min() > 0.8
    centring = measure_centring(narrow, knows_cjk=True)
    english, chinese = zip(*PAIRS, strict=True)
    one, other = centred(narrow(english), centring), centred(narrow(chinese), centring)
    assert (one * other).sum(axis=1).min() > 0.99
    among = one @ one.T
    assert abs(float(np.median(among[~np.eye(len(one), dtype=bool)]))) < 0.1
    across = (centred(narrow(english), Centring(centring.mean)) * centred(narrow(chinese), Centring(centring.mean))).sum(axis=1)
    assert across.max() < 0.5, "the mean alone leaves the languages apart"


def test_an_encoder_of_one_language_is_measured_with_that_alone() -> None:
    asked: list[str] = []

    def encode(texts: list[str] | tuple[str, ...]) -> np.ndarray:
        asked.extend(texts)
        return narrow(texts)

    centring = measure_centring(encode, knows_cjk=False)
    assert asked == [english for english, _ in PAIRS]
    assert centring.language == []
    assert centring.mean == pytest.approx(narrow(asked).mean(axis=0), abs=1e-6)


@settings(max_examples=50)
@given(rows=st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_a_row_never_depends_on_the_others(rows: list[int]) -> None:
    centring = measure_centring(narrow, knows_cjk=True)
    vectors = narrow([f"text {row}" for row in rows])
    together = centred(vectors, centring)
    assert (together == np.concatenate([centred(vectors[at : at + 1], centring) for at in range(len(rows))])).all()
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
