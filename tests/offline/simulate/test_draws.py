"""Draws: fixed numbers, independent of what else is drawn, and fair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.simulate.draws import ROWS, SEED_MAX, WIDTH, Draws, Stream

PLACES = st.tuples(st.integers(0, SEED_MAX), st.sampled_from(Stream), st.integers(0, 10**9))


def numbers(seed: int, stream: Stream, index: int, count: int = 5) -> list[float]:
    draws = Draws(seed, stream, index)
    return [draws.uniform() for _ in range(count)]


def test_the_numbers_are_those_of_the_format() -> None:
    raw = np.random.Philox(key=[7, 1], counter=[0, 0, 0, 0]).random_raw(WIDTH * 4)
    assert numbers(7, Stream.NOTE, 3) == [int(value >> 11) * 2.0**-53 for value in raw[WIDTH * 3 : WIDTH * 3 + 5]]
    assert numbers(7, Stream.NOTE, 0, 2) == [0.8824668302545412, 0.3690383346754841]


@given(PLACES, PLACES)
def test_a_sequence_does_not_depend_on_what_was_drawn_before(one: tuple[int, Stream, int], other: tuple[int, Stream, int]) -> None:
    alone = numbers(*one)
    numbers(*other, count=300)
    assert numbers(*one) == alone
    assert (numbers(*other) == alone) == (one == other)


@given(st.sampled_from(Stream), st.integers(0, 3 * ROWS))
def test_long_sequences_go_on_without_repeating(stream: Stream, index: int) -> None:
    drawn = numbers(1, stream, index, 3 * WIDTH)
    assert len(set(drawn)) == 3 * WIDTH
    assert all(0 <= value < 1 for value in drawn)


def test_every_way_of_drawing_is_fair() -> None:
    draws = Draws(5, Stream.MEDIA, 0)
    count = 8000
    assert np.bincount([draws.below(4) for _ in range(count)]) / count == pytest.approx([0.25] * 4, abs=0.03)
    assert np.mean([draws.skewed(100) < 25 for _ in range(count)]) == pytest.approx(0.5, abs=0.03)
    bell = [draws.bell() for _ in range(count)]
    assert np.mean(bell) == pytest.approx(0, abs=0.03)
    assert np.std(bell) == pytest.approx(0.5, abs=0.02)
    first = [draws.sample("abcd", 2) for _ in range(count)]
    assert all(a != b for a, b in first)
    assert np.mean([one[0] == "d" for one in first]) == pytest.approx(0.25, abs=0.03)
    assert sorted(draws.sample("abc", 9)) == ["a", "b", "c"]
