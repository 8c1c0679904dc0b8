"""``tagstream offline dataset``: public data as ``notes.jsonl`` and ``interactions.jsonl``, ready for ``tagstream publish``."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from offline import datasets
from offline.json_lines import write_records
from offline.recall_data import load_dataset
from schemas.events import Interaction, NoteEvent

Line = NoteEvent | Interaction | dict[str, object]
UNDATED_MS = 1_000_000_000_000
"""When everything happens in data without times: at one moment, so that nothing can be read into it."""


class Converted(NamedTuple):
    """What a conversion wrote."""

    dataset: str
    notes: int
    interactions: int
    files: list[str]


class Part(NamedTuple):
    """Every ``of``-th note, beginning with number ``number`` (from 1)."""

    number: int = 1
    of: int = 1


def convert_dataset(name: str, directory: Path, out: Path, part: Part = Part()) -> Converted:  # noqa: B008
    """Writes a dataset in our own layout.

    Args:
        name: ``movielens`` (``directory`` holds ml-latest-small and tmdb-5000), ``deskdrop`` (it is or holds deskdrop-interactions) or
            ``citeulike`` (it is or holds citeulike-a).
        directory: where the data is.
        out: directory to write to; it is made where it is absent. The field ``tags`` holds TMDB's keywords or CiteULike's tags.
        part: of the notes; actions on other notes are left out.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    notes, interactions = SOURCES[name](directory)
    if part.of > 1:
        kept = set[str]()
        notes, interactions = _some(notes, part, kept), (one for one in interactions if _of(one, "note_id") in kept)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "notes.jsonl", out / "interactions.jsonl"]
    return Converted(name, write_records(files[0], notes), write_records(files[1], interactions), [str(file) for file in files])


def _movielens(directory: Path) -> tuple[Iterable[Line], Iterable[Line]]:
    places = (directory / "ml-latest-small", directory / "tmdb-5000")

    def notes() -> Iterator[Line]:
        keywords = datasets.movielens_keywords(*places)
        for note in datasets.movielens_notes(*places):
            yield {**msgspec.to_builtins(note), "tags": keywords[note.note_id]}

    return notes(), datasets.movielens_interactions(*places)


def _deskdrop(directory: Path) -> tuple[Iterable[Line], Iterable[Line]]:
    inner = directory / "deskdrop-interactions"
    place = inner if inner.is_dir() else directory
    return datasets.deskdrop_notes(place), datasets.deskdrop_interactions(place)


def _citeulike(directory: Path) -> tuple[Iterable[Line], Iterable[Line]]:
    """An article in a reader's library is a favorite. There is no text but the tags, no author and no time."""
    inner = directory / "citeulike-a"
    data = load_dataset(inner if inner.is_dir() else directory, "citeulike")

    def notes() -> Iterator[Line]:
        for note_id, tags in zip(data.notes, data.tags, strict=True):
            note = NoteEvent(
                type="note.published",
                note_id=note_id,
                author_id="cu-author-unknown",
                occurred_at=UNDATED_MS,
                published_at=UNDATED_MS,
            )
            yield {**msgspec.to_builtins(note), "tags": tags}

    def interactions() -> Iterator[Line]:
        for number, (reader, note) in enumerate(zip(data.actions.reader.tolist(), data.actions.note.tolist(), strict=True)):
            yield Interaction(
                event_id=f"cu-{number}",
                user_id=data.readers[reader],
                note_id=data.notes[note],
                action="favorite",
                occurred_at=UNDATED_MS,
            )

    return notes(), interactions()


SOURCES: dict[str, Callable[[Path], tuple[Iterable[Line], Iterable[Line]]]] = {
    "movielens": _movielens,
    "deskdrop": _deskdrop,
    "citeulike": _citeulike,
}


def _some(notes: Iterable[Line], part: Part, kept: set[str]) -> Iterator[Line]:
    """The notes of a part; their ids come into ``kept``."""
    for note in islice(notes, part.number - 1, None, part.of):
        kept.add(_of(note, "note_id"))
        yield note


def _of(line: Line, field: str) -> str:
    return str(line[field] if isinstance(line, dict) else getattr(line, field))


def _read_part(_context: click.Context, _parameter: click.Parameter, value: str) -> Part:
    number, slash, of = value.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(f"{value!r} is no part; write I/N with I from 1 to N, such as 1/3")
    return Part(int(number), int(of))


@click.command("dataset")
@click.argument("name", type=click.Choice(list(SOURCES)))
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write the two files to.")
@click.option(
    "--part",
    default="1/1",
    show_default=True,
    metavar="I/N",
    callback=_read_part,
    help="Only every N-th note, beginning with the I-th, and the actions on those.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def dataset(name: str, directory: Path, out: Path, part: Part, as_json: bool) -> None:
    """Turns public data in DIRECTORY into notes.jsonl and interactions.jsonl.

    movielens: DIRECTORY holds ml-latest-small/ and tmdb-5000/. deskdrop: DIRECTORY holds users_interactions.csv or .zip. citeulike: it
    holds users.dat, item-tag.dat and tags.dat.

    Example: tagstream offline dataset movielens data/ --out films && tagstream publish notes films/notes.jsonl
    """
    with Console(stderr=True).status(f"reading {directory}"):
        converted = convert_dataset(name, directory, out, part)
    if as_json:
        click.echo(json.dumps(converted._asdict()))
    else:
        click.echo(f"{converted.notes:,} notes and {converted.interactions:,} interactions in {out}")
