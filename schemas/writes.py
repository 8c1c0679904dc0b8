"""What handlers return. Handlers decide, the engine applies: a test compares a list of these.

Order of application: publishes and dead letters first (flushed), then the stores, then the commit.
"""

from typing import Any

from msgspec import Struct, field

from schemas.events import NoteTagged, TrainingExample
from schemas.records import Message, Received
from schemas.stored import NoteRecord, ProfileRecord


class Publish(Struct, frozen=True):
    """Produce ``event`` to ``topic`` under ``key``."""

    topic: str
    key: str
    event: NoteTagged | TrainingExample


class GiveUp(Struct, frozen=True):
    """Send an event to the dead letters of its source topic. ``message`` carries the original bytes and coordinates."""

    message: Message
    reason: str
    detail: str


DEGRADED = "degraded"
"""The reason of a dead letter whose event was handled all the same, as well as it could be then."""


class KeepForUpgrade(Struct, frozen=True):
    """Keep a copy of a handled event among the dead letters of its source topic, reason ``degraded``, because it may come out better when
    handled again. ``detail`` says what it had to do without."""

    message: Message
    detail: str


class Skip(Struct, frozen=True):
    """Nothing to write, and why: ``applied`` (offset at or below the recorded one, or a repeated event id), ``stale`` (older event)."""

    reason: str
    count: int = 1


class PutNote(Struct, frozen=True):
    """Store a note's record and its place in the tag index; ``previous`` is the record it was decided against."""

    record: NoteRecord
    previous: NoteRecord | None = None


TAG_SPACE = "tag"
"""The space of the tag encoder's vectors, which every bundle has; the others are its learned spaces, by name."""


class PutVector(Struct, frozen=True):
    """Upsert a note's vector (float32, shape (dimension,)) into one space of the note index; in the tag encoder's it has unit length."""

    note_id: str
    author_id: str
    category: str | None
    published_at: int
    occurred_at: int
    vector: Any
    space: str = TAG_SPACE


class DropVector(Struct, frozen=True):
    """Remove a note's vector from one space of the note index; ``space`` None: from all."""

    note_id: str
    space: str | None = None


class PutProfile(Struct, frozen=True):
    """Store a reader's record if nobody wrote it since it was read. ``version`` is the token it was read at (b"" = absent).
    ``appended``: what goes to the end of its tail, then of ``record`` only the head is stored; None stores the whole record.
    When somebody did, the reader's part of the batch is handled again; ``events`` are that part where the batch does not know it."""

    user_id: str
    version: bytes
    record: ProfileRecord
    events: list[Received[Any]] = field(default_factory=list)
    appended: bytes | None = None


Write = Publish | GiveUp | KeepForUpgrade | Skip | PutNote | PutVector | DropVector | PutProfile
