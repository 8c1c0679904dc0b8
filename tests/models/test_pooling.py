"""Weighted means of tag vectors: unit length, blind to scale, finite for everything allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pooling import note_vector, user_vector

DIMENSION = 8


@st.composite
def unit_rows(draw: st.DrawFn, most: int = 6) -> np.ndarray:
    count = draw(st.integers(1, most))
    rows = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(count, DIMENSION))
    if draw(st.booleans()) and count > 1:
        rows[1] = -rows[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(unit_rows(), st.data())
def test_a_note_vector_has_unit_length(rows: np.ndarray, data: st.DataObject) -> None:
    confidences = data.draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows)))
    ranks = data.draw(st.lists(st.integers(1, 50), min_size=len(rows), max_size=len(rows)))
    vector = note_vector(rows, confidences, ranks)
    assert vector.shape == (DIMENSION,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_note_leans_to_what_is_ranked_first_and_sure() -> None:
    rows = np.eye(3, DIMENSION, dtype=np.float32)
    vector = note_vector(rows, [0.8, 0.8, 0.2], [1, 3, 3])
    assert vector[0] / vector[1] == pytest.approx(np.log2(4) / np.log2(2))
    assert vector[1] / vector[2] == pytest.approx(4)


def test_a_note_without_confidence_goes_by_rank_and_opposites_by_the_first() -> None:
    rows = np.eye(2, DIMENSION, dtype=np.float32)
    assert note_vector(rows, [0, 0], [1, 3])[0] > note_vector(rows, [0, 0], [1, 3])[1] > 0
    opposite = np.stack([rows[0], -rows[0]])
    assert note_vector(opposite, [0.5, 0.5], [1, 1]) == pytest.approx(rows[0])


@pytest.mark.parametrize(
    ("rows", "confidences", "ranks"),
    [
        (np.empty((0, 3)), [], []),
        (np.eye(2), [1], [1, 1]),
        (np.eye(2), [1, np.nan], [1, 2]),
        (np.eye(2), [1, -1], [1, 2]),
        (np.eye(2), [1, 1], [0, 1]),
        (np.zeros((1, 2)), [1], [1]),
        (np.full((1, 2), np.inf), [1], [1]),
    ],
)
def test_a_note_vector_refuses_what_has_no_mean(rows: np.ndarray, confidences: list[float], ranks: list[int]) -> None:
    with pytest.raises(ValueError, match=r"shapes|finite"):
        note_vector(rows, confidences, ranks)


@given(unit_rows(), st.data())
def test_a_user_vector_is_unit_or_none(rows: np.ndarray, data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.floats(), min_size=len(rows), max_size=len(rows)))
    vector = user_vector(rows, scores)
    if any(np.isfinite(score) and score > 0 for score in scores):
        assert vector is not None
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    else:
        assert vector is None


@given(unit_rows(), st.data(), st.integers(-200, 200))
def test_a_user_vector_does_not_depend_on_the_scale_of_scores(rows: np.ndarray, data: st.DataObject, exponent: int) -> None:
    scores = np.array(data.draw(st.lists(st.floats(0.01, 100), min_size=len(rows), max_size=len(rows))))
    vector, scaled = user_vector(rows, scores), user_vector(rows, scores * 2.0**exponent)
    assert vector is not None
    assert scaled is not None
    assert (vector == scaled).all()


def test_a_user_vector_leaves_out_useless_scores() -> None:
    rows = np.eye(4, DIMENSION, dtype=np.float32)
    vector = user_vector(rows, [3.0, -2.0, np.nan, np.inf])
    assert vector == pytest.approx(rows[0])
    weighted = user_vector(rows, [3.0, 1.0, 0.0, 0.0])
    assert weighted is not None
    assert weighted[0] / weighted[1] == pytest.approx(3)
    with pytest.raises(ValueError, match="shapes"):
        user_vector(rows, [1.0])
    assert user_vector(np.empty((0, DIMENSION), np.float32), []) is None
