"""The same profile update for the peers: 8 tag scores by forward decay, like state, watermark per partition. Standard library only, as it
also runs in an environment without ours. Left out, in the peers' favour: event ids, undo, waiting actions, bounds, compare-and-set."""

from typing import Any

HALF_LIFE_MS = 30 * 86_400_000.0
LANDMARK_MS = 1_700_000_000_000
WEIGHTS = {"click": 1.0, "like": 2.0, "favorite": 3.0}


def apply_event(
    record: dict[str, Any] | None, event: Any, tags: dict[str, list[str]], partition: int, offset: int
) -> dict[str, Any] | None:
    """The reader's record after an event, None if it was applied before."""
    if not record:
        record = {"scores": {}, "held": {}, "applied": {}}
    place = str(partition)
    applied = record["applied"]
    if offset <= applied.get(place, -1):
        return None
    applied[place] = offset
    action, note_id = event.action, event.note_id
    if action != "click":
        held = record["held"].setdefault(note_id, {})
        if action in held:
            return record
        held[action] = event.occurred_at
    units = WEIGHTS[action] * 2.0 ** ((event.occurred_at - LANDMARK_MS) / HALF_LIFE_MS)
    scores = record["scores"]
    for text in tags[note_id]:
        scores[text] = scores.get(text, 0.0) + units
    return record
