"""One ranking out of several channels, for one reader.

Scores that mean something within their channel become z-scores over this reader's candidates (measured better than ranks where one channel
is much better than another); recency has no such scale and enters by reciprocal rank, as a tie-breaker.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

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
            candidate = candidates.setdefault(hit.note_id, Candidate(hit.note_id, hit.published_at))
            held = candidate.scores.get(channel)
            if held is None or (math.isfinite(hit.score) and not held >= hit.score):
                candidate.scores[channel] = hit.score
    return list(candidates.values())


def merge(candidates: Sequence[Candidate], blends: Mapping[str, Blend]) -> list[Ranked]:
    """Ranks the candidates, best first.

    A score that is not finite counts as if the channel had not proposed the note. Scores are rounded to nine decimals; equal ones are
    ordered by publication, newest first, then by ``note_id``: the order of ``candidates`` and of ``blends`` changes nothing.
    """
    totals = dict.fromkeys((candidate.note_id for candidate in candidates), 0.0)
    parts: dict[str, list[ChannelScore]] = {note_id: [] for note_id in totals}
    for name in sorted(blends):
        blend = blends[name]
        scores = {c.note_id: score for c in candidates if (score := c.scores.get(name)) is not None and math.isfinite(score)}
        ranks = _ranks(candidates, scores)
        amounts = _reciprocals(ranks) if blend.by_rank else _z_scores(totals, scores, blend)
        for note_id, amount in amounts.items():
            totals[note_id] += blend.weight * amount
        for note_id, rank in ranks.items():
            parts[note_id].append(ChannelScore(name, rank, scores[note_id]))
    ranked = [
        Ranked(candidate.note_id, candidate.published_at, round(totals[candidate.note_id], DECIMALS), parts[candidate.note_id])
        for candidate in candidates
    ]
    return sorted(ranked, key=lambda one: (-one.score, -one.published_at, one.note_id))


def _ranks(candidates: Sequence[Candidate], scores: Mapping[str, float]) -> dict[str, int]:
    """Rank by note of the candidates that have a score, ties as in ``merge``."""
    scored = [(-round(scores[c.note_id], DECIMALS), -c.published_at, c.note_id) for c in candidates if c.note_id in scores]
    return {note_id: rank for rank, (_, _, note_id) in enumerate(sorted(scored), start=1)}


def _reciprocals(ranks: Mapping[str, int]) -> dict[str, float]:
    return {note_id: 1.0 / (RANK_OFFSET + rank) for note_id, rank in ranks.items()}


def _z_scores(note_ids: Collection[str], scores: Mapping[str, float], blend: Blend) -> dict[str, float]:
    """Standard scores over all candidates; none when they do not differ."""
    if not scores:
        return {}
    largest = max(map(abs, scores.values())) or 1.0
    lowest = min(scores.values()) if blend.absent is None else min(*scores.values(), blend.absent)
    values = [scores.get(note_id, lowest) / largest for note_id in note_ids]
    mean = math.fsum(values) / len(values)
    centred = [value - mean for value in values]
    spread = math.sqrt(math.fsum([one * one for one in centred]) / len(values))
    if spread <= SPREAD_NONE:
        return {}
    unit = max(spread, blend.resolution / largest)
    return {note_id: one / unit for note_id, one in zip(note_ids, centred, strict=True)}
