"""What a bundle should hold, computed anew from the topics for a few notes and readers: without stores, watermarks or batches.

The profile arithmetic is written out once more, one event after the other, so that it does not share its mistakes with the job's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from consumers.media.senses import Senses
from models.bundle import Learned
from models.pooling import note_vector
from recall.stores import Vector
from schemas.codec import decoder
from schemas.errors import InvalidEvent
from schemas.events import Interaction, NoteEvent, Tag
from schemas.records import Message
from schemas.settings import Settings
from schemas.writes import TAG_SPACE

E = TypeVar("E", NoteEvent, Interaction)
UNDOES = {"unlike": "like", "unfavorite": "favorite"}


class Expected(NamedTuple):
    """What a note's newest event comes to. ``vectors`` by space; none for a note without tags."""

    occurred_at: int
    deleted: bool
    tags: list[Tag]
    vectors: dict[str, Vector]


def events_in(messages: Sequence[Message], kind: type[E]) -> list[E]:
    """The valid events among records."""
    decode = decoder(kind)
    found: list[E] = []
    for message in messages:
        try:
            found.append(decode(message.value(), message.headers()))
        except InvalidEvent:
            continue
    return found


def expected_notes(events: Iterable[NoteEvent], made: Learned) -> dict[str, Expected]:
    """By note, from its newest event (a deletion wins a tie). Notes are left out whose tags depend on media, which may be others or gone
    by now, and all that an endpoint tagged, which promises nobody the same answer twice."""
    from models.endpoint_tagger import EndpointTagger

    if made.tagger.name == EndpointTagger.name:
        return {}
    senses = Senses(sees=made.tagger.sees, hears=made.tagger.hears and made.transcriber is not None)
    newest: dict[str, NoteEvent] = {}
    for event in events:
        held = newest.get(event.note_id)
        if held is None or _order(event) >= _order(held):
            newest[event.note_id] = event
    newest = {note_id: event for note_id, event in newest.items() if not senses.wants(event)}
    answers = made.tagger.tag(list(newest.values()))
    return {
        note_id: Expected(event.occurred_at, event.type == "note.deleted", answer.tags, _vectors(answer.tags, made))
        for (note_id, event), answer in zip(newest.items(), answers, strict=True)
    }


def _order(event: NoteEvent) -> tuple[int, bool]:
    return event.occurred_at, event.type == "note.deleted"


def _vectors(tags: Sequence[Tag], made: Learned) -> dict[str, Vector]:
    if not tags:
        return {}
    rows = made.encoder.encode([tag.text for tag in tags])
    vectors = {TAG_SPACE: note_vector(rows, [tag.confidence for tag in tags], [tag.rank for tag in tags])}
    ranked = sorted(tags, key=lambda tag: tag.rank)
    texts, confidences = [tag.text for tag in ranked], [tag.confidence for tag in ranked]
    return vectors | {name: np.asarray(space.notes([texts], [confidences])[0], np.float32) for name, space in made.spaces.items()}


def expected_scores(
    events: Iterable[Interaction], tags_of: Mapping[str, Collection[str]], as_of: int, settings: Settings
) -> dict[str, dict[str, float]]:
    """Reader -> tag -> score at ``as_of``. Events in the order of their partition; a note without entry in ``tags_of`` adds nothing."""
    weights = settings.action_weights()
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
            action, at, sign = UNDOES[action], undone, -1.0  # type: ignore[assignment]
        elif action in ("like", "favorite"):
            if (event.user_id, event.note_id, action) in standing:
                continue
            standing[event.user_id, event.note_id, action] = at
        half_lives = max(0, as_of - at) / settings.half_life_ms if settings.half_life_ms else 0.0
        for tag in tags_of.get(event.note_id, ()):
            scores[event.user_id][tag] += sign * weights.get(action, 0.0) * 0.5**half_lives
    return {user: {tag: score for tag, score in of.items() if abs(score) > 1e-9} for user, of in scores.items()}
