"""Where reading goes on: the cases of streams/positions.py, one by one, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.positions import Start, start_at


@pytest.mark.parametrize(
    ("low", "end", "committed", "metadata", "expected"),
    [
        (0, 10, None, "", Start(0, "new")),
        (3, 10, None, "", Start(3, "new")),
        (0, 10, 7, "a", Start(7, "committed")),
        (0, 10, 7, "", Start(7, "committed")),
        (0, 10, 10, "a", Start(10, "committed")),
        (5, 10, 3, "a", Start(5, "retention", 2)),
        (0, 10, 11, "a", Start(0, "truncated")),
        (0, 10, 7, "b", Start(0, "recreated")),
        (0, 10, 70, "b", Start(0, "recreated")),
    ],
)
def test_start(low, end, committed, metadata, expected):
    assert start_at(low, end, committed, metadata, "a") == expected


@given(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 120), st.sampled_from(["", "a", "b"]))
def test_never_outside_the_topic_and_never_past_an_unread_record(low, length, committed, metadata):
    start = start_at(low, low + length, committed, metadata, "a")
    assert low <= start.offset <= low + length
    if start.why != "committed":
        assert start.offset == low
    else:
        assert start.offset == committed
