"""The choice model: what it says about probabilities is what readers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.simulate.choice import (
    DWELL_MS,
    MATCH_MAX,
    Shown,
    choose,
    click_probability,
    favorite_probability,
    like_probability,
    match,
    utility,
)  # fmt: skip
from offline.simulate.draws import Draws, Stream

SHOWN = st.builds(Shown, st.floats(0, MATCH_MAX), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.integers(0, 50))


@given(SHOWN, st.floats(0.01, 1))
def test_more_of_what_is_liked_makes_everything_likelier(shown: Shown, more: float) -> None:
    better = shown._replace(match=shown.match + more)
    for probability in (click_probability, like_probability, favorite_probability):
        assert 0 < probability(shown) < probability(better) < 1
    finer = shown._replace(quality=shown.quality + more)
    for probability in (click_probability, like_probability, favorite_probability):
        assert probability(shown) < probability(finer)
    assert click_probability(shown) < click_probability(shown._replace(category=shown.category + more))


@given(SHOWN, st.integers(1, 50))
def test_a_lower_place_is_looked_at_less_and_changes_nothing_after_the_click(shown: Shown, further: int) -> None:
    lower = shown._replace(position=shown.position + further)
    assert click_probability(lower) < click_probability(shown)
    assert like_probability(lower) == like_probability(shown)
    assert favorite_probability(lower) == favorite_probability(shown)


@given(SHOWN)
def test_what_cannot_be_read_is_seldom_opened(shown: Shown) -> None:
    assert utility(shown._replace(reads=False)) == pytest.approx(utility(shown._replace(reads=True)) - 3)


def test_the_match_sums_interests_up_to_its_bound() -> None:
    interests = {("shoes", "d", "a"): 1.5, ("shoes", "d", "b"): 1.0, ("home", "d", "a"): 1.5, ("shoes", "e", "a"): 3.0}
    assert match(interests, frozenset()) == 0
    assert match(interests, {("shoes", "d", "a"), ("shoes", "d", "b"), ("shoes", "d", "c")}) == 2.5
    assert match(interests, interests.keys()) == MATCH_MAX


@pytest.mark.parametrize("shown", [Shown(0.0, 0.0, 0.5, True, 0), Shown(2.0, 0.7, 0.8, True, 3), Shown(4.0, 1.0, 1.0, True, 0)])
def test_readers_do_what_the_probabilities_say(shown: Shown) -> None:
    draws, count = Draws(1, Stream.MEDIA, 1), 6000
    made = [choose(shown, draws) for _ in range(count)]
    clicks = [choice for choice in made if choice.click]
    assert len(clicks) / count == pytest.approx(click_probability(shown), abs=0.03)
    assert sum(one.like for one in clicks) / len(clicks) == pytest.approx(like_probability(shown), abs=0.06)
    assert sum(one.favorite for one in clicks) / len(clicks) == pytest.approx(favorite_probability(shown), abs=0.06)
    mean = DWELL_MS * (0.5 + shown.quality) * (1 + shown.match / 2)
    assert sum(one.dwell_ms for one in clicks) / len(clicks) == pytest.approx(mean, rel=0.05)
    assert all((one.like, one.favorite, one.dwell_ms) == (False, False, 0) for one in made if not one.click)


def test_one_decision_does_not_shift_the_next() -> None:
    dull, liked = Shown(0.0, 0.0, 0.0, False, 9), Shown(4.0, 1.0, 1.0, True, 0)
    after: set[float] = set()
    for first in (dull, liked):
        draws = Draws(1, Stream.MEDIA, 2)
        choose(first, draws)
        after.add(draws.uniform())
    assert len(after) == 1
