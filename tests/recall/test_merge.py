"""One ranking out of several channels."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall.merge import Blend, Candidate, merge, pool
from recall.stores import Hit

BLENDS = {"near": Blend(), "index": Blend(absent=0.0), "fresh": Blend(by_rank=True)}
SCORES = st.dictionaries(st.sampled_from(sorted(BLENDS)), st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1)
POOLS = st.lists(st.tuples(st.integers(0, 50), SCORES), max_size=12).map(
    lambda rows: [Candidate(f"n{number}", published_at, scores) for number, (published_at, scores) in enumerate(rows)]
)


def test_one_candidate_per_note_with_the_better_score() -> None:
    found = pool({"near": [Hit("a", 0.5, 7), Hit("a", 0.9, 7), Hit("b", math.nan, 8), Hit("b", 0.1, 8)], "index": [Hit("a", 2.0, 7)]})
    assert {c.note_id: c.scores for c in found} == {"a": {"near": 0.9, "index": 2.0}, "b": {"near": 0.1}}


def test_z_scores_weigh_channels_of_different_scale_alike() -> None:
    candidates = [
        Candidate("x", 1, {"near": 0.9, "index": 100.0}),
        Candidate("y", 1, {"near": 0.1, "index": 900.0}),
    ]
    ranked = merge(candidates, {"near": Blend(), "index": Blend()})
    assert [one.score for one in ranked] == [0.0, 0.0]
    assert [one.note_id for one in merge(candidates, {"near": Blend(1.5), "index": Blend()})] == ["x", "y"]
    assert [one.note_id for one in merge(candidates, {"near": Blend(), "index": Blend(1.5)})] == ["y", "x"]


def test_a_note_that_a_channel_did_not_propose_gets_its_lowest_score() -> None:
    candidates = [Candidate("high", 1, {"near": 0.9}), Candidate("low", 2, {"near": 0.2}), Candidate("absent", 1, {"fresh": 0.016})]
    ranked = {one.note_id: one.score for one in merge(candidates, {"near": Blend()})}
    assert ranked["absent"] == ranked["low"] < ranked["high"]


def test_no_shared_tag_counts_less_than_the_only_score_there_is() -> None:
    candidates = [Candidate("shares", 1, {"index": 2.0}), Candidate("shares not", 9, {"fresh": 0.016})]
    assert [one.note_id for one in merge(candidates, BLENDS)] == ["shares", "shares not"]


def test_recency_decides_between_notes_that_match_alike_only() -> None:
    candidates = [
        Candidate("newest", 9, {"fresh": 1 / 61, "near": 0.50}),
        Candidate("same match", 1, {"near": 0.50}),
        Candidate("better match", 1, {"near": 0.60}),
    ]
    assert [one.note_id for one in merge(candidates, BLENDS)] == ["better match", "newest", "same match"]


def test_rounding_noise_between_equal_notes_stays_noise() -> None:
    """Inner products of equal float32 vectors differ in the last digit; standardised alone they would be as far apart as best and worst."""
    candidates = [Candidate("new", 9, {"near": 0.72058442, "fresh": 1 / 61}), Candidate("old", 1, {"near": 0.72058448, "fresh": 1 / 62})]
    assert [one.note_id for one in merge(candidates, {"near": Blend(), "fresh": Blend(by_rank=True)})] == ["old", "new"]
    assert [one.note_id for one in merge(candidates, {"near": Blend(resolution=0.005), "fresh": Blend(by_rank=True)})] == ["new", "old"]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_sink(broken: float) -> None:
    candidates = [Candidate("broken", 9, {"near": broken}), Candidate("low", 1, {"near": 0.1}), Candidate("high", 1, {"near": 0.9})]
    ranked = merge(candidates, {"near": Blend()})
    assert ranked[0].note_id == "high"
    assert ranked[1].score == ranked[2].score
    assert [one.channels for one in ranked if one.note_id == "broken"] == [[]]


def test_ties_are_ordered_by_publication_then_id() -> None:
    candidates = [Candidate("b", 1, {"near": 0.3}), Candidate("a", 1, {"near": 0.3 + 1e-13}), Candidate("c", 2, {"near": 0.3})]
    ranked = merge(candidates, {"near": Blend()})
    assert [one.note_id for one in ranked] == ["c", "a", "b"]
    assert [one.channels[0].rank for one in ranked] == [1, 2, 3]


@given(POOLS, st.randoms(use_true_random=False))
def test_every_candidate_is_ranked_once_whatever_the_order(candidates: list[Candidate], rng: random.Random) -> None:
    ranked = merge(candidates, BLENDS)
    shuffled, names = list(candidates), list(BLENDS)
    rng.shuffle(shuffled)
    rng.shuffle(names)
    assert merge(shuffled, {name: BLENDS[name] for name in names}) == ranked
    assert sorted(one.note_id for one in ranked) == sorted(c.note_id for c in candidates)
    assert all(math.isfinite(one.score) for one in ranked)
    assert all(earlier.score >= later.score for earlier, later in pairwise(ranked))


@given(POOLS)
def test_ranks_within_a_channel_follow_its_scores(candidates: list[Candidate]) -> None:
    for name in BLENDS:
        parts = [part for one in merge(candidates, BLENDS) for part in one.channels if part.name == name]
        assert sorted(part.rank for part in parts) == list(range(1, len(parts) + 1))
        in_order = [part.score for part in sorted(parts, key=lambda part: part.rank)]
        assert all(a >= b - 1e-9 for a, b in pairwise(in_order))


@given(POOLS, st.floats(0.01, 100), st.floats(-5, 5))
def test_a_channels_unit_does_not_matter(candidates: list[Candidate], unit: float, offset: float) -> None:
    """Another scale or another zero point of a channel without an absolute zero changes no score."""
    near = {c.note_id: round(c.scores["near"], 3) for c in candidates if abs(c.scores.get("near", math.inf)) < 100}
    before = merge([Candidate(note_id, 0, {"near": score}) for note_id, score in near.items()], {"near": Blend()})
    after = merge([Candidate(note_id, 0, {"near": score * unit + offset}) for note_id, score in near.items()], {"near": Blend()})
    moved = {one.note_id: one.score for one in after}
    assert all(abs(one.score - moved[one.note_id]) < 1e-6 for one in before)
