"""An independent computation of reader profiles: the arithmetic of the README in plain Python, one event after the other, no stores."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from schemas.events import Interaction

DAY_MS = 86_400_000.0
ADDS = {"click": 1.0, "like": 2.0, "favorite": 3.0}
UNDOES = {"unlike": "like", "unfavorite": "favorite"}


def expected_scores(
    events: Iterable[Interaction], tags_of: Mapping[str, Sequence[str]], as_of: int, half_life_days: float = 30.0
) -> dict[str, dict[str, float]]:
    """reader -> tag -> score at ``as_of``, with as many tags as there are."""
    scores: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    standing: dict[tuple[str, str, str], int] = {}
    known: set[tuple[str, str]] = set()
    for event in events:
        if (event.user_id, event.event_id) in known:
            continue
        known.add((event.user_id, event.event_id))
        action, at, sign = event.action, event.occurred_at, 1.0
        if action in UNDOES:
            undone = standing.pop((event.user_id, event.note_id, UNDOES[action]), None)
            if undone is None:
                continue
            action, at, sign = UNDOES[action], undone, -1.0
        elif action in ("like", "favorite"):
            key = (event.user_id, event.note_id, action)
            if key in standing:
                continue
            standing[key] = at
        added = sign * ADDS.get(action, 0.0) * 0.5 ** (max(0, as_of - at) / (half_life_days * DAY_MS))
        if added:
            for tag in tags_of.get(event.note_id, ()):
                scores[event.user_id][tag] += added
    return {user: {tag: score for tag, score in of.items() if abs(score) > 1e-9} for user, of in scores.items()}
