"""One ranking out of several channels, for one reader.

Scores that mean something within their channel become z-scores over this reader's candidates (measured better than ranks where one channel
is much better than another); recency has no such scale and enters by reciprocal rank, as a tie-breaker.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import add, attrgetter

from msgspec import Struct, field

from recall.stores import Hit

RANK_OFFSET = 60.0
DECIMALS = 9
SPREAD_NONE = 1e-12


class Candidate(Struct):
    """A note that some channel proposed. ``scores``: the channels' own scores, by channel name."""

    note_id: str
    published_at: int
    scores: dict[str, float] = field(default_factory=dict)


class Blend(Struct, frozen=True):
    """How a channel enters. ``by_rank``: by reciprocal rank instead of z-score. ``absent``: the score of a note that the channel did not
    propose, where that is known (no shared tag = 0); otherwise, and never above, the lowest score the channel gave. ``resolution``:
    the least spread, in the channel's unit, that scores are standardised by, so that rounding noise between equal notes stays noise."""

    weight: float = 1.0
    by_rank: bool = False
    absent: float | None = None
    resolution: float = 0.0


class ChannelScore(Struct, frozen=True):
    """A channel's part in a result: rank (1 = best) among the candidates left and the channel's own score."""

    name: str
    rank: int
    score: float


class Ranked(Struct, frozen=True):
    """A candidate with its merged score and the channels it came from."""

    note_id: str
    published_at: int
    score: float
    channels: list[ChannelScore]


def pool(found: Mapping[str, Iterable[Hit]]) -> list[Candidate]:
    """One candidate per note of all channels' hits; of a note a channel names twice the better finite score holds."""
    candidates: dict[str, Candidate] = {}
    for channel, hits in found.items():
        for hit in hits:
            candidate = candidates.get(hit.note_id)
            if candidate is None:
                candidates[hit.note_id] = Candidate(hit.note_id, hit.published_at, {channel: hit.score})
                continue
            held = candidate.scores.get(channel)
            if held is None or (math.isfinite(hit.score) and not held >= hit.score):
                candidate.scores[channel] = hit.score
    return list(candidates.values())


def merge(candidates: Sequence[Candidate], blends: Mapping[str, Blend]) -> list[Ranked]:
    """Ranks the candidates, best first.

    A score that is not finite counts as if the channel had not proposed the note. Scores are rounded to nine decimals; equal ones are
    ordered by publication, newest first, then by ``note_id``: the order of ``candidates`` and of ``blends`` changes nothing.
    """
    placed = sorted(candidates, key=lambda one: (-one.published_at, one.note_id))  # so that from here on of equals the first one leads
    totals = [0.0] * len(placed)
    parts: list[list[ChannelScore]] = [[] for _ in placed]
    orders = _best_first(placed, blends)
    for name in sorted(blends):
        blend, order = blends[name], orders[name]
        for rank, (_, place, score) in enumerate(order, start=1):
            parts[place].append(ChannelScore(name, rank, score))
        if blend.by_rank:
            for rank, (_, place, _) in enumerate(order, start=1):
                totals[place] += blend.weight * (1.0 / (RANK_OFFSET + rank))
        elif order:
            present, absent = _z_scores([one[-1] for one in order], len(placed), blend)
            amounts = [blend.weight * absent] * len(placed)
            for (_, place, _), amount in zip(order, present, strict=True):
                amounts[place] = blend.weight * amount
            totals = list(map(add, totals, amounts))
    ranked = [
        Ranked(candidate.note_id, candidate.published_at, round(total, DECIMALS), own)
        for candidate, total, own in zip(placed, totals, parts, strict=True)
    ]
    return sorted(ranked, key=attrgetter("score"), reverse=True)


Scored = tuple[float, int, float]
"""A channel's score negated and rounded, the place of the candidate, the score: what a channel's candidates are ordered by."""


def _best_first(placed: Sequence[Candidate], channels: Iterable[str]) -> dict[str, list[Scored]]:
    """By channel the candidates of which it gave a finite score."""
    orders: dict[str, list[Scored]] = {channel: [] for channel in channels}
    for place, candidate in enumerate(placed):
        for channel, score in candidate.scores.items():
            if channel in orders and math.isfinite(score):
                orders[channel].append((-round(score, DECIMALS), place, score))
    for order in orders.values():
        order.sort()
    return orders


def _z_scores(found: Sequence[float], count: int, blend: Blend) -> tuple[list[float], float]:
    """Standard scores of what a channel found, and of the candidates besides, among ``count`` in all; zeros when they do not differ."""
    largest = max(map(abs, found)) or 1.0
    lowest = min(found) if blend.absent is None else min(*found, blend.absent)
    values, others = [score / largest for score in found], count - len(found)
    mean = math.fsum(values + [lowest / largest] * others) / count
    present, absent = [value - mean for value in values], lowest / largest - mean
    spread = math.sqrt(math.fsum([value**2 for value in present] + [absent**2] * others) / count)
    if spread <= SPREAD_NONE:
        return [0.0] * len(found), 0.0
    unit = max(spread, blend.resolution / largest)
    return [value / unit for value in present], absent / unit
