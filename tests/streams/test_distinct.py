"""The sketch of distinct ids: near the truth, merging is union, order does not matter."""

import pytest
from hypothesis import given, strategies

from streams.distinct import REGISTERS, Distinct

ids = strategies.lists(strategies.text(max_size=8), max_size=60)


def sketch(identifiers):
    made = Distinct()
    for identifier in identifiers:
        made.add(identifier)
    return made


@pytest.mark.parametrize("number", [0, 1, 10, 1_000, 20_000, 60_000])
def test_counts_within_two_per_cent(number):
    assert sketch(f"reader {place}" for place in range(number)).count() == pytest.approx(number, rel=0.02)


@given(ids, ids)
def test_merging_is_union_in_any_order(one, other):
    together = sketch(one)
    together.merge(sketch(other))
    assert together.pack() == sketch([*reversed(other), *one, *other]).pack()
    assert together.count() == pytest.approx(len({*one, *other}), abs=3.5), "ids that share a register count once"


@given(ids)
def test_bytes_bring_it_back(one):
    assert Distinct(sketch(one).pack()).pack() == sketch(one).pack()
    assert len(sketch(one).pack()) < REGISTERS / 20


@pytest.mark.parametrize("packed", [b"no sketch", sketch([]).pack()[:-3]])
def test_other_bytes_are_refused(packed):
    with pytest.raises(ValueError, match="not a sketch"):
        Distinct(packed)
