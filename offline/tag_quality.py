"""``tagstream offline tag-quality``: what the metrics job compares a bundle's tags with, from a tagger run over chosen notes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from schemas.errors import BadSetting
from schemas.events import NoteEvent, NoteTagged
from schemas.settings import load

if TYPE_CHECKING:
    from models.roles import Tagger
    from streams.tag_drift import Quality, Vector

BATCH = 32


@click.command("tag-quality")
@click.argument("notes", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: where the metrics job looks for the bundle's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def tag_quality(notes: Path, out: Path | None, as_json: bool) -> None:
    """Tag a file of note events and keep what the tags look like in numbers, as the reference for drift.

    The notes should be such as the community writes; some hundred are enough. Deleted notes are left out.

    Example: tagstream offline tag-quality offline/samples/notes.jsonl
    """
    from consumers.tag_quality import open_quality, reference_file
    from models.bundle import load_learned
    from streams.tag_drift import Reference, means

    settings = load()
    events = [note for note in read_notes(notes) if note.type != "note.deleted"]
    if not events:
        raise BadSetting(f"{notes}: no note to tag; give a file of note events")
    learned = load_learned(settings)
    reference = Reference(learned.version, measure(events, learned.tagger, open_quality(settings)))
    path = out or reference_file(settings, learned.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(reference) + b"\n")
    found = {"bundle": reference.bundle, "notes": reference.vector[0], "out": str(path), "means": means(reference.vector)}
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"bundle {reference.bundle}: {reference.vector[0]} notes, reference in {path}")
    for name, value in means(reference.vector).items():
        click.echo(f"  {name.replace('_', ' ')}: {value:.3f}")


def read_notes(path: Path) -> list[NoteEvent]:
    """The note events of a file of JSON lines.

    Raises:
        BadSetting: naming the line that is none.
    """
    from schemas.codec import decoder
    from schemas.errors import InvalidEvent

    decode, found = decoder(NoteEvent), []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                found.append(decode(line, None))
            except InvalidEvent as error:
                raise BadSetting(f"{path} line {number}: {error}") from None
    return found


def measure(notes: list[NoteEvent], tagger: "Tagger", quality: "Quality") -> "Vector":
    """Sum over the notes' tags as the tagger gives them."""
    from streams.tag_drift import add, vector_of

    total: Vector = []
    for start in range(0, len(notes), BATCH):
        batch = notes[start : start + BATCH]
        for note, answer in zip(batch, tagger.tag(batch), strict=True):
            tagged = NoteTagged(
                note_id=note.note_id,
                author_id=note.author_id,
                occurred_at=note.occurred_at,
                published_at=note.published_at,
                bundle="",
                category=answer.category,
                tags=answer.tags,
            )
            total = add(total, vector_of(quality(tagged)))
    return total
