"""Where training examples come from: the topic ``training-examples``, or a dataset replayed through the profile job in memory.

Both give chunks with a name that says what is in them, so that a chunk that was written is never read again.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import polars as pl
from msgspec.structs import replace

from consumers.training_log import EXAMPLES_PER_BATCH, TrainingLog
from consumers.update_profiles import UpdateProfiles
from offline.datasets import movielens_interactions
from offline.example_frames import SCHEMA, frame_of, versions_of
from offline.recall_data import RecallData, detect_layout, load_dataset, read_lines
from recall.memory_notes import MemoryNotes
from recall.note_tags import StoredNoteTags
from recall.profiles import MemoryProfiles
from schemas.codec import decoder
from schemas.errors import BadSetting, InvalidEvent
from schemas.events import Interaction, NoteTagged, Tag, TrainingExample
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.topics import NOTE_TAGGED, TRAINING_EXAMPLES, source_id
from schemas.writes import Publish, PutNote, PutProfile
from streams.memory import MemoryMessage
from streams.scan import Span, SpanReader, span_reader

RECORDS_PER_CHUNK = 20_000
READERS_PER_CHUNK = 1_000
SKEW_MS = 3_600_000


class Chunk(NamedTuple):
    """A part of a partition: ``name`` sorts in the order of the log. ``read`` gives its examples in that order and how many records were
    no examples."""

    partition: int
    name: str
    read: Callable[[], tuple[pl.DataFrame, int]]


class ExampleSource(Protocol):
    """``identity`` changes when what was read before is not part of the same log any more."""

    identity: str

    def chunks(self, done: Mapping[int, Sequence[str]]) -> Iterator[Chunk]:
        """What is to be read beside the chunks that are ``done``, by partition."""
        ...

    def versions(self) -> pl.DataFrame:
        """The notes' tags by note event (``example_frames.VERSIONS``)."""
        ...


class KafkaExamples:
    """``ExampleSource`` over the topic. Copies of one interaction have one key, so they are in one partition."""

    def __init__(self, settings: Settings, reader: SpanReader, since_ms: int | None = None) -> None:
        """``since_ms``: event time before which examples are not asked for."""
        self._settings = settings
        self._reader = reader
        self._since_ms = since_ms
        self.identity = source_id(reader.topic, reader.topic_uuid)

    def chunks(self, done: Mapping[int, Sequence[str]]) -> Iterator[Chunk]:
        since = None if self._since_ms is None else self._since_ms - SKEW_MS  # a record is never older than its event, but for clocks
        for partition, low, end in self._reader.spans(since):
            start = max([low, *(int(name.partition("-")[2]) for name in done.get(partition, ()))])
            while start < end:
                stop = min(end, (start // RECORDS_PER_CHUNK + 1) * RECORDS_PER_CHUNK)
                yield Chunk(partition, f"{start:020d}-{stop:020d}", partial(self._read, Span(partition, start, stop)))
                start = stop

    def _read(self, span: Span) -> tuple[pl.DataFrame, int]:
        decode = decoder(TrainingExample)
        examples, refused = [], 0
        for message in self._reader.read(span):
            try:
                examples.append(decode(message.value(), message.headers()))
            except InvalidEvent:
                refused += 1
        return frame_of(examples), refused

    def versions(self) -> pl.DataFrame:
        decode = decoder(NoteTagged)

        def rows() -> Iterator[tuple[str, int, Sequence[tuple[str, float]], bool, int]]:
            with span_reader(self._settings, NOTE_TAGGED.within(self._settings.namespace).name) as reader:
                for span in reader.spans():
                    for message in reader.read(span):
                        try:
                            note = decode(message.value(), message.headers())
                        except InvalidEvent:
                            continue
                        tags = [(tag.text, tag.confidence) for tag in note.tags]
                        yield note.note_id, note.occurred_at, tags, note.deleted, note.revision

        return versions_of(rows())


def examples_topic(settings: Settings) -> str:
    """The topic's name within the namespace."""
    return TRAINING_EXAMPLES.within(settings.namespace).name


class DatasetExamples:
    """``ExampleSource`` over a dataset directory: its interactions go through the profile job, all of them logged.

    A reader's interactions come in the order of the file. A note counts as known from its event on, or from the first interaction with it
    where that is earlier and it has one event only.

    Raises:
        BadSetting: the interactions have no times, so there is no moment to be correct at.
    """

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._data = load_dataset(directory)
        if not self._data.dated:
            raise BadSetting(f"SOURCE: {directory}: its interactions have no time; give it to `tagstream offline towers train` as it is")
        self._settings = replace(
            settings, training_examples_rate=1.0, training_examples_impressions=1.0, profile_pending_hours=1e6, profile_max_pending=10**6
        )
        self._events = list(_events_of(directory, self._data))
        self.identity = f"{self._data.name}@{_digest(directory)}"
        self._known_at = _known_at(directory, self._data, self._events)

    def chunks(self, done: Mapping[int, Sequence[str]]) -> Iterator[Chunk]:
        readers = list(dict.fromkeys(event.user_id for event in self._events))
        finished = set(done.get(0, ()))
        for start in range(0, len(readers), READERS_PER_CHUNK):
            mine = readers[start : start + READERS_PER_CHUNK]
            name = f"{start:09d}-{start + len(mine):09d}"
            if name not in finished:
                yield Chunk(0, name, partial(self._replay, mine))

    def versions(self) -> pl.DataFrame:
        data = self._data
        sure = [[(text, 1.0) for text in tags] for tags in data.tags]
        return versions_of((note, self._known_at[note], sure[row], False, 0) for row, note in enumerate(data.notes))

    def _replay(self, readers: Sequence[str]) -> tuple[pl.DataFrame, int]:
        """The readers' interactions through the job over in-memory stores; none is refused."""
        notes, profiles, wanted = MemoryNotes(), MemoryProfiles(), set(readers)
        notes.put([PutNote(record) for record in self._records()])
        known = StoredNoteTags(notes)
        log = TrainingLog(profiles, known, notes, self._settings, topic="")
        job = UpdateProfiles(profiles, known, self._settings, log)
        log_of = [(offset, event) for offset, event in enumerate(self._events) if event.user_id in wanted]
        frames = []
        for start in range(0, len(log_of), EXAMPLES_PER_BATCH):
            batch = job.gather()
            batch.add(
                [Received(event, self.identity, 0, offset, _NO_BYTES) for offset, event in log_of[start : start + EXAMPLES_PER_BATCH]]
            )
            writes = job.handle(batch)
            refused = profiles.write([write for write in writes if isinstance(write, PutProfile)])
            assert not refused, "nobody else writes these records"
            frames.append(
                frame_of([write.event for write in writes if isinstance(write, Publish) and isinstance(write.event, TrainingExample)])
            )
        return pl.concat([pl.DataFrame(schema=SCHEMA), *frames]), 0

    def _records(self) -> Iterator[NoteRecord]:
        for note, texts in zip(self._data.notes, self._data.tags, strict=True):
            at = self._known_at[note]
            tags = [Tag(text=text, dimension="", rank=rank, confidence=1.0) for rank, text in enumerate(texts, 1)]
            yield NoteRecord(note, "-", at, False, 0, b"", at, None, tags, "", "dataset", [], {})


_NO_BYTES = MemoryMessage(topic="dataset", partition=0, offset=0, value=b"")


def _events_of(directory: Path, data: RecallData) -> Iterable[Interaction]:
    layout = detect_layout(directory)
    if layout == "movielens":
        ml = directory / "ml-latest-small" if (directory / "ml-latest-small").is_dir() else directory
        known = set(data.notes)
        yield from (event for event in movielens_interactions(ml, ml.parent / "tmdb-5000") if event.note_id in known)
        return
    decode = decoder(Interaction)
    for at, line in read_lines(directory / "interactions.jsonl"):
        try:
            yield decode(line, None)
        except InvalidEvent as error:
            raise BadSetting(f"{at}: {error}") from None


def _known_at(directory: Path, data: RecallData, events: Sequence[Interaction]) -> dict[str, int]:
    """Since when each note is known, epoch ms."""
    at = {note.note_id: note.occurred_at for note in data.events or ()} or dict.fromkeys(data.notes, 0)
    changed = _changed(directory) if detect_layout(directory) == "jsonl" else frozenset[str]()
    for event in events:
        if event.note_id not in changed and event.occurred_at < at.get(event.note_id, 0):
            at[event.note_id] = event.occurred_at
    return at


def _changed(directory: Path) -> frozenset[str]:
    """Notes with more than one event."""
    seen, again = set[str](), set[str]()
    for _, line in read_lines(directory / "notes.jsonl"):
        note_id = str(msgspec.json.decode(line)["note_id"])
        (again if note_id in seen else seen).add(note_id)
    return frozenset(again)


def _digest(directory: Path) -> str:
    """Hash over the directory's files."""
    hashed = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashed.update(path.relative_to(directory).as_posix().encode() + hashlib.file_digest(file, "blake2b").digest())
    return hashed.hexdigest()
