"""Samples are allotted to sets whole groups at a time, in the sizes and category shares that were asked for."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.tag_data.split import Room, allot, room_of
from schemas.errors import BadSetting

THIRDS = (0.75, 0.125, 0.125)


@st.composite
def groupings(draw: st.DrawFn) -> tuple[list[list[int]], list[str]]:
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, 7]), max_size=25))
    numbers = draw(st.permutations(range(sum(sizes))))
    ends = np.cumsum([0, *sizes]).tolist()
    groups = [list(numbers[start:end]) for start, end in pairwise(ends)]
    return groups, draw(st.lists(st.sampled_from("abc"), min_size=sum(sizes), max_size=sum(sizes)))


@given(groupings(), st.sampled_from([THIRDS, (1.0, 0.0, 0.0), (0.4, 0.3, 0.3)]), st.integers(0, 3))
def test_by_shares_all_are_placed_no_group_is_torn_and_a_seed_decides(
    given_groups: tuple[list[list[int]], list[str]], shares: tuple[float, ...], seed: int
) -> None:
    groups, categories = given_groups
    places = allot(groups, categories, room_of(shares, len(categories)), seed)
    assert all(place in (0, 1, 2) for place in places) and len(places) == len(categories)
    assert all(len({places[one] for one in group}) == 1 for group in groups)
    assert places == allot(groups, categories, room_of(shares, len(categories)), seed)


@given(groupings(), st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 4)))
def test_by_counts_no_set_has_more_than_asked_and_what_is_left_out_fits_nowhere(
    given_groups: tuple[list[list[int]], list[str]], counts: tuple[int, int, int]
) -> None:
    groups, categories = given_groups
    places = allot(groups, categories, Room(counts, every=False), 0)
    had = [places.count(number) for number in range(3)]
    assert all(one <= most for one, most in zip(had, counts, strict=True))
    for group in groups:
        assert len({places[one] for one in group}) == 1
        if places[group[0]] < 0:
            assert all(len(group) > most - one for one, most in zip(had, counts, strict=True))


def test_single_samples_come_in_exact_sizes_and_equal_category_shares() -> None:
    categories = [f"{number % 18}" for number in range(1800)]
    places = allot([[number] for number in range(1800)], categories, room_of(THIRDS, 1800), 5)
    assert Counter(places) == {0: 1350, 1: 225, 2: 225}
    by_category = Counter(zip(places, categories, strict=True))
    for number in range(18):
        assert [abs(by_category[place, str(number)] - 100 * share) <= 1 for place, share in enumerate(THIRDS)] == [True] * 3
    assert places != allot([[number] for number in range(1800)], categories, room_of(THIRDS, 1800), 6)


def test_a_group_too_large_for_a_small_set_goes_into_the_large_one() -> None:
    groups = [list(range(30)), *[[number] for number in range(30, 100)]]
    places = allot(groups, ["a"] * 100, room_of(THIRDS, 100), 1)
    assert places[0] == 0 and [places.count(number) for number in range(3)] == [75, 13, 12]


@pytest.mark.parametrize(("amounts", "complaint"), [((0.5, 0.2, 0.2), "is not 1"), ((8, 2, 1), "of 10"), ((-1, 1, 1), "negative")])
def test_amounts_that_cannot_be_are_refused(amounts: tuple[float, ...], complaint: str) -> None:
    with pytest.raises(BadSetting, match=complaint):
        room_of(amounts, 10)
    assert room_of((5, 2, 1), 10) == Room((5, 2, 1), every=False)
