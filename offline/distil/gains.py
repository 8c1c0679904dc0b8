"""How much better one model's answers are than another's, by the same judge on the same notes. Paired: what makes a note hard for both does
not widen the interval."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct

from offline.judge.attributes import SCORES, ScoreLine
from offline.judge.lines import read_lines
from offline.judge.pairwise import VERDICTS_LINES, VerdictLine
from offline.judge.resamples import interval, resamples

Points = dict[str, dict[str, float]]
"""By model and note."""


class Gain(Struct, frozen=True):
    """Mean difference over ``notes``, those on which both have a valid judgement, and its 95 % bootstrap interval over them; None without
    any."""

    mean: float | None
    ci95: tuple[float, float] | None
    notes: int


def gains(directory: Path, before: str, after: str) -> dict[str, Gain]:
    """Of a directory that ``judge attributes`` and ``judge pairwise`` wrote: ``total`` of the attributes, and ``pairwise`` points."""
    totals, points = Points(), Points()
    for line in read_lines(directory / SCORES, ScoreLine):
        if line.scores is not None:
            totals.setdefault(line.model, {})[line.note_id] = line.scores.total
    for verdict in read_lines(directory / VERDICTS_LINES, VerdictLine):
        if verdict.points is not None:
            points.setdefault(verdict.model, {})[verdict.note_id] = verdict.points
    pairs = {"total": totals, "pairwise": points}
    return {name: gain(found.get(before, {}), found.get(after, {})) for name, found in pairs.items()}


def gain(before: Mapping[str, float], after: Mapping[str, float]) -> Gain:
    """Of two models' points by note."""
    both = sorted(before.keys() & after.keys())
    if not both:
        return Gain(None, None, 0)
    more = np.array([after[note] - before[note] for note in both])
    means = [drawn @ more / len(both) for drawn in resamples(len(both))]
    return Gain(float(more.mean()), interval(means), len(both))
