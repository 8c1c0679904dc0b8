"""An independent computation of training examples in plain Python: for every event what was known just before it, from the log alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.events import Interaction

DAY_MS = 86_400_000.0
ADDS = {"click": 1.0, "like": 2.0, "favorite": 3.0}
UNDOES = {"unlike": "like", "unfavorite": "favorite"}


class Known(NamedTuple):
    """What a reader's history was: (note, weight, time of the newest action), last touched first; and the tag scores."""

    history: list[tuple[str, float, int]]
    scores: dict[str, float]


def expected_examples(
    events: Iterable[Interaction], tags_of: Mapping[str, Sequence[str]], half_life_days: float = 30.0
) -> dict[str, Known]:
    """event id -> what was known before it; ``events`` in the order of their partitions, a repeated event id gives no second example."""
    standing: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    touched: dict[str, list[str]] = defaultdict(list)
    known: dict[str, Known] = {}
    for event in events:
        if event.event_id in known:
            continue
        mine, order, note, at = standing[event.user_id], touched[event.user_id], event.note_id, event.occurred_at
        known[event.event_id] = _known(mine, order, note, at, tags_of, half_life_days)
        if event.action == "impression":
            continue
        if note in order:
            order.remove(note)
        order.insert(0, note)
        if event.action in UNDOES:
            mine[:] = [one for one in mine if one[:2] != (note, UNDOES[event.action])]
        elif event.action in ADDS and (event.action == "click" or not any(one[:2] == (note, event.action) for one in mine)):
            mine.append((note, event.action, at))
    return known


def _known(
    mine: list[tuple[str, str, int]], order: list[str], note: str, at: int, tags_of: Mapping[str, Sequence[str]], half_life_days: float
) -> Known:
    weights: dict[str, float] = defaultdict(float)
    newest: dict[str, int] = defaultdict(int)
    scores: dict[str, float] = defaultdict(float)
    for acted, action, when in mine:
        if when > at or (acted == note and when == at):
            continue
        weight = ADDS[action] * 0.5 ** ((at - when) / (half_life_days * DAY_MS))
        weights[acted] += weight
        newest[acted] = max(newest[acted], when)
        for tag in tags_of.get(acted, ()):
            scores[tag] += weight
    return Known([(acted, weights[acted], newest[acted]) for acted in order if acted in weights], dict(scores))
