"""What fetching and opening media give: the thing, or a reason that stays the same over releases."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct, field

from models.media_kind import MediaKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.frames import Frame

Reason = Literal[
    "unknown_scheme", "bad_uri", "scheme_not_enabled", "outside_roots", "not_found", "not_a_file", "host_not_allowed", "bucket_not_allowed",
    "private_address", "unreachable", "bad_redirect", "too_many_redirects", "http_status", "content_encoding", "incomplete", "timeout",
    "too_large", "wrong_kind", "cache_full", "too_many", "pixels", "duration", "frames", "undecodable", "decode_timeout",
    "decoder_crashed",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
RECOVERABLE: frozenset[Reason] = frozenset(
    ("not_found", "unreachable", "http_status", "incomplete", "timeout", "cache_full", "decode_timeout")
)
Field = Literal["images", "videos", "audios"]


class Fetched(Struct, frozen=True):
    """A medium on this machine's disk. ``kind`` by its content; ``bytes`` is its size. The file goes with its ``Fetcher``."""

    path: Path
    kind: MediaKind
    bytes: int


class Refused(Struct, frozen=True):
    """A medium that is not to be had. ``detail`` is for people and names no address or path of this machine."""

    reason: Reason
    detail: str

    @property
    def may_recover(self) -> bool:
        """Whether a later attempt can turn out better with the same settings and the same medium."""
        return self.reason in RECOVERABLE


class Refusal(Exception):
    """``Refused`` on its way up."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.refused = Refused(reason, detail)


class NoteImage(Struct, frozen=True):
    """``index`` in the note's ``images``; ``image`` RGB, uint8, (height, width, 3)."""

    index: int
    image: "NDArray[np.uint8]"


class NoteFrame(Struct, frozen=True):
    """``index`` in the note's ``videos``."""

    index: int
    frame: "Frame"


class NoteFile(Struct, frozen=True):
    """``index`` in the note's ``audios`` or ``videos``; ``path`` lasts as long as the ``Fetcher``."""

    index: int
    path: Path


class NoteSound(Struct, frozen=True):
    """``index`` in the note's ``audios`` or ``videos``, by ``source``; ``samples`` as ``models.roles.Transcriber`` takes them."""

    source: Literal["audio", "video"]
    index: int
    samples: "NDArray[np.float32]"


class Missing(Struct, frozen=True):
    """One medium that a note has to do without, or only has in part."""

    field: Field
    index: int
    reason: str
    detail: str
    may_recover: bool

    @property
    def line(self) -> str:
        """For ``degraded``: the kind, what happened, which one."""
        return f"{self.field[:-1]}: {self.reason} ({self.field}[{self.index}]: {self.detail})"


class Media(Struct, frozen=True):
    """A note's media as far as they can be had: ``images`` and ``frames`` together at most the image budget, in the note's order.
    ``audios`` and ``videos`` are files, ``sounds`` what can be heard in them. ``missing`` accounts for all that was refused or cut."""

    images: list[NoteImage] = field(default_factory=list)
    frames: list[NoteFrame] = field(default_factory=list)
    audios: list[NoteFile] = field(default_factory=list)
    videos: list[NoteFile] = field(default_factory=list)
    sounds: list[NoteSound] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    @property
    def degraded(self) -> list[str]:
        """``missing`` as lines for ``NoteTagged.degraded``."""
        return [item.line for item in self.missing]

    @property
    def may_recover(self) -> bool:
        """Whether tagging the note again later can give it more."""
        return any(item.may_recover for item in self.missing)
