"""What the learned parts promise, whichever way they are built."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from schemas.events import Category, NoteEvent, Tag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NoteTags(Struct, frozen=True):
    """A tagger's answer for one note. ``degraded`` names what it had to do without (``video: refused, too large``)."""

    category: Category | None
    tags: list[Tag]
    language: str | None = None
    degraded: list[str] = field(default_factory=list)


class Tagger(Protocol):
    """Turns notes into ranked tags. ``name`` says which implementation; ``version`` changes with anything that changes tags."""

    name: str
    version: str

    def tag(self, notes: Sequence[NoteEvent]) -> list[NoteTags]:
        """One answer per note, in order; the same note gives the same tags whatever else is in the batch. Deleted notes get no tags.

        Raises:
            PoisonBatch: when some note in the batch makes the model fail.
        """
        ...


class TagEncoder(Protocol):
    """Turns short texts into unit vectors. ``version`` changes with anything that changes vectors."""

    dimension: int
    version: str

    def encode(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Vectors of shape (len(texts), dimension), rows of length 1; a row never depends on the other texts of the call."""
        ...


class ActedNote(Struct, frozen=True):
    """A note in a reader's history: what the actions on it weigh at the moment asked about, and its tags by rank."""

    note_id: str
    weight: float
    tags: Sequence[str]


class Space(Protocol):
    """A learned pair of maps, of notes and of readers, into one vector space, whose inner product says how much a reader wants a note.
    ``name`` is the recall channel's (``two_tower``, ``linear``); ``version`` changes with anything that changes vectors."""

    name: str
    dimension: int
    version: str

    def notes(self, tags: Sequence[Sequence[str]]) -> "NDArray[np.float32]":
        """Vectors of notes given by their tags, by rank; shape (len(tags), dimension). A row never depends on the other notes of the
        call; a note without tags gets 0."""
        ...

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> "NDArray[np.float32]":
        """Vectors of readers given by the notes they acted on; shape (len(histories), dimension). A reader without any gets 0."""
        ...
