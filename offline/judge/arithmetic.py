"""The arithmetic of judging: five-level verdicts to a pairwise score, and a judge's scores against people's."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from msgspec import Struct

Verdict = Literal["A>>B", "A>B", "A=B", "A<B", "A<<B"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
POINTS: dict[Verdict, int] = dict(zip(VERDICTS, (2, 1, 0, -1, -2), strict=True))
"""What a verdict is worth (section 3.3). A is the model under test, B the reference."""


class PairwiseScore(Struct, frozen=True):
    """Verdicts on one model. ``ps``: mean of the points, in [-2, 2]. ``MB``, ``B``, ``T``, ``W``, ``MW``: how often much better, better,
    tied, worse, much worse than the reference."""

    ps: float
    MB: int
    B: int
    T: int
    W: int
    MW: int
    n: int


def pairwise_score(counts: Mapping[Verdict, int]) -> PairwiseScore:
    """The pairwise score of verdicts counted by level.

    Raises:
        ValueError: there is none.
    """
    n = sum(counts.values())
    if not n:
        raise ValueError("no verdict to score")
    total = sum(POINTS[verdict] * count for verdict, count in counts.items())
    much_better, better, tied, worse, much_worse = (counts.get(verdict, 0) for verdict in VERDICTS)
    return PairwiseScore(ps=total / n, MB=much_better, B=better, T=tied, W=worse, MW=much_worse, n=n)


class Question(NamedTuple):
    """One answer of one model that a judge and people scored under one metric. ``human``: the mean of the people's scores."""

    judge: str
    model: str
    metric: str
    item: str
    score: float
    human: float


class Alignment(Struct, frozen=True):
    """How far a judge agrees with people over ``n`` questions. ``mae``: mean absolute difference (appendix D, equation 1).
    ``consistency``: share that differs by no more than the tolerance (equation 2). ``exact``: share that does not differ.
    ``sign``: share where both prefer the same side or neither does. Shares in [0, 1]."""

    mae: float
    consistency: float
    exact: float
    sign: float
    n: int


def align(questions: Sequence[Question], tolerance: float = 1.0) -> Alignment:
    """Over all questions alike, so that of several models the total is the micro average.

    Raises:
        ValueError: there is none.
    """
    if not questions:
        raise ValueError("no question to compare")
    n, slack = len(questions), 1e-9  # .1 + .2 is not .3; a difference of exactly the tolerance counts
    differences = [abs(one.score - one.human) for one in questions]
    return Alignment(
        mae=math.fsum(differences) / n,
        consistency=sum(difference <= tolerance + slack for difference in differences) / n,
        exact=sum(difference <= slack for difference in differences) / n,
        sign=sum(_sign(one.score) == _sign(one.human) for one in questions) / n,
        n=n,
    )


class JudgeAlignment(Struct, frozen=True):
    """A judge's alignment by model and metric, and by metric over all models."""

    models: dict[str, dict[str, Alignment]]
    total: dict[str, Alignment]


def align_judges(questions: Iterable[Question], tolerance: float = 1.0) -> dict[str, JudgeAlignment]:
    """By judge, in the order in which judges, models and metrics come."""
    judges: dict[str, dict[str, dict[str, list[Question]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    totals: dict[str, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for one in questions:
        judges[one.judge][one.model][one.metric].append(one)
        totals[one.judge][one.metric].append(one)
    return {
        judge: JudgeAlignment(
            {model: {metric: align(of, tolerance) for metric, of in metrics.items()} for model, metrics in models.items()},
            {metric: align(of, tolerance) for metric, of in totals[judge].items()},
        )
        for judge, models in judges.items()
    }


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
