"""``tagstream offline dataset``: public data as ``notes.jsonl`` and ``interactions.jsonl``, ready for ``tagstream publish``."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from offline import datasets
from schemas.events import Interaction, NoteEvent

Line = NoteEvent | Interaction | dict[str, object]


class Converted(NamedTuple):
    """What a conversion wrote."""

    dataset: str
    notes: int
    interactions: int
    files: list[str]


def convert_dataset(name: str, directory: Path, out: Path) -> Converted:
    """Writes a dataset in our own layout.

    Args:
        name: ``movielens`` (``directory`` holds ml-latest-small and tmdb-5000) or ``deskdrop`` (it is or holds deskdrop-interactions).
        directory: where the data is.
        out: directory to write to; it is made where it is absent. Films get the field ``tags`` with TMDB's keywords.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    notes, interactions = SOURCES[name](directory)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "notes.jsonl", out / "interactions.jsonl"]
    return Converted(name, _write(files[0], notes), _write(files[1], interactions), [str(file) for file in files])


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


SOURCES: dict[str, Callable[[Path], tuple[Iterable[Line], Iterable[Line]]]] = {"movielens": _movielens, "deskdrop": _deskdrop}


def _write(path: Path, lines: Iterable[Line]) -> int:
    """Writes JSON lines; the file appears under its name when it is whole."""
    encode = msgspec.json.Encoder().encode
    part = path.with_suffix(".part")
    count = 0
    with part.open("wb") as file:
        for count, line in enumerate(lines, start=1):  # noqa: B007
            file.write(encode(line) + b"\n")
    part.replace(path)
    return count


@click.command("dataset")
@click.argument("name", type=click.Choice(list(SOURCES)))
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write the two files to.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def dataset(name: str, directory: Path, out: Path, as_json: bool) -> None:
    """Turns public data in DIRECTORY into notes.jsonl and interactions.jsonl.

    movielens: DIRECTORY holds ml-latest-small/ and tmdb-5000/. deskdrop: DIRECTORY holds users_interactions.csv or .zip.

    Example: tagstream offline dataset movielens data/ --out films && tagstream publish notes films/notes.jsonl
    """
    with Console(stderr=True).status(f"reading {directory}"):
        converted = convert_dataset(name, directory, out)
    if as_json:
        click.echo(json.dumps(converted._asdict()))
    else:
        click.echo(f"{converted.notes:,} notes and {converted.interactions:,} interactions in {out}")
