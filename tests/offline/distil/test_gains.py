"""Paired gains: the mean is that of the differences, and what both models find equally hard widens nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.distil.gains import gain

SOME = st.dictionaries(st.text(max_size=3), st.floats(-2, 2), min_size=1, max_size=20)


@given(SOME, st.floats(-1, 1))
def test_an_equal_gain_on_every_note_has_no_width(points: dict[str, float], more: float) -> None:
    found = gain(points, {note: value + more for note, value in points.items()})
    assert found.ci95 is not None and found.notes == len(points)
    assert (found.mean, *found.ci95) == pytest.approx((more, more, more), abs=1e-9)


@given(SOME, SOME)
def test_only_notes_that_both_answered_count_and_the_other_way_is_the_negative(one: dict[str, float], other: dict[str, float]) -> None:
    there, back = gain(one, other), gain(other, one)
    both = one.keys() & other.keys()
    assert there.notes == back.notes == len(both)
    if both:
        assert there.mean is not None and there.ci95 is not None and back.ci95 is not None
        assert there.mean == pytest.approx(sum(other[note] - one[note] for note in both) / len(both), abs=1e-9)
        assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]), abs=1e-9)
    else:
        assert there.mean is there.ci95 is None
