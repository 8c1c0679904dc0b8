"""Diversity: maximal marginal relevance (Carbonell and Goldstein 1998) over what notes carry: tags, category and author.

    next = argmax over the rest of  lambda x relevance(d) - (1 - lambda) x max over the chosen s of similarity(d, s)

Relevance is the merged score, brought to 0..1 over the notes looked at; similarity is the Jaccard overlap of the notes' sets, in
which category and author count as one more tag each.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recall.merge import Ranked
from recall.stores import Glance

PLACES_MAX = 100
LOOKED_AT = 4
Floats = NDArray[np.float64]


def diversify(ranked: Sequence[Ranked], records: Mapping[str, Glance], k: int, trade: float) -> list[Ranked]:
    """The ranking with its first ``k`` places (at most 100) chosen anew among the first 4 x ``k``; what is left follows in its order.

    Args:
        ranked: best first.
        trade: lambda, 0 to 1; 1 changes nothing. The first note always stays first.
    """
    places = min(k, PLACES_MAX)
    pool = list(ranked[: LOOKED_AT * places])
    if trade >= 1.0 or not pool:
        return list(ranked)
    pool.sort(key=lambda one: (-one.score, -one.published_at, one.note_id))
    chosen = marginal(np.array([one.score for one in pool]), [carried(records.get(one.note_id)) for one in pool], places, trade)
    rest = sorted(set(range(len(pool))) - set(chosen))
    return [*(pool[place] for place in (*chosen, *rest)), *ranked[len(pool) :]]


def carried(record: Glance | None) -> list[tuple[str, str]]:
    """What a note's set holds; nothing where the note is not known."""
    if record is None:
        return []
    found = [("tag", tag.text) for tag in record.tags]
    found += [("category", record.category)] if record.category else []
    return [*found, ("author", record.author_id)] if record.author_id else found


def marginal(scores: Floats, sets: Sequence[Sequence[tuple[str, str]]], count: int, trade: float) -> list[int]:
    """Places of the ``count`` notes chosen, in the order of choice; of equal ones the earlier place.

    Args:
        scores: shape (notes,), highest first.
        sets: what each note carries.
    """
    spread = scores[0] - scores[-1]
    relevance = (scores - scores[-1]) / spread if spread > 0 else np.ones(len(scores))
    members, sizes, kinds = _members(sets)
    nearest = np.zeros(len(scores))
    left = np.ones(len(scores), np.bool_)
    chosen: list[int] = []
    for _ in range(min(count, len(scores))):
        value = trade * relevance - (1.0 - trade) * nearest
        best = int(np.argmax(np.where(left, value, -np.inf))) if chosen else 0
        chosen.append(best)
        left[best] = False
        marked = np.zeros(kinds + 1)
        marked[members[best]] = 1.0
        marked[kinds] = 0.0
        shared = marked[members].sum(axis=1)
        nearest = np.maximum(nearest, shared / np.maximum(sizes + sizes[best] - shared, 1.0))
    return chosen


def _members(sets: Sequence[Sequence[tuple[str, str]]]) -> tuple[NDArray[np.int64], Floats, int]:
    """Sets as rows of numbers, short ones filled up with the number of kinds; their sizes; how many kinds there are."""
    numbers: dict[tuple[str, str], int] = {}
    rows = [sorted({numbers.setdefault(one, len(numbers)) for one in each}) for each in sets]
    sizes = np.array([len(row) for row in rows])
    members = np.full((len(rows), int(sizes.max(initial=1)) or 1), len(numbers), np.int64)
    for number, row in enumerate(rows):
        members[number, : len(row)] = row
    return members, sizes.astype(np.float64), len(numbers)
