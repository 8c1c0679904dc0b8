"""Simulated events and truths as JSON lines, one at a time, so that a million take no more memory than a hundred."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from offline.simulate.interactions import SESSIONS_EACH, interactions
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.render import render_note
from offline.whole_file import whole_file
from schemas.events import Interaction

Advance = Callable[[int], None]


class Written(Struct):
    """What a run wrote. ``without_voice``: notes that have a voice by their truth but go without, since espeak-ng is not installed."""

    notes: int = 0
    interactions: int = 0
    images: int = 0
    clips: int = 0
    voices: int = 0
    without_voice: int = 0
    files: list[str] = msgspec.field(default_factory=list)


def write_notes(
    notes: Iterable[SimulatedNote], out: Path | None, truth: Path | None, media: Path | None, advance: Advance, *, tags: bool = False
) -> Written:
    """Writes note events, and beside them their truths.

    Args:
        out: file to write, standard output where None.
        truth: file for the truths, none where None.
        media: directory to draw pictures, clips and voices into; the notes carry no media where None.
        advance: called with the number of notes done, now and then.
        tags: adds the field ``tags`` with the true tags, as a dataset has it.

    Raises:
        MissingPrerequisite: when the media cannot be written on this machine.
    """
    encode = msgspec.json.Encoder().encode
    written = Written(files=[str(path) for path in (out, truth) if path])
    if media:
        media.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        events = stack.enter_context(_opened(out))
        truths = stack.enter_context(_opened(truth)) if truth else None
        for note in notes:
            event = render_note(note, media) if media else note.event
            line = {**msgspec.to_builtins(event), "tags": note.truth.tags()} if tags else event
            events.write(encode(line) + b"\n")
            if truths:
                truths.write(encode(note.truth) + b"\n")
            written.notes += 1
            written.images += len(event.images)
            written.clips += len(event.videos)
            written.voices += len(event.audios)
            written.without_voice += bool(media and note.truth.spoken and not event.audios)
            if written.notes % 100 == 0:
                advance(written.notes)
    return written


def write_interactions(events: Iterable[Interaction], out: Path | None, advance: Advance) -> Written:
    """Writes interactions; arguments as those of ``write_notes``."""
    encode = msgspec.json.Encoder().encode
    written = Written(files=[str(out)] if out else [])
    with _opened(out) as file:
        for event in events:
            file.write(encode(event) + b"\n")
            written.interactions += 1
            if written.interactions % 1000 == 0:
                advance(written.interactions)
    return written


def write_dataset(
    community: Community, directory: Path, notes: int, users: int, advance: Advance, *, sessions_each: float = SESSIONS_EACH
) -> Written:
    """notes.jsonl with true tags, interactions.jsonl and truth.jsonl in a directory, as ``tagstream offline evaluate-recall`` reads it."""
    directory.mkdir(parents=True, exist_ok=True)
    truth = directory / "truth.jsonl"
    written = write_notes(community.notes(notes), directory / "notes.jsonl", truth, None, advance, tags=True)
    acted = write_interactions(interactions(community, notes, users, sessions_each), directory / "interactions.jsonl", advance)
    written.interactions = acted.interactions
    written.files += acted.files
    return written


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is whole; standard output for None."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(path) as part, part.open("wb") as file:
        yield file
