"""What Redis holds, as msgpack arrays (``array_like``: field order is the layout, so new fields go last with a default)."""

from typing import Literal

from msgspec import Raw, Struct, field, msgpack

from schemas.events import Tag

TOKEN_BYTES = 8
"""A note's value begins with a hash of its record: what a compare-and-set goes by."""
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

    @property
    def texts(self) -> list[str]:
        """The tags' texts, as stored."""
        return [tag.text for tag in self.tags]


class NoteGlance(Struct, frozen=True, gc=False):
    """What a query looks at of a ``NoteRecord``: the filters judge hundreds and show twenty, so all of a tag but its text stays packed
    until it is asked for, and is unpacked each time. ``texts``: of the tags, as stored."""

    author_id: str
    deleted: bool
    published_at: int
    category: str | None
    fingerprint: str
    texts: tuple[str, ...]
    packed_tags: bytes

    @property
    def tags(self) -> list[Tag]:
        """All of the tags."""
        return _unpack_tags(self.packed_tags)


class _Glanced(Struct, array_like=True, gc=False):
    """The head of a ``NoteRecord``."""

    note_id: str
    author_id: str
    occurred_at: int
    deleted: bool
    revision: int
    digest: bytes
    published_at: int
    category: str | None
    packed_tags: Raw
    fingerprint: str


class _Text(Struct, gc=False):
    """A tag, read for its text alone."""

    text: str


_unpack_tags = msgpack.Decoder(list[Tag]).decode
_unpack_texts = msgpack.Decoder(list[_Text]).decode
_unpack_glanced = msgpack.Decoder(_Glanced).decode


def unpack_glance(value: bytes) -> NoteGlance:
    """A glance at a record as Redis holds it, behind its token."""
    head = _unpack_glanced(memoryview(value)[TOKEN_BYTES:])
    packed = bytes(head.packed_tags)
    texts = tuple(tag.text for tag in _unpack_texts(packed))
    return NoteGlance(head.author_id, head.deleted, head.published_at, head.category, head.fingerprint, texts, packed)


class PendingAction(Struct, array_like=True, gc=False):
    """An action that will count once its note has tags. ``raw``, ``headers`` and the coordinates are the original event's, for the dead
    letter if it never counts. ``event``: hash of its event id, as in ``Profile.seen``; ``since``: the reader's stream time when it began to
    wait.
    """

    note_id: str
    action: str
    occurred_at: int
    source: str
    partition: int
    offset: int
    raw: bytes
    event: bytes
    since: int
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Touched(Struct, array_like=True, gc=False):
    """What a reader did with one note: facts with their times, from which scores are computed when they are asked for.

    ``tags``: msgpack array of the texts that the actions count for, None while the note has none yet. ``stamps``: actions that count each
    time (clicks), ``occurred_at * 8 + code``, in time order. ``like_tags``, ``favorite_tags``: only where they differ from ``tags`` because
    the note was tagged anew in between. ``folded``: the sum of stamps too many to keep, decayed to ``folded_at``. ``acted`` is False for a
    note that was only shown.
    """

    tags: bytes | None = None
    stamps: tuple[int, ...] = ()
    acted: bool = False
    liked_at: int | None = None
    favorited_at: int | None = None
    like_tags: bytes | None = None
    favorite_tags: bytes | None = None
    folded: float = 0.0
    folded_at: int = 0


class Profile(Struct, array_like=True, gc=False):
    """A reader's profile: facts by note, least recently touched first; ``models/profile.py`` has the arithmetic.

    ``newest``: latest ``occurred_at``, the reader's stream time. ``seen``: 8-byte hashes of the last 256 event ids, oldest first. What
    falls out of ``notes`` leaves its score in ``residue`` (units relative to ``landmark``, newest part at ``residue_at``) and a 4-byte hash
    in ``forgotten``. ``given_up``: hashes of the last 4,096 event ids whose action waited in vain, oldest first, each with what an undo
    would find it by.
    """

    newest: int = 0
    actions: int = 0
    seen: bytes = b""
    notes: dict[str, Touched] = field(default_factory=dict)
    pending: list[PendingAction] = field(default_factory=list)
    residue: dict[str, float] = field(default_factory=dict)
    landmark: int = 0
    residue_at: int = 0
    forgotten_notes: int = 0
    forgotten: bytes = b""
    given_up: dict[bytes, bytes] = field(default_factory=dict)


class ProfileHead(Struct, array_like=True, gc=False):
    """What the profile consumer needs of a record to append to it.

    ``applied``: ``source/partition`` -> last offset applied. ``waiting``: how many actions wait for tags. ``tail_length``: actions in the
    tail; ``settle_at``: the length at which they are settled.
    """

    applied: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    tail_length: int = 0
    settle_at: int = 64


class ProfileRecord(Struct, gc=False):
    """One reader (``Keys.profile``): a packed profile and the actions since, so that most writes only append. In Redis a list: token and
    packed head, ``settled``, then the pieces of the tail.

    ``settled``: the packed ``Profile``, empty for a new reader. ``tail``: packed actions (``models.profile.Fact``) that it does not hold.
    """

    head: ProfileHead = field(default_factory=ProfileHead)
    settled: bytes = b""
    tail: bytes = b""
