"""What Redis holds, as msgpack arrays (``array_like``: field order is the layout, so new fields go last with a default)."""

from typing import Any, Literal

from msgspec import Struct, field

from schemas.events import Tag

Place = tuple[Literal["tag", "recent"], str]
"""Where an index lists a note: under a tag's text, or among the recent notes of a category (``*`` for all)."""


class NoteRecord(Struct, array_like=True, omit_defaults=False):
    """The stored state of one note (``Keys.note``). ``order`` decides which event wins; ``digest`` tells a redelivery from a rival.

    ``retired``: places of earlier events that the index must still be cleared of; a crash in between leaves them here for the redelivery.
    """

    note_id: str
    author_id: str
    occurred_at: int
    deleted: bool
    revision: int
    digest: bytes
    published_at: int
    category: str | None
    tags: list[Tag]
    fingerprint: str
    tagger: str
    degraded: list[str]
    stages: dict[str, int]
    retired: list[Place] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, bool, int]:
        """Compares events of one note: later event time wins, a deletion wins a tie, then the higher revision."""
        return (self.occurred_at, self.deleted, self.revision)


class PendingAction(Struct, array_like=True, gc=False):
    """An action on a note that has no tags yet; ``raw`` is the original event's bytes, for the dead letter if it never counts."""

    note_id: str
    action: str
    occurred_at: int
    source: str
    partition: int
    offset: int
    raw: bytes


class ProfileRecord(Struct, array_like=True):
    """One reader (``Keys.profile``). Scores are in forward-decayed units relative to ``landmark`` (arithmetic: ``models/profile.py``).

    ``notes``: note_id -> ``[touched_at, liked_at, favorited_at, click_times, like_tags, favorite_tags]``, least recently touched first;
    ``seen``: hashes of the last 256 event ids, oldest first; ``applied``: ``source/partition`` -> last offset applied.
    """

    landmark: int
    newest: int
    actions: int
    scores: dict[str, float] = field(default_factory=dict)
    notes: dict[str, list[Any]] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    applied: dict[str, int] = field(default_factory=dict)
    pending: list[PendingAction] = field(default_factory=list)
    forgotten_notes: int = 0
