"""Training examples on disk: chunks as read, days as trained on, and a manifest; everything is written whole or not at all.

    OUT/manifest.json                      counts, ranges, hashes, what was left out; written last
    OUT/note-versions.parquet              tags by note event
    OUT/day=2026-11-24/partition-3.parquet examples in order of time, one for each interaction
    OUT/.state/request.json                what was asked for
    OUT/.state/partition-3/CHUNK.parquet   as read, CHUNK.json beside it when it is whole
    OUT/.state/partition-3/DAY.json        what a day was made from, written when it is whole

A chunk that is there is not read again, a day whose chunks are the same is not made again; so a run that was killed goes on where it was,
and another run over the same log changes nothing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from msgspec import Struct, field

from offline.example_frames import COORDINATES, find_leaks, one_each, with_day
from offline.example_sources import Chunk, ExampleSource
from offline.recall_data import VERSIONS_FILE
from offline.whole_file import whole_file, write_json, write_whole
from schemas.errors import BadSetting, MissingPrerequisite

MANIFEST, STATE = "manifest.json", ".state"
LEAKS_NAMED = 100
Say = Callable[[str], None]


class Request(Struct, frozen=True):
    """What the data is of. ``since`` and ``until``: event times, epoch ms, the second not included."""

    source: str
    since: int | None = None
    until: int | None = None


class Leak(Struct, frozen=True):
    """An example that holds something that was not known at its time."""

    event_id: str
    source: str
    partition: int
    offset: int
    leak: str


class ChunkNote(Struct, frozen=True):
    """``days``: rows by day."""

    days: dict[str, int]
    refused: int


class DayFile(Struct, frozen=True):
    """A written file. ``copies``: rows left out because the interaction was there before or again; ``leaking``: rows left out because of
    ``leaks``, of which the first are named. ``first``, ``last``: event times."""

    path: str
    chunks: list[str]
    rows: int
    copies: int
    leaking: int
    leaks: list[Leak]
    first: int
    last: int
    blake2b: str


class Manifest(Struct, frozen=True):
    """What a directory holds."""

    request: Request
    rows: int
    copies: int
    refused: int
    leaking: int
    leaks: list[Leak]
    first: int
    last: int
    notes: int
    files: list[DayFile] = field(default_factory=list)


def write_days(source: ExampleSource, request: Request, out: Path, say: Say) -> Manifest:
    """Brings ``out`` up to date with the source.

    Raises:
        BadSetting: ``out`` holds the data of another request.
    """
    _claim(out, request)
    for chunk in source.chunks(_done(out)):
        _stage(chunk, request, out)
        say(f"partition {chunk.partition}: {chunk.name} read")
    versions = source.versions()
    _write_parquet(versions, out / VERSIONS_FILE)
    files: list[DayFile] = []
    for partition, days in _staged(out).items():
        for day, chunks in days.items():
            written, fresh = _day(partition, day, chunks, versions, out)
            files.append(written)
            if fresh:
                say(f"{written.path}: {written.rows} examples")
    return _write_manifest(out, request, sorted(files, key=lambda file: file.path), versions)


def check_days(out: Path) -> list[Leak]:
    """Every leak in what is written, looked for anew; files that are not those of the manifest count as one.

    Raises:
        MissingPrerequisite: when there is no manifest.
    """
    manifest = read_manifest(out)
    versions = pl.read_parquet(out / VERSIONS_FILE)
    leaks: list[Leak] = []
    for file in manifest.files:
        path = out / file.path
        if not path.is_file() or _hash(path) != file.blake2b:
            leaks.append(Leak("", manifest.request.source, -1, -1, f"{file.path} is not the file that was written"))
        if path.is_file():
            leaks += _leaks(pl.read_parquet(path), versions)[0]
    return leaks


def read_manifest(out: Path) -> Manifest:
    """What ``write_days`` wrote last.

    Raises:
        MissingPrerequisite: when there is none.
    """
    try:
        return msgspec.json.decode((out / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise MissingPrerequisite(f"{out}: no {MANIFEST}; run `tagstream offline towers data SOURCE --out {out}`") from None


def _claim(out: Path, request: Request) -> None:
    """Notes what the directory is for."""
    path = out / STATE / "request.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        held = msgspec.json.decode(path.read_bytes(), type=Request)
        if held != request:
            changed = [name for name in Request.__struct_fields__ if getattr(held, name) != getattr(request, name)]
            raise BadSetting(f"--out: {out} holds data with another {' and '.join(changed)}; name a new directory")
    elif any(entry.name != STATE for entry in out.iterdir()):
        raise BadSetting(f"--out: {out} has files that are not training data; name a new directory")
    write_whole(path, msgspec.json.encode(request))


def _done(out: Path) -> dict[int, list[str]]:
    """Names of the chunks that are there, by partition."""
    return {
        int(directory.name.partition("-")[2]): sorted(path.stem.removeprefix("chunk-") for path in directory.glob("chunk-*.json"))
        for directory in _partitions(out)
    }


def _partitions(out: Path) -> list[Path]:
    return sorted((out / STATE).glob("partition-*"))


def _stage(chunk: Chunk, request: Request, out: Path) -> None:
    directory = out / STATE / f"partition-{chunk.partition}"
    directory.mkdir(exist_ok=True)
    frame, refused = chunk.read()
    if request.since is not None:
        frame = frame.filter(pl.col("occurred_at") >= request.since)
    if request.until is not None:
        frame = frame.filter(pl.col("occurred_at") < request.until)
    frame = with_day(frame)
    _write_parquet(frame, directory / f"chunk-{chunk.name}.parquet")
    days = dict(frame.group_by("day").len().sort("day").iter_rows())
    write_whole(directory / f"chunk-{chunk.name}.json", msgspec.json.encode(ChunkNote(days, refused)))


def _staged(out: Path) -> dict[int, dict[str, list[str]]]:
    """Chunks by partition and day."""
    staged: dict[int, dict[str, list[str]]] = {}
    for directory in _partitions(out):
        days: dict[str, list[str]] = defaultdict(list)
        for path in sorted(directory.glob("chunk-*.json")):
            for day in msgspec.json.decode(path.read_bytes(), type=ChunkNote).days:
                days[day].append(path.stem)
        staged[int(directory.name.partition("-")[2])] = dict(sorted(days.items()))
    return staged


def _day(partition: int, day: str, chunks: Sequence[str], versions: pl.DataFrame, out: Path) -> tuple[DayFile, bool]:
    """One day of one partition, and whether it had to be made."""
    state = out / STATE / f"partition-{partition}"
    path, note = out / f"day={day}" / f"partition-{partition}.parquet", state / f"{day}.json"
    if note.is_file() and path.is_file():
        held = msgspec.json.decode(note.read_bytes(), type=DayFile)
        if held.chunks == list(chunks) and held.blake2b == _hash(path):
            return held, False
    frame = pl.concat([pl.read_parquet(state / f"{name}.parquet").filter(pl.col("day") == day).drop("day") for name in chunks])
    single = one_each(frame)
    leaks, rows = _leaks(single, versions)
    kept = single.with_row_index("row").filter(~pl.col("row").is_in(rows)).drop("row")
    path.parent.mkdir(exist_ok=True)
    _write_parquet(kept, path)
    times: Any = (kept["occurred_at"].min(), kept["occurred_at"].max()) if len(kept) else (0, 0)
    made = DayFile(
        path=path.relative_to(out).as_posix(),
        chunks=list(chunks),
        rows=len(kept),
        copies=len(frame) - len(single),
        leaking=len(rows),
        leaks=leaks[:LEAKS_NAMED],
        first=int(times[0]),
        last=int(times[1]),
        blake2b=_hash(path),
    )
    write_whole(note, msgspec.json.encode(made))
    return made, True


def _leaks(frame: pl.DataFrame, versions: pl.DataFrame) -> tuple[list[Leak], list[int]]:
    """Leaks, and the rows that have them."""
    found = find_leaks(frame, versions)
    if not len(found):
        return [], []
    where = frame.with_row_index("row").select("row", "event_id", *COORDINATES)
    joined = found.join(where, on="row").sort("row", "leak")
    return [Leak(*row) for row in joined.select("event_id", *COORDINATES, "leak").iter_rows()], found["row"].unique().to_list()


def _write_manifest(out: Path, request: Request, files: list[DayFile], versions: pl.DataFrame) -> Manifest:
    refused = sum(
        msgspec.json.decode(path.read_bytes(), type=ChunkNote).refused
        for directory in _partitions(out)
        for path in directory.glob("chunk-*.json")
    )
    whole = [file for file in files if file.rows]
    manifest = Manifest(
        request=request,
        rows=sum(file.rows for file in files),
        copies=sum(file.copies for file in files),
        refused=refused,
        leaking=sum(file.leaking for file in files),
        leaks=[leak for file in files for leak in file.leaks][:LEAKS_NAMED],
        first=min((file.first for file in whole), default=0),
        last=max((file.last for file in whole), default=0),
        notes=versions["note_id"].n_unique(),
        files=files,
    )
    write_json(out / MANIFEST, manifest)
    return manifest


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    with whole_file(path) as part:
        frame.write_parquet(part, row_group_size=10_000)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
