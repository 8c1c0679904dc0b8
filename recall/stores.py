"""The roles of the online store. Each has a real implementation and an in-memory twin, and one contract suite runs on both.

| role | real | twin |
|---|---|---|
| ``Profiles`` | ``recall.profiles.RedisProfiles`` | ``recall.profiles.MemoryProfiles`` |
| ``Notes`` | ``recall.notes.RedisNotes`` | ``recall.memory_notes.MemoryNotes`` |
| ``NoteTags`` | ``recall.note_tags.RedisNoteTags`` | ``recall.note_tags.StoredNoteTags`` over ``MemoryNotes`` |
| ``NoteIndex`` | ``recall.note_index.MilvusNoteIndex`` | ``recall.memory_index.MemoryNoteIndex`` |
| ``ExplorationBudget`` | ``recall.exploration_budget.RedisExplorationBudget`` | ``recall.exploration_budget.MemoryExplorationBudget`` |

Every method raises ``Transient`` when its server does not answer within the timeout.
"""

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from schemas.events import Tag
from schemas.stored import NoteRecord, ProfileHead, ProfileRecord
from schemas.writes import TAG_SPACE, DropVector, PutNote, PutProfile, PutVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[np.float32]"
ALL = "*"
"""The category that lists every note."""


class Held(NamedTuple):
    """A reader's record with the version token it was read at; b"" where the reader is unknown."""

    version: bytes
    record: ProfileRecord


class HeldHead(NamedTuple):
    """The head of a reader's record with the version token it was read at; b"" where the reader is unknown."""

    version: bytes
    head: ProfileHead


class Hit(NamedTuple):
    """One candidate note. ``score`` is the channel's own: inner product, sum of tag scores or epoch ms."""

    note_id: str
    score: float
    published_at: int


class Look(NamedTuple):
    """What to read in one round trip. ``tags``: whose lists; ``counted``: tags whose numbers of notes; ``categories``: whose newest notes,
    ``*`` for all; ``notes``: whose records."""

    tags: Sequence[str] = ()
    counted: Sequence[str] = ()
    categories: Sequence[str] = ()
    notes: Sequence[str] = ()


class TagCounts(NamedTuple):
    """How many notes there are, and how many of them carry each tag."""

    notes: int
    tagged: dict[str, int]


class Listed(Protocol):
    """The lists of tags, as read: of each the newest notes within a window, as many as a limit let through."""

    @property
    def cut(self) -> bool:
        """The limit cut some tag's list, so a sum may be too low."""
        ...

    def sums(self, weights: Mapping[str, float], best: int) -> dict[str, float]:
        """Notes by the sum of the weights of the tags that list them, ``weights`` in its order: the ``best`` highest, with all that
        equal the last of them."""
        ...


class NoLists:
    """``Listed`` of no tags."""

    cut = False

    def sums(self, weights: Mapping[str, float], best: int) -> dict[str, float]:
        """See ``Listed``."""
        return {}


class Looked(NamedTuple):
    """What a ``Look`` found. ``newest``: by category, newest first; ``notes``: the known ones."""

    listed: Listed
    counts: TagCounts
    newest: dict[str, list[str]]
    notes: "Mapping[str, Glance]"


NOTHING_SEEN = Looked(NoLists(), TagCounts(0, {}), {}, {})


class Window(NamedTuple):
    """Publication times a query accepts, epoch ms, both ends included; None is open."""

    since: int | None = None
    until: int | None = None


class Glance(Protocol):
    """A note as a query sees it; ``schemas.stored.NoteRecord`` and ``NoteGlance`` say what the fields mean."""

    @property
    def author_id(self) -> str: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def published_at(self) -> int: ...
    @property
    def category(self) -> str | None: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def tags(self) -> Sequence[Tag]: ...
    @property
    def texts(self) -> Sequence[str]: ...


class Profiles(Protocol):
    """Reader records, written by compare-and-set."""

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        """Records by reader, one entry per id asked for (a new empty record where unknown). The caller owns what it gets."""
        ...

    def heads(self, user_ids: Sequence[str]) -> dict[str, HeldHead]:
        """Like ``read``, only the heads."""
        ...

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        """Stores the records whose version still holds; returns those refused because somebody else wrote in between."""
        ...


class Notes(Protocol):
    """Note records, the tag inverted index and the recency lists."""

    def get(self, note_ids: Sequence[str]) -> dict[str, NoteRecord]:
        """Records of the notes that are known; deleted ones have ``deleted`` set and no tags."""
        ...

    def put(self, puts: Sequence[PutNote]) -> list[PutNote]:
        """Stores records with their index entries; an older event never overwrites a newer one. Returns the stale ones."""
        ...

    def stamp(self, versions: Mapping[str, int], stage: str, at: int) -> None:
        """Notes the time (epoch ms) at which notes first reached a stage of their way. ``versions`` is note_id -> ``occurred_at`` of
        the event that reached it; a note that is unknown or has moved on to another event is left out."""
        ...

    def look(self, look: Look, window: Window = ..., limit: int = ...) -> Looked:
        """Reads all of a ``Look`` in one round trip. Of each list the newest ``limit`` notes within the window; notes count that were
        published up to its end."""
        ...

    def tag_counts(self, texts: Sequence[str], until: int | None = None) -> TagCounts:
        """Document frequencies in the index, of the notes published up to ``until`` (epoch ms, None for all); one round trip."""
        ...

    def recent(self, categories: Sequence[str], window: Window, limit: int) -> list[Hit]:
        """Newest notes of the categories (``["*"]`` for all) within the window, newest first."""
        ...


class NoteTags(Protocol):
    """Tags of notes for the profile job."""

    @property
    def known(self) -> Container[str]:
        """Notes that ``packed`` found before, as many as are remembered; a note once found stays."""
        ...

    def packed(self, note_ids: Sequence[str]) -> dict[str, bytes]:
        """``models.profile.pack_tags`` of the notes that are known, deleted ones included; ``note_ids`` are distinct."""
        ...


class NoteIndex(Protocol):
    """Nearest notes by inner product, in each space of a bundle; the tag encoder's holds unit vectors (cosine)."""

    def upsert(self, puts: Sequence[PutVector]) -> None:
        """Adds or replaces vectors; of several for one note and space in a call the last wins."""
        ...

    def drop(self, drops: Sequence[DropVector]) -> None:
        """Removes notes; unknown ones are no error."""
        ...

    def search(self, vectors: Vector, k: int, window: Window, space: str = TAG_SPACE) -> list[list[Hit]]:
        """For each row of ``vectors`` (n, dimension of the space) the ``k`` nearest notes within the window, best first."""
        ...

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        """Those of the notes that a search in every space can find by now, each with the ``occurred_at`` of the event whose vectors it
        finds, the earliest where they differ."""
        ...

    def vectors(self, note_ids: Sequence[str], space: str = TAG_SPACE) -> "dict[str, Vector]":
        """The vectors that are held, by note; shape (dimension of the space,)."""
        ...

    def expire(self, before: int) -> int:
        """Removes from the fresh-notes collection what was published before; returns how many. What a search in the fresh collection
        relies on (younger than ``fresh_hours``) always stays."""
        ...


class ExplorationBudget(Protocol):
    """Impressions that exploration granted to new notes."""

    def spent(self, note_ids: Sequence[str]) -> dict[str, int]:
        """Impressions granted so far, by note."""
        ...

    def reserve(self, note_id: str, user_id: str, impressions: int, keep_ms: int) -> int | None:
        """Grants one of a note's ``impressions`` to a reader; atomic.

        Args:
            keep_ms: how long from now the count is kept; every grant extends it.

        Returns:
            How many are left after it; None when all are granted, or this reader has one already.
        """
        ...


Scores = Mapping[str, float]
