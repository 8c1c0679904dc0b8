"""What the learned parts promise, whichever way they are built."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from schemas.events import Category, EvidenceSource, NoteEvent, Tag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NoteTags(Struct, frozen=True):
    """A tagger's answer for one note. ``degraded`` names what it had to do without (``video: refused, too large``); ``may_recover``:
    whether tagging the note again later can give more."""

    category: Category | None
    tags: list[Tag]
    language: str | None = None
    degraded: list[str] = field(default_factory=list)
    may_recover: bool = False


class SeenImage(Struct, frozen=True):
    """A picture of a note as a tagger sees it. ``pixels``: RGB, uint8, (height, width, 3). ``source``: ``image`` or ``video``; ``position``
    as in ``schemas.events.Evidence``: index of the image, or milliseconds in the video."""

    pixels: "NDArray[np.uint8]"
    source: EvidenceSource
    position: int


class Utterance(Struct, frozen=True):
    """What was said in one stretch of sound. ``start_ms``, ``end_ms``: in the medium. ``language``, ``emotion`` and ``events`` as the
    model names them (``zh``, ``HAPPY``, ``Speech``), None and empty where it does not tell."""

    text: str
    start_ms: int
    end_ms: int
    language: str | None = None
    emotion: str | None = None
    events: list[str] = field(default_factory=list)


class Spoken(Struct, frozen=True):
    """An utterance of a note's medium. ``source``: ``audio``, or ``video`` for a video's own sound; ``index`` in that list of the note."""

    utterance: Utterance
    source: EvidenceSource
    index: int


class NoteMedia(Struct, frozen=True):
    """A note's media as a tagger takes them, opened and within the image budget, in the note's order. ``degraded`` names what could not
    be had; ``may_recover``: whether tagging the note again later can give more."""

    images: list[SeenImage] = field(default_factory=list)
    speech: list[Spoken] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    may_recover: bool = False


class Transcriber(Protocol):
    """Turns sound into text. ``version`` changes with anything that changes texts."""

    name: str
    version: str

    def transcribe(self, sounds: Sequence["NDArray[np.float32]"]) -> list[list[Utterance]]:
        """The utterances of each sound, in order of time. A sound is mono, 16,000 samples a second, in [-1, 1], of any length; one
        without speech gives an empty list. The same sound gives the same text whatever else is in the call."""
        ...


class Tagger(Protocol):
    """Turns notes into ranked tags. ``name`` says which implementation; ``version`` changes with anything that changes tags. It ``sees``
    images and frames, it ``hears`` speech: media that it can make nothing of are not opened for it."""

    name: str
    version: str
    sees: bool
    hears: bool

    def tag(self, notes: Sequence[NoteEvent], media: Sequence[NoteMedia] | None = None) -> list[NoteTags]:
        """One answer per note, in order; the same note gives the same tags whatever else is in the batch. Deleted notes get no tags.

        Args:
            notes: what was published.
            media: of each note; None where none were opened. What they lack is named in the answer's ``degraded`` too, and their
                ``may_recover`` is the answer's.

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
    """A note in a reader's history: what the actions on it weigh at the moment asked about, and its tags by rank. Without their
    confidences, which profiles do not keep: in a note that a space was not trained on all tags count alike."""

    note_id: str
    weight: float
    tags: Sequence[str]


class Space(Protocol):
    """A learned pair of maps, of notes and of readers, into one vector space, whose inner product says how much a reader wants a note.
    ``name`` is the recall channel's (``two_tower``, ``linear``); ``version`` changes with anything that changes vectors."""

    name: str
    dimension: int
    version: str

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> "NDArray[np.float32]":
        """Vectors of notes given by their tags, by rank; shape (len(tags), dimension). A row never depends on the other notes of the
        call; a note without tags gets 0.

        Args:
            confidences: of each note's tags, in [0, 1]; all 1 where None.
        """
        ...

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> "NDArray[np.float32]":
        """Vectors of readers given by the notes they acted on; shape (len(histories), dimension). A reader without any gets 0."""
        ...
