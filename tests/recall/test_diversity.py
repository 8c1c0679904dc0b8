"""Maximal marginal relevance over tags."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall.diversity import diversify, marginal
from recall.merge import Ranked
from schemas.events import Tag
from schemas.stored import NoteRecord

NOTES = st.lists(
    st.tuples(
        st.floats(-3, 3).map(lambda score: round(score, 2)),
        st.lists(st.sampled_from("abcdefgh"), max_size=4, unique=True),
        st.sampled_from(["shoes", "food", None]),
        st.sampled_from(["ann", "ben"]),
    ),
    max_size=25,
)


def world_of(rows):
    records = {}
    ranked = []
    for number, (score, tags, category, author) in enumerate(rows):
        note_id = f"n{number:02}"
        ranked.append(Ranked(note_id, number % 3, score, []))
        marks = [Tag(text=text, dimension="d", rank=rank, confidence=0.9) for rank, text in enumerate(tags, start=1)]
        records[note_id] = NoteRecord(note_id, author, 0, False, 0, b"", number % 3, category, marks, "", "t", [], {})
    return sorted(ranked, key=lambda one: (-one.score, -one.published_at, one.note_id)), records


def slowly(scores, sets, count, trade):
    """The definition, note by note."""
    spread = scores[0] - scores[-1]
    relevance = [(score - scores[-1]) / spread if spread else 1.0 for score in scores]
    chosen = [0]
    while len(chosen) < min(count, len(scores)):
        values = {
            at: trade * relevance[at] - (1 - trade) * max(len(sets[at] & sets[one]) / max(len(sets[at] | sets[one]), 1) for one in chosen)
            for at in range(len(scores))
            if at not in chosen
        }
        chosen.append(max(values, key=lambda at: (values[at], -at)))
    return chosen


@given(NOTES, st.integers(1, 30))
def test_lambda_1_changes_nothing(rows, k):
    ranked, records = world_of(rows)
    assert diversify(ranked, records, k, 1.0) == ranked


@given(NOTES, st.integers(1, 30), st.floats(0, 1))
def test_every_note_stays_and_the_first_stays_first(rows, k, trade):
    ranked, records = world_of(rows)
    arranged = diversify(ranked, records, k, trade)
    assert sorted(one.note_id for one in arranged) == sorted(one.note_id for one in ranked)
    assert arranged[:1] == ranked[:1]


@given(NOTES, st.floats(0, 0.99), st.randoms(use_true_random=False))
def test_the_order_of_what_comes_in_does_not_matter(rows, trade, rng):
    ranked, records = world_of(rows)
    shuffled = list(ranked)
    rng.shuffle(shuffled)
    assert diversify(shuffled, records, 30, trade) == diversify(ranked, records, 30, trade)


@given(NOTES.filter(bool), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.875]))
def test_it_is_the_definition(rows, count, trade):
    scores = np.sort(np.array([row[0] for row in rows]))[::-1]
    sets = [[("tag", text) for text in row[1]] + [("category", row[2]), ("author", row[3])] for row in rows]
    fast = marginal(scores, sets, count, trade)
    slow = slowly(scores.tolist(), [set(one) for one in sets], count, trade)
    if fast != slow:  # equal but for the last digit of a sum
        at = next(place for place in range(len(fast)) if fast[place] != slow[place])
        value = [
            trade * (scores[one] - scores[-1]) / ((scores[0] - scores[-1]) or 1.0)
            - (1 - trade) * max(len(set(sets[one]) & set(sets[held])) / len(set(sets[one]) | set(sets[held])) for held in fast[:at])
            for one in (fast[at], slow[at])
        ]
        assert value[0] == pytest.approx(value[1], abs=1e-9)


def test_a_second_note_of_the_same_kind_waits():
    rows = [(3.0, list("ab"), "shoes", "ann"), (2.9, list("ab"), "shoes", "ann"), (2.5, list("cd"), "food", "ben"), (0.0, [], None, "ann")]
    ranked, records = world_of(rows)
    assert [one.note_id for one in diversify(ranked, records, 3, 0.7)] == ["n00", "n02", "n01", "n03"]
    assert [one.note_id for one in diversify(ranked, records, 3, 0.99)] == ["n00", "n01", "n02", "n03"]


def test_only_the_first_hundred_places_are_chosen_anew():
    rows = [(1.0 - number / 1000, ["a"], "shoes", "ann") for number in range(500)]
    ranked, records = world_of(rows)
    assert diversify(ranked, records, 500, 0.5)[400:] == ranked[400:]
