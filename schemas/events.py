"""The event types. Start reading the project here.

``NoteEvent`` (topic note-events, key note_id) -> ``NoteTagged`` (topic note-tagged, key note_id) -> the stores;
``Interaction`` (topic interactions, key user_id) -> reader profiles, and a sample of them with what was known then -> ``TrainingExample``
(topic training-examples, key user_id). Times are epoch milliseconds, UTC; ``occurred_at`` is event time.
Unknown fields are ignored, missing required ones are refused with their path (``schemas/codec.py``).
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

ID_MAX_BYTES = 256
TEXT_MAX_BYTES = 1_000_000
EVENT_MAX_BYTES = 4_000_000

Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX_BYTES, description="non-empty UTF-8 of at most 256 bytes; any characters")]
Millis = Annotated[int, Meta(ge=0, lt=253_402_300_800_000, description="epoch milliseconds, UTC")]
Category = Literal[
    "shoes", "dressing", "sports", "beauty", "digit", "fitness", "home", "toys", "food", "lifestyle", "entertainment",
    "education", "travel", "media", "dance", "game", "pets", "arts",
]  # fmt: skip
CATEGORIES: tuple[Category, ...] = Category.__args__  # type: ignore[attr-defined]
NoteEventType = Literal["note.published", "note.updated", "note.deleted"]
Action = Literal["impression", "click", "like", "favorite", "unlike", "unfavorite", "comment", "share", "view"]
EvidenceSource = Literal["title", "body", "product", "image", "video", "audio"]


class Product(Struct, frozen=True, kw_only=True, gc=False):
    """A product card attached to a note."""

    name: str
    brand: str = ""
    description: str = ""


class NoteEvent(Struct, frozen=True, kw_only=True):
    """A note was published, updated (the whole new state) or deleted. ``images``, ``videos``, ``audios`` are URIs, never trusted."""

    type: NoteEventType
    note_id: Id
    author_id: Id
    occurred_at: Millis
    published_at: Millis
    category: Category | None = None
    title: str = ""
    body: str = ""
    products: list[Product] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    audios: list[str] = field(default_factory=list)
    language: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


class Interaction(Struct, frozen=True, kw_only=True, gc=False):
    """A reader did something with a note. ``dwell_ms`` belongs to ``view``; ``channel`` is the recall channel that showed the note."""

    event_id: Id
    user_id: Id
    note_id: Id
    action: Action
    occurred_at: Millis
    channel: str | None = None
    experiment: dict[str, str] = field(default_factory=dict)
    dwell_ms: Annotated[int, Meta(ge=0)] | None = None
    request_id: str | None = None


class Evidence(Struct, frozen=True, kw_only=True, gc=False):
    """Where a tag comes from. ``position``: character offset in title, body or a product's text (name, brand, description joined by
    a space); with ``product`` the index of the card is ``position // 1_000_000``; index of the image; milliseconds in video and audio."""

    source: EvidenceSource
    position: Annotated[int, Meta(ge=0)] = 0


class Tag(Struct, frozen=True, kw_only=True):
    """One fine-grained tag. ``rank`` starts at 1 (most important); ``confidence`` in [0, 1]; texts are unique within a note."""

    text: Annotated[str, Meta(min_length=1)]
    dimension: str
    rank: Annotated[int, Meta(ge=1)]
    confidence: Annotated[float, Meta(ge=0.0, le=1.0)]
    evidence: list[Evidence] = field(default_factory=list)


class NoteTagged(Struct, frozen=True, kw_only=True):
    """The tagger's answer for one note event, all that the index needs. A deletion travels the same way, so order per note is kept.

    ``stages`` holds epoch ms by stage name (``published``, ``received``, ``tagged``); ``degraded`` names what the tagger had to do
    without; ``revision`` rises when the same note event is tagged again (an upgrade after degradation).
    """

    note_id: Id
    author_id: Id
    occurred_at: Millis
    published_at: Millis
    bundle: str
    deleted: bool = False
    category: Category | None = None
    tags: list[Tag] = field(default_factory=list)
    language: str | None = None
    fingerprint: str = ""
    tagger: str = ""
    revision: Annotated[int, Meta(ge=0)] = 0
    degraded: list[str] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)


class TrainingExample(Struct, frozen=True, kw_only=True):
    """An interaction with its reader's profile as it was just before: nothing here is later than ``occurred_at``.

    The first fields are the interaction's own. ``source``, ``partition``, ``offset``: where it stands in its topic (``topics.source_id``);
    copies of one interaction agree in them, and the copy published last counts. ``bundle``: whose reader record it was.

    ``history_notes``, ``history_weights``, ``history_at``: notes acted on, the one touched last first, what the actions on each weigh at
    ``occurred_at``, and when the newest of those actions was; three lists of one length. ``profile_tags``, ``profile_scores``: highest
    scored first. ``tags``: the note's by rank, None where none were known yet; ``tags_at``: event time of the note event they belong to.
    """

    event_id: Id
    user_id: Id
    note_id: Id
    action: Action
    occurred_at: Millis
    channel: str | None = None
    experiment: dict[str, str] = field(default_factory=dict)
    dwell_ms: Annotated[int, Meta(ge=0)] | None = None
    request_id: str | None = None
    source: str
    partition: Annotated[int, Meta(ge=0)]
    offset: Annotated[int, Meta(ge=0)]
    bundle: str = ""
    history_notes: list[str] = field(default_factory=list)
    history_weights: list[float] = field(default_factory=list)
    history_at: list[int] = field(default_factory=list)
    profile_tags: list[str] = field(default_factory=list)
    profile_scores: list[float] = field(default_factory=list)
    tags: list[str] | None = None
    tags_at: Millis | None = None


class DeadLetterMark(Struct, frozen=True, kw_only=True):
    """What was done with a dead letter (topic dead-letter-marks, key ``letter``, compacted); the letter itself stays as it is.

    ``letter``: topic as in ``topics.source_id``, partition and offset of the dead letter, joined by slashes. ``reason`` and ``attempts``
    are the letter's. ``to_topic`` (as in ``letter``), ``to_partition``, ``to_offset``: where it was sent again; while ``state`` is
    ``redriving``, the place at or after which the copy is, if it was sent. ``corrected``: with another value than its own. ``why``: an
    operator's words.
    """

    letter: Annotated[str, Meta(min_length=1)]
    state: Literal["redriving", "redriven", "dropped"]
    at: Millis
    reason: str
    attempts: Annotated[int, Meta(ge=1)]
    to_topic: str | None = None
    to_partition: Annotated[int, Meta(ge=0)] | None = None
    to_offset: Annotated[int, Meta(ge=0)] | None = None
    corrected: bool = False
    why: str = ""


Event = NoteEvent | Interaction | NoteTagged | TrainingExample | DeadLetterMark
