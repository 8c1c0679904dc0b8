"""Dual evaluation: both orders count, a liking for a place cancels out, invalid verdicts are dropped alone."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from offline.judge.arithmetic import POINTS, VERDICTS, Verdict, pairwise_score
from offline.judge.dual import NEGATED, Dual, judge_dual, pool
from offline.judge.roles import Answered, Attributes, Comparison
from offline.tag_data.samples import Told
from tests.offline.judge.oracle_world import SAMPLES, best


class Scripted:
    """Answers what it is told to, whatever it is asked, and keeps what that was."""

    name = version = "scripted"

    def __init__(self, verdicts: Sequence[Verdict | None]) -> None:
        self.verdicts = verdicts
        self.asked: Sequence[Comparison] = ()

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        raise NotImplementedError

    def compare(self, asked: Sequence[Comparison]) -> list[Verdict | None]:
        self.asked = asked
        return list(self.verdicts)


def pairs(count: int) -> list[Comparison]:
    return [Comparison(SAMPLES[at], best(SAMPLES[at]), [Told("x", "shoe_type", "body")]) for at in range(count)]


def test_the_second_order_is_swapped_and_its_verdict_negated() -> None:
    judge = Scripted(["A>>B", "A=B", "A<B", "A=B"])
    asked = pairs(2)
    assert judge_dual(judge, asked) == [Dual("A>>B", "A>B"), Dual("A=B", "A=B")]
    assert [(one.a, one.b) for one in judge.asked[2:]] == [(one.b, one.a) for one in asked]
    assert list(judge.asked[:2]) == asked


def test_a_judge_that_always_likes_the_first_scores_nothing() -> None:
    pooled = pool(judge_dual(Scripted(["A>B"] * 8), pairs(4)))
    assert pairwise_score(pooled.counts).ps == 0
    assert (pooled.agree, pooled.agree_side, pooled.place, pooled.invalid) == (0.0, 0.0, 1.0, 0)


def test_an_invalid_verdict_is_dropped_alone() -> None:
    pooled = pool([Dual("A>B", None), Dual(None, None), Dual("A>>B", "A>B")])
    assert pooled.counts == {"A>>B": 1, "A>B": 2, "A=B": 0, "A<B": 0, "A<<B": 0}
    assert (pooled.pairs, pooled.invalid, pooled.agree, pooled.agree_side, pooled.place) == (3, 3, 0.0, 1.0, 0.5)
    assert pool([Dual("A>B", None)]).agree is None


def test_the_papers_counts_are_twice_its_notes_less_the_invalid() -> None:
    """Appendix C, InternVL3-2B, against Table 1."""
    assert 2 * 19_984 - (634 + 2_346 + 550 + 14_071 + 22_283) == 84


verdicts = st.none() | st.sampled_from(VERDICTS)


@given(st.lists(st.builds(Dual, verdicts, verdicts)))
def test_what_holds_of_every_pool(duals: list[Dual]) -> None:
    pooled = pool(duals)
    assert sum(pooled.counts.values()) + pooled.invalid == 2 * len(duals) == 2 * pooled.pairs
    assert (pooled.agree or 0) <= (pooled.agree_side or 0) <= 1
    points = [POINTS[one] for dual in duals for one in dual.valid]
    if points:
        assert pairwise_score(pooled.counts).ps == sum(points) / len(points)
    turned = pool(Dual(dual.second and NEGATED[dual.second], dual.first and NEGATED[dual.first]) for dual in duals)
    assert (turned.agree, turned.place) == (pooled.agree, pooled.place)
