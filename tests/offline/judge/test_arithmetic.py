"""The paper's own figures from its counts, and what holds for all counts and scores."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.judge.arithmetic import POINTS, VERDICTS, Question, align, align_judges, pairwise_score
from offline.judge.paper import CATEGORIES, paper_rows

PAPER = {
    "InternVL3-2B": (-1.380, 634, 2346, 550, 14071, 22283),
    "InternVL3.5-2B": (-1.310, 686, 2340, 1957, 13852, 21067),
    "Qwen3-VL-2B": (-1.657, 305, 931, 895, 7845, 29826),
    "Qwen3-VL-4B": (-0.637, 1608, 7913, 1889, 20285, 8087),
    "InternVL3-2B, SFT": (-0.292, 1147, 9581, 8073, 18453, 2508),
    "InternVL3.5-4B, SFT": (-0.181, 1026, 11187, 9022, 16721, 1854),
    "Qwen3-VL-4B, SFT": (-0.100, 990, 12294, 9877, 15137, 1558),
    "InternVL3.5-4B, distilled": (-0.057, 1459, 13199, 8435, 15123, 1628),
    "Qwen3-VL-4B, distilled": (-0.029, 1490, 13073, 9125, 14857, 1167),
}


@pytest.mark.parametrize("model", PAPER)
def test_pairwise_scores_of_the_papers_appendix_c(model):
    ps, *counts = PAPER[model]
    found = pairwise_score(dict(zip(VERDICTS, counts, strict=True)))
    assert round(found.ps, 3) == pytest.approx(ps, abs=0.0011)
    assert counts == [found.MB, found.B, found.T, found.W, found.MW]
    assert found.n == sum(counts)


def scored(judge, model, right, of):
    return [Question(judge, model, "ps", f"{model}{number}", 2.0 if number < right else -2.0, 1.5) for number in range(of)]


def test_the_papers_total_consistency_is_the_micro_average():
    """Table 3: 94 of 99, 97 of 100 and 96 of 100 answers make 95.99 %."""
    questions = scored("doubao", "Intern3", 94, 99) + scored("doubao", "Intern3.5", 97, 100) + scored("doubao", "Qwen3", 96, 100)
    found = align_judges(questions)["doubao"]
    assert [round(100 * found.models[model]["ps"].consistency, 2) for model in ("Intern3", "Intern3.5", "Qwen3")] == [94.95, 97.0, 96.0]
    assert round(100 * found.total["ps"].consistency, 2) == 95.99
    assert found.total["ps"].n == 299


counts = st.dictionaries(st.sampled_from(VERDICTS), st.integers(0, 50), min_size=1).filter(lambda of: sum(of.values()) > 0)


@given(counts)
def test_swapping_the_sides_negates_the_score(of):
    mirrored = dict(zip(VERDICTS, reversed(VERDICTS), strict=True))
    swapped = pairwise_score({mirrored[verdict]: count for verdict, count in of.items()})
    assert swapped.ps == -pairwise_score(of).ps
    assert -2 <= swapped.ps <= 2


@given(st.lists(st.sampled_from(VERDICTS), min_size=1))
def test_the_score_is_the_mean_of_the_points(verdicts):
    found = pairwise_score({verdict: verdicts.count(verdict) for verdict in VERDICTS})
    assert math.isclose(found.ps, sum(POINTS[verdict] for verdict in verdicts) / len(verdicts))


scores = st.integers(-8, 8).map(lambda quarters: quarters / 4)
questions = st.lists(st.builds(Question, st.just("j"), st.sampled_from("mn"), st.sampled_from("ab"), st.text(), scores, scores), min_size=1)


@given(questions, st.floats(0, 2), st.floats(0, 2))
def test_what_holds_of_every_alignment(of, one, other):
    low, high = align(of, min(one, other)), align(of, max(one, other))
    assert low.exact <= low.consistency <= high.consistency <= 1
    assert low.exact <= low.sign
    assert 0 <= low.mae == high.mae <= 4
    assert align(of, 4).consistency == 1
    assert (low.mae == 0) == (low.exact == 1)


@given(questions)
def test_the_total_weighs_models_by_their_questions(of):
    found = align_judges(of)["j"]
    for metric, total in found.total.items():
        parts = [metrics[metric] for metrics in found.models.values() if metric in metrics]
        assert total.n == sum(part.n for part in parts)
        assert math.isclose(total.mae, sum(part.mae * part.n for part in parts) / total.n, abs_tol=1e-12)
        assert math.isclose(total.consistency, sum(part.consistency * part.n for part in parts) / total.n)


def test_a_difference_of_exactly_the_tolerance_is_consistent():
    one = [Question("j", "m", "bas", "i", 0.3, 0.1 + 0.2 + 1.0)]
    assert (align(one).consistency, align(one, 0.99).consistency) == (1.0, 0.0)


def test_nothing_has_no_score():
    with pytest.raises(ValueError, match="no verdict"):
        pairwise_score({})
    with pytest.raises(ValueError, match="no question"):
        align([])


def test_the_papers_rows_beside_ours_agree_with_themselves():
    rows = paper_rows()
    assert len(rows) == 14
    for row in rows:
        counts = dict(zip(VERDICTS, (row.MB, row.B, row.T, row.W, row.MW), strict=True))
        assert pairwise_score(counts).ps == pytest.approx(row.ps, abs=0.0016), row.name
        assert row.truth + row.coverage + row.importance == pytest.approx(row.total, abs=0.006), row.name
        assert tuple(row.categories) == CATEGORIES
