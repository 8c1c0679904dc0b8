"""One step of the metrics job per source: records of one partition in, rows, forwards and dead letters out. Decides only, applies nothing.

``ReaderStep`` reads interactions, ``FactStep`` note events; both forward to the topic ``metrics-by-note``, which ``NoteStep`` reads, so
that a note's event and the actions on it meet in one partition whatever partitioner their producers use. ``TagStep`` reads tagged notes.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from schemas.canary import is_canary
from schemas.codec import decoder
from schemas.errors import InvalidEvent
from schemas.events import Interaction, NoteEvent, NoteTagged
from schemas.records import Headers
from streams.dead_letters import Failure
from streams.jobs import Counts
from streams.metric_folds import NoteFold, ReaderFold, TagFold
from streams.metric_windows import (
    NoteAction,
    NoteFacts,
    NoteRow,
    Place,
    ReaderRow,
    Rules,
    StreamRow,
    note_action,
    prune_note,
    take_action,
    take_event,
    take_facts,
)
from streams.tag_drift import REFERENCE, Quality, TagRow, vector_of

JOB = "metrics"
Held = Callable[[bytes], bytes | None]
R = TypeVar("R", bound=Struct)
_encode = msgspec.msgpack.Encoder().encode
_stream_row = msgspec.msgpack.Decoder(StreamRow).decode
_reader_row = msgspec.msgpack.Decoder(ReaderRow).decode
_note_row = msgspec.msgpack.Decoder(NoteRow).decode
_tag_row = msgspec.msgpack.Decoder(TagRow).decode
_by_note = msgspec.msgpack.Decoder(NoteAction | NoteFacts).decode


class Record(Struct, frozen=True):
    """A consumed record. ``timestamp``: Kafka's, epoch ms."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class Forward(Struct, frozen=True):
    """A record for ``metrics-by-note``."""

    partition: int
    key: bytes
    value: bytes


class Decided(Struct):
    """What a step wants done: forwards and dead letters first, then ``rows`` in their order, so that a row tells that its forwards are out.
    None deletes a row."""

    forwards: list[Forward] = field(default_factory=list)
    dead: list[tuple[Record, Failure]] = field(default_factory=list)
    rows: dict[bytes, Any] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def packed(self) -> dict[bytes, bytes | None]:
        """The rows as the table holds them."""
        return {key: None if row is None else _encode(row) for key, row in self.rows.items()}


class Fold(Protocol):
    """Sums over one partition's rows (``streams/metric_folds.py``)."""

    def replace(self, key: bytes, row: Any) -> None: ...
    def take(self) -> dict[str, bytes | None]: ...
    def all(self) -> dict[str, bytes | None]: ...
    def again(self, fields: Any) -> None: ...


class Step(Protocol):
    """``table``: whose rows it reads and writes; None for none."""

    table: str | None

    def fold(self) -> Any: ...
    def open_row(self, key: bytes, packed: bytes) -> Any: ...
    def decide(self, partition: int, records: Sequence[Record], held: Held, fold: Any) -> Decided: ...


class _Batch(Generic[R]):
    """Rows of a batch: each opened once, changed in place, listed when changed."""

    def __init__(self, held: Held, decode: Callable[[bytes], R], empty: Callable[[], R]) -> None:
        self._held, self._decode, self._empty = held, decode, empty
        self._open: dict[bytes, R] = {}

    def row(self, key: bytes) -> R:
        if key not in self._open:
            packed = self._held(key)
            self._open[key] = self._decode(packed) if packed else self._empty()
        return self._open[key]


def row_key(partition: int, *parts: str) -> bytes:
    """A row's key. It begins with the partition, as an id may occur in several; without parts, the partition's own row."""
    return b":".join([str(partition).encode(), *(["\0".join(parts).encode()] if parts else [])])


def partition_of(key: bytes) -> int:
    """The partition of a row's key."""
    return int(key.partition(b":")[0])


class ReaderStep:
    """Interactions -> rows of readers, and what counts on to the notes.

    Args:
        identity: of the interactions topic; a recreated topic is a new source.
        targets: partitions of ``metrics-by-note``.
    """

    table: str | None = "readers"

    def __init__(self, rules: Rules, identity: str, targets: int) -> None:
        self._rules, self._identity, self._targets = rules, identity, targets
        self._decode = decoder(Interaction)

    def fold(self) -> ReaderFold:
        return ReaderFold(self._rules)

    def open_row(self, key: bytes, packed: bytes) -> ReaderRow | StreamRow:
        return _reader_row(packed) if b":" in key else _stream_row(packed)

    def decide(self, partition: int, records: Sequence[Record], held: Held, fold: ReaderFold) -> Decided:
        decided, source = Decided(), f"{self._identity}/{partition}"
        own = row_key(partition)
        packed = held(own)
        stream = _stream_row(packed) if packed else StreamRow()
        before = self._rules.window(stream.newest)
        rows = _Batch(held, _reader_row, ReaderRow)
        for record in records:
            event = _decoded(self._decode, record, decided)
            if event is None:
                continue
            key = row_key(partition, event.user_id)
            row, place = rows.row(key), Place(source, record.offset, record.timestamp)
            verdict = take_event(row, stream, event, place, self._rules)
            if verdict in ("applied", "duplicate"):
                decided.counts.skipped_as_applied += 1
            decided.counts.stale += verdict == "late"
            if verdict != "applied":
                decided.rows[key] = row
            if verdict == "counted" and (action := note_action(event, place)):
                decided.forwards.append(_forward(event.note_id, action, self._targets))
        if self._rules.window(stream.newest) > before:
            decided.rows.update((key, None) for key in fold.move(stream.newest) if key not in decided.rows)
        decided.rows[own] = stream
        return decided


class FactStep:
    """Note events -> what the metrics need of a note, on to its row."""

    table: str | None = None

    def __init__(self, targets: int) -> None:
        self._targets = targets
        self._decode = decoder(NoteEvent)

    def fold(self) -> None:
        return None

    def open_row(self, key: bytes, packed: bytes) -> None:
        return None

    def decide(self, partition: int, records: Sequence[Record], held: Held, fold: None) -> Decided:
        decided = Decided()
        for record in records:
            note = _decoded(self._decode, record, decided)
            if note is not None:
                decided.forwards.append(_forward(note.note_id, NoteFacts(note.published_at, note.category), self._targets))
        return decided


class NoteStep:
    """What the other steps forwarded -> rows of notes."""

    table: str | None = "notes"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def fold(self) -> NoteFold:
        return NoteFold(self._rules)

    def open_row(self, key: bytes, packed: bytes) -> NoteRow:
        return _note_row(packed)

    def decide(self, partition: int, records: Sequence[Record], held: Held, fold: NoteFold) -> Decided:
        decided = Decided()
        rows = _Batch(held, _note_row, NoteRow)
        room, newest = self._rules.waiting - fold.waiting, fold.newest
        for record in records:
            key = row_key(partition, (record.key or b"").decode())
            row = rows.row(key)
            try:
                taken = _by_note(record.value or b"")
            except msgspec.DecodeError as error:
                decided.dead.append((record, Failure("invalid_event", str(error), f"{JOB}/decode", "$")))
                decided.counts.dead_lettered += 1
                continue
            waiting = len(row.waiting)
            if isinstance(taken, NoteFacts):
                changed = take_facts(row, taken, self._rules)
            else:
                changed = take_action(row, taken, self._rules, room)
                newest = max(newest, self._rules.window(taken.occurred_at))
            if changed:
                decided.rows[key] = row
            room -= len(row.waiting) - waiting
        if newest > fold.newest:
            self._sweep(fold, newest, rows, decided)
        return decided

    def _sweep(self, fold: NoteFold, newest: int, rows: _Batch[NoteRow], decided: Decided) -> None:
        """Drops what is no longer kept; of a note whose event never came nothing is left then."""
        for key in [*fold.move(newest), *decided.rows]:
            row = rows.row(key)
            if prune_note(row, newest, self._rules):
                bare = row.published_at is None and not (row.waiting or row.cells or row.given_up)
                decided.rows[key] = None if bare else row


class TagStep:
    """Tagged notes -> rows of tag quality.

    Args:
        quality: what a note's tags look like in numbers.
        first: how many first notes of a bundle, in each partition, become its reference.
        given: whether a bundle has a reference already.
    """

    table: str | None = "tags"

    def __init__(self, rules: Rules, window_ms: int, quality: Quality, first: int, given: Callable[[str], bool]) -> None:
        self._rules, self._window_ms, self._quality, self._first, self._given = rules, window_ms, quality, first, given
        self._decode = decoder(NoteTagged)

    def fold(self) -> TagFold:
        return TagFold(self._rules, self._window_ms)

    def open_row(self, key: bytes, packed: bytes) -> TagRow:
        return _tag_row(packed)

    def decide(self, partition: int, records: Sequence[Record], held: Held, fold: TagFold) -> Decided:
        decided = Decided()
        rows: dict[bytes, TagRow] = {}
        referenced: dict[str, int] = {}
        newest = fold.newest
        for record in records:
            note = _decoded(self._decode, record, decided)
            if note is None or note.deleted or is_canary(note.note_id):
                continue
            key = row_key(partition, note.bundle, note.note_id)
            packed = held(key)
            known = rows.get(key) or (_tag_row(packed) if packed else None)
            order = (note.occurred_at, note.revision)
            if known is not None and (known.order >= order or known.window == REFERENCE):
                decided.counts.skipped_as_applied += known.order == order
                decided.counts.stale += known.order > order
                continue
            window = note.occurred_at - note.occurred_at % self._window_ms
            if known is None and not self._given(note.bundle):
                taken = referenced.setdefault(note.bundle, fold.references(note.bundle))
                if taken < self._first:
                    referenced[note.bundle], window = taken + 1, REFERENCE
            rows[key] = TagRow(note.bundle, order, window, vector_of(self._quality(note)))
            newest = max(newest, window)
        decided.rows.update(rows)
        if newest > fold.newest:
            decided.rows.update((key, None) for key in fold.move(newest) if key not in rows)
        return decided


E = TypeVar("E", Interaction, NoteEvent, NoteTagged)


def _decoded(decode: Callable[[bytes | None, Headers | None], E], record: Record, decided: Decided) -> E | None:
    """The event; what is none becomes a dead letter."""
    try:
        event = decode(record.value, record.headers)
    except InvalidEvent as error:
        decided.dead.append((record, Failure("invalid_event", error.reason, f"{JOB}/decode", error.field)))
        decided.counts.dead_lettered += 1
        return None
    decided.counts.handled += 1
    return event


def _forward(note_id: str, taken: NoteAction | NoteFacts, targets: int) -> Forward:
    key = note_id.encode()
    return Forward(zlib.crc32(key) % targets, key, _encode(taken))
