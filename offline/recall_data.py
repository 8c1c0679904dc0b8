"""Datasets of readers, notes and tags as compact arrays: our own JSONL, citeulike-a, and MovieLens with TMDB's keywords."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from offline.datasets import movielens_genres, movielens_interactions, movielens_keywords, movielens_notes
from schemas.codec import decoder
from schemas.errors import BadSetting, InvalidEvent, MissingPrerequisite
from schemas.events import Interaction, NoteEvent, Tag

Layout = Literal["jsonl", "citeulike", "movielens", "examples"]
WEIGHTS: Mapping[str, float] = {"click": 1.0, "like": 2.0, "favorite": 3.0}
UNDOES: Mapping[str, str] = {"unlike": "like", "unfavorite": "favorite"}
COUNTED = frozenset({*WEIGHTS, *UNDOES})
FOREVER = np.iinfo(np.int64).max
VERSIONS_FILE = "note-versions.parquet"


class Actions(NamedTuple):
    """What readers did, one row for each action that adds to a profile, in order of time; all arrays have shape (actions,).

    ``weight``: 1 click, 2 like, 3 favorite. ``liked``: a like or a favorite. ``at``: epoch ms, 0 where the
    data has no time. ``undone_at``: when an unlike or unfavorite took it back; the largest integer where none did.
    """

    reader: NDArray[np.int64]
    note: NDArray[np.int64]
    weight: NDArray[np.float32]
    liked: NDArray[np.bool_]
    at: NDArray[np.int64]
    undone_at: NDArray[np.int64]


class RecallData(NamedTuple):
    """A dataset. ``tags``: texts per note, in their given order, each once; ``events``: the notes, None where only tags are known;
    ``confidences``: of each note's tags, None where all are 1."""

    name: str
    notes: list[str]
    readers: list[str]
    tags: list[list[str]]
    events: list[NoteEvent] | None
    actions: Actions
    dated: bool
    confidences: list[list[float]] | None = None


class Act(NamedTuple):
    """What is needed of an interaction."""

    user_id: str
    note_id: str
    action: str
    occurred_at: int


class TaggedNote(msgspec.Struct):
    """The one field of a line of ``notes.jsonl`` that is not part of the event."""

    tags: list[str] = []


def detect_layout(directory: Path) -> Layout:
    """The layout by the files that are there.

    Raises:
        MissingPrerequisite: when the directory holds none of them.
    """
    if (directory / "notes.jsonl").is_file():
        return "jsonl"
    if (directory / VERSIONS_FILE).is_file():
        return "examples"
    if (directory / "users.dat").is_file():
        return "citeulike"
    if (directory / "ml-latest-small").is_dir() or (directory / "ratings.csv").is_file():
        return "movielens"
    raise MissingPrerequisite(f"{directory}: no notes.jsonl, users.dat or ml-latest-small; give a dataset directory, see --help")


def load_dataset(directory: Path, layout: Layout | None = None) -> RecallData:
    """Reads a dataset.

    Args:
        directory: for ``jsonl`` it holds notes.jsonl and interactions.jsonl; for ``citeulike`` users.dat, item-tag.dat and tags.dat; for
            ``movielens`` the folders ml-latest-small and tmdb-5000 (or it is the first, with the second beside it); for ``examples``
            what ``tagstream offline towers data`` wrote.
        layout: detected when None.

    Raises:
        MissingPrerequisite: naming the file that is absent.
        BadSetting: naming file and line of what cannot be read.
    """
    layout = layout or detect_layout(directory)
    loader = {"jsonl": _load_jsonl, "citeulike": _load_citeulike, "movielens": _load_movielens, "examples": _load_examples}[layout]
    return loader(directory)


def with_tags(data: RecallData, labels: Mapping[str, Sequence[str]]) -> RecallData:
    """The same dataset with other tags, by note id; a note without entry has none."""
    return data._replace(tags=[list(dict.fromkeys(labels.get(note, ()))) for note in data.notes], confidences=None)


def with_tagged(data: RecallData, tagged: Mapping[str, Sequence[Tag]]) -> RecallData:
    """The same dataset with what a tagger gave, texts and confidences, by note id."""
    return _with_confidences(data, [[(tag.text, tag.confidence) for tag in tagged.get(note, ())] for note in data.notes])


def coarse_tags(data: RecallData, directory: Path) -> RecallData:
    """The dataset with one coarse label or a few per note: MovieLens' genres, or our own notes' category.

    Raises:
        BadSetting: when the notes have neither.
    """
    ml = directory / "ml-latest-small" if (directory / "ml-latest-small").is_dir() else directory
    if (ml / "movies.csv").is_file():
        return with_tags(data, movielens_genres(ml))
    labels = {note.note_id: [note.category] for note in data.events or () if note.category}
    if not labels:
        raise BadSetting(f"{data.name}: its notes have no category; use --tags given")
    return with_tags(data, labels)


def _load_jsonl(directory: Path) -> RecallData:
    newest: dict[str, tuple[NoteEvent, list[str]]] = {}
    decode_note, decode_tags = decoder(NoteEvent), msgspec.json.Decoder(TaggedNote).decode
    for at, line in read_lines(directory / "notes.jsonl"):
        try:
            note, tags = decode_note(line, None), decode_tags(line).tags
        except (InvalidEvent, msgspec.DecodeError) as error:
            raise BadSetting(f"{at}: {error}") from None
        if note.note_id not in newest or note.occurred_at >= newest[note.note_id][0].occurred_at:
            newest[note.note_id] = (note, list(dict.fromkeys(tags)))
    kept = {note_id: pair for note_id, pair in newest.items() if pair[0].type != "note.deleted"}
    decode_action = decoder(Interaction)
    events: dict[str, Interaction] = {}
    for at, line in read_lines(directory / "interactions.jsonl"):
        try:
            event = decode_action(line, None)
        except InvalidEvent as error:
            raise BadSetting(f"{at}: {error}") from None
        events.setdefault(event.event_id, event)
    notes = [note for note, _ in kept.values()]
    return _assemble(directory.resolve().name, list(kept), [tags for _, tags in kept.values()], events.values(), notes)


def _load_movielens(directory: Path) -> RecallData:
    ml = directory / "ml-latest-small" if (directory / "ml-latest-small").is_dir() else directory
    tmdb = ml.parent / "tmdb-5000"
    keywords = movielens_keywords(ml, tmdb)
    notes = list(movielens_notes(ml, tmdb))
    tags = [list(dict.fromkeys(keywords[note.note_id])) for note in notes]
    return _assemble("movielens-tmdb", [note.note_id for note in notes], tags, movielens_interactions(ml, tmdb), notes)


def _load_examples(directory: Path) -> RecallData:
    """Tags of each note's newest version, all sure in what an earlier release wrote; the interactions that were logged, of which there may
    be a sample only."""
    import polars as pl

    versions = pl.read_parquet(directory / VERSIONS_FILE).sort("occurred_at", "revision")
    newest = versions.unique("note_id", keep="last", maintain_order=True).filter(~pl.col("deleted"))
    tags = [list(dict.fromkeys(given)) for given in newest["tags"].to_list()]
    columns = ("user_id", "note_id", "action", "occurred_at")
    acts = pl.scan_parquet(directory / "day=*" / "*.parquet").select(columns).collect()
    data = _assemble(directory.resolve().name, newest["note_id"].to_list(), tags, [Act(*row) for row in acts.iter_rows()], None)
    if "confidences" not in newest.columns:
        return data
    return _with_confidences(data, [list(zip(*both, strict=True)) for both in newest.select("tags", "confidences").iter_rows()])


def _with_confidences(data: RecallData, given: Sequence[Sequence[tuple[str, float]]]) -> RecallData:
    """The dataset with those tags of its notes; of a text that a note has twice the first counts."""
    kept = [dict(reversed(mine)) for mine in given]
    tags = [list(dict.fromkeys(text for text, _ in mine)) for mine in given]
    return data._replace(tags=tags, confidences=[[of[text] for text in mine] for of, mine in zip(kept, tags, strict=True)])


def _load_citeulike(directory: Path) -> RecallData:
    names = [line.decode().strip() for _, line in read_lines(directory / "tags.dat")]
    tags = [[names[int(tag)] for tag in line.split()[1:]] for _, line in read_lines(directory / "item-tag.dat")]
    libraries = [[int(item) for item in line.split()[1:]] for _, line in read_lines(directory / "users.dat")]
    reader = np.repeat(np.arange(len(libraries)), [len(library) for library in libraries])
    note = np.array([item for library in libraries for item in library], np.int64)
    count = len(note)
    actions = Actions(
        reader.astype(np.int64),
        note,
        np.full(count, WEIGHTS["favorite"], np.float32),
        np.ones(count, np.bool_),
        np.zeros(count, np.int64),
        np.full(count, FOREVER, np.int64),
    )
    unique = [list(dict.fromkeys(given)) for given in tags]
    readers = [f"cu-u{row}" for row in range(len(libraries))]
    return RecallData("citeulike-a", [f"cu-{row}" for row in range(len(tags))], readers, unique, None, actions, dated=False)


def _assemble(
    name: str, notes: list[str], tags: list[list[str]], acts: Iterable[Interaction | Act], events: list[NoteEvent] | None
) -> RecallData:
    """Numbers notes and readers; keeps the actions on known notes that add to a profile, and when they were undone."""
    note_at = {note: row for row, note in enumerate(notes)}
    readers: dict[str, int] = {}
    rows: list[tuple[int, int, float, bool, int, int]] = []
    standing: dict[tuple[int, int, str], int] = {}
    for event in sorted(acts, key=lambda event: event.occurred_at):
        note = note_at.get(event.note_id)
        if note is None or event.action not in COUNTED:
            continue
        reader = readers.setdefault(event.user_id, len(readers))
        if event.action in UNDOES:
            place = standing.pop((reader, note, UNDOES[event.action]), None)
            if place is not None:
                rows[place] = (*rows[place][:5], event.occurred_at)
            continue
        liked = event.action in ("like", "favorite")
        if liked and (reader, note, event.action) in standing:
            continue
        if liked:
            standing[reader, note, event.action] = len(rows)
        rows.append((reader, note, WEIGHTS[event.action], liked, event.occurred_at, FOREVER))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    kinds = (np.int64, np.int64, np.float32, np.bool_, np.int64, np.int64)
    actions = Actions(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))
    return RecallData(name, notes, list(readers), tags, events, actions, dated=True)


def read_lines(path: Path) -> Iterable[tuple[str, bytes]]:
    """(place, line) of each line that is not empty."""
    if not path.is_file():
        raise MissingPrerequisite(f"{path} is missing; give the directory that holds {path.name}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}: line {number}", line
