"""Dual evaluation (section 3.3): every pair is judged in both orders, so that a judge's liking for a place cancels out.

Both verdicts count, the second negated. The paper's own counts say so: those of its appendix C add up to 39,884 verdicts for InternVL3-2B
on 19,984 notes, twice the notes less 84 that were invalid. An invalid verdict is dropped alone; the other one of its pair stays.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from offline.judge.arithmetic import POINTS, VERDICTS, Verdict
from offline.judge.roles import Comparison, Judge

NEGATED: dict[Verdict, Verdict] = dict(zip(VERDICTS, reversed(VERDICTS), strict=True))


class Dual(Struct, frozen=True):
    """Both verdicts on the answer A of one pair: ``first`` as it stood, ``second`` from the swapped order, negated. None: invalid."""

    first: Verdict | None
    second: Verdict | None

    @property
    def valid(self) -> list[Verdict]:
        """Those that count."""
        return [verdict for verdict in (self.first, self.second) if verdict is not None]


class Pooled(Struct, frozen=True):
    """Many pairs. ``counts``: valid verdicts by level. ``agree``: share of the pairs with two valid verdicts where both are the same, and
    ``agree_side``: where both prefer the same side or neither does. ``place``: how many points an answer gains by standing first, in
    [-2, 2]. None without such a pair."""

    counts: dict[Verdict, int]
    pairs: int
    invalid: int
    agree: float | None
    agree_side: float | None
    place: float | None


def judge_dual(judge: Judge, pairs: Sequence[Comparison]) -> list[Dual]:
    """Asks for both orders of each pair in one call."""
    swapped = [Comparison(pair.sample, pair.b, pair.a) for pair in pairs]
    verdicts = judge.compare([*pairs, *swapped])
    second = [None if verdict is None else NEGATED[verdict] for verdict in verdicts[len(pairs) :]]
    return [Dual(*both) for both in zip(verdicts[: len(pairs)], second, strict=True)]


def pool(duals: Iterable[Dual]) -> Pooled:
    """Counts the verdicts, and says how far they depend on the order."""
    counts: Counter[Verdict] = Counter()
    both: list[tuple[int, int]] = []
    pairs = 0
    for dual in duals:
        pairs += 1
        counts.update(dual.valid)
        if dual.first is not None and dual.second is not None:
            both.append((POINTS[dual.first], POINTS[dual.second]))
    n = len(both)
    return Pooled(
        counts={verdict: counts[verdict] for verdict in VERDICTS},
        pairs=pairs,
        invalid=2 * pairs - counts.total(),
        agree=sum(one == other for one, other in both) / n if n else None,
        agree_side=sum((one > 0) - (one < 0) == (other > 0) - (other < 0) for one, other in both) / n if n else None,
        place=sum(one - other for one, other in both) / (2 * n) if n else None,
    )
