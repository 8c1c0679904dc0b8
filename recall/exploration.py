"""Exploration: every new note is due a number of impressions among readers whose tags match, whatever its rank.

A query that serves gives its last places (``exploration_slots``) to new notes that share tags with the profile and have impressions left:
of the 50 that match best, those that were shown least come first, so that the guarantee is spread. A note that made it into the answer by
itself is not explored. Grants go through ``recall/exploration_budget.py``; a query that only looks spends and shows nothing.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from recall.channels import CHANNELS, Context
from recall.merge import Candidate
from recall.stores import ExplorationBudget, Hit, Window

NAME = "exploration"
LOOKED_AT = 50
ATTEMPTS_PER_SLOT = 5
MATCH = CHANNELS["tag_index_idf"]
GRACE_MS = 3_600_000
"""How much longer than its notes are new a counter is kept: clocks differ."""


class Rules(Struct, frozen=True):
    """``impressions``: due to each new note, 0 for no exploration; ``slots``: places of an answer; ``young_ms``: age up to which a note is
    new."""

    impressions: int
    slots: int
    young_ms: int


class Granted(NamedTuple):
    """A note that exploration puts into an answer. ``match``: the channel's score; ``left``: impressions of its budget still to grant."""

    note_id: str
    published_at: int
    match: float
    left: int


Passes = Callable[[Sequence[Candidate]], Sequence[Candidate]]
"""The filters of the query: what is left of candidates."""


def explore(
    context: Context, rules: Rules, budget: ExplorationBudget, now: int, *, k: int, passes: Passes, taken: Collection[str]
) -> list[Granted]:
    """Reserves at most ``rules.slots`` impressions for the reader, never more than half the answer, and says of which notes.

    Args:
        now: the moment of the query, epoch ms.
        k: length of the answer.
        taken: notes of the answer as it is without exploration.

    Raises:
        Transient: when Redis does not answer.
    """
    slots = min(rules.slots, k // 2)
    if not rules.impressions or not slots or not context.reader.liked:
        return []
    young = replace(context, window=Window(max(now - rules.young_ms, context.window.since or 0), context.window.until))
    hits = {hit.note_id: hit for hit in MATCH.candidates(young).hits if hit.note_id not in taken}
    matching = [Candidate(hit.note_id, hit.published_at, {NAME: hit.score}) for hit in hits.values()]
    best = [hits[one.note_id] for one in passes(matching)][:LOOKED_AT]
    spent = budget.spent([hit.note_id for hit in best])
    due = sorted((hit for hit in best if spent[hit.note_id] < rules.impressions), key=lambda hit: spent[hit.note_id])
    return _reserve(due[: slots * ATTEMPTS_PER_SLOT], slots, context.reader.user_id, rules, budget)


def _reserve(due: Sequence[Hit], slots: int, user_id: str, rules: Rules, budget: ExplorationBudget) -> list[Granted]:
    granted: list[Granted] = []
    for hit in due:
        left = budget.reserve(hit.note_id, user_id, rules.impressions, rules.young_ms + GRACE_MS)
        if left is not None:
            granted.append(Granted(hit.note_id, hit.published_at, hit.score, left))
        if len(granted) == slots:
            break
    return granted
