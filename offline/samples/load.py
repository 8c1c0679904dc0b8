"""The sample streams as events: moved in time so that the newest one happened just now, media as absolute ``file:`` URIs."""

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from schemas.events import Category, Interaction, NoteEvent

HERE = Path(__file__).parent
MEDIA_PREFIX = "media/"
SHOWCASE_READERS = ("u-runner-en", "u-beauty-zh")

S = TypeVar("S", bound=Struct)


class GoldTag(Struct, frozen=True):
    """A tag given by a human; ``dimension`` in plain words, not an id of the handbook."""

    text: str
    dimension: str


class Gold(Struct, frozen=True):
    """The human answer for one live note: its category, its language and its tags, in no order of importance."""

    note_id: str
    category: Category
    language: str
    tags: list[GoldTag]


def sample_notes() -> list[NoteEvent]:
    """The note events as written: fixed times, media as ``media/NAME``."""
    return _read("notes.jsonl", NoteEvent)


def load_notes(media_dir: Path, now_ms: int) -> list[NoteEvent]:
    """The note events in order of ``occurred_at``.

    Args:
        media_dir: where ``python -m offline.samples.render`` wrote the media.
        now_ms: epoch ms at which the newest event of both streams is put; distances between events stay as they are.
    """
    shift = now_ms - _newest()
    return [
        msgspec.structs.replace(
            note,
            occurred_at=note.occurred_at + shift,
            published_at=note.published_at + shift,
            images=[media_uri(media_dir, uri) for uri in note.images],
            videos=[media_uri(media_dir, uri) for uri in note.videos],
        )
        for note in sample_notes()
    ]


def load_interactions(now_ms: int) -> list[Interaction]:
    """The interactions in the order they are sent, on the same clock as ``load_notes`` with the same ``now_ms``."""
    shift = now_ms - _newest()
    return [msgspec.structs.replace(event, occurred_at=event.occurred_at + shift) for event in _read("interactions.jsonl", Interaction)]


def load_gold() -> list[Gold]:
    """The gold tags, one entry per live note, in order of publication."""
    return _read("gold.jsonl", Gold)


def media_uri(media_dir: Path, stored: str) -> str:
    """``media/x.jpg`` as the ``file:`` URI of x.jpg under ``media_dir``."""
    return (media_dir.resolve() / stored.removeprefix(MEDIA_PREFIX)).as_uri()


def _newest() -> int:
    streams = (sample_notes(), _read("interactions.jsonl", Interaction))
    return max(event.occurred_at for stream in streams for event in stream)


def _read(name: str, kind: type[S]) -> list[S]:
    return msgspec.json.Decoder(kind).decode_lines((HERE / name).read_bytes())
