"""The exact twin of the note store in memory."""

from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from recall.notes import follow, newest_of, places, supersedes
from recall.numbered_lists import NOTHING_LISTED, Listing, NumberedLists
from recall.stores import ALL, Hit, Look, Looked, TagCounts, Window
from schemas.stored import NoteRecord, Place
from schemas.writes import PutNote

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(NoteRecord).decode


class MemoryNotes:
    """The in-memory twin of ``RedisNotes``, for tests, dry runs and evaluation. A place's order is worked out when it is first read after a
    write. Records are handed out as they are held: a later write makes new ones, and who reads must not change them."""

    def __init__(self) -> None:
        self._records: dict[str, NoteRecord] = {}
        self._index: dict[Place, dict[str, int]] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._listings: dict[Place, tuple[int, Listing]] = {}
        self._writes = 0

    def get(self, note_ids: Sequence[str]) -> dict[str, NoteRecord]:
        records = self._records
        return {note_id: records[note_id] for note_id in dict.fromkeys(note_ids) if note_id in records}

    def put(self, puts: Sequence[PutNote]) -> list[PutNote]:
        stale = []
        for put in puts:
            note_id = put.record.note_id
            held = self._records.get(note_id)
            if not supersedes(held, put.record):
                stale.append(put)
                continue
            record = follow(held, put.record)
            if note_id not in self._numbers:
                self._numbers[note_id] = len(self._names)
                self._names.append(note_id)
            for place in record.retired:
                self._index.get(place, {}).pop(note_id, None)
            for place in places(record):
                self._index.setdefault(place, {})[note_id] = record.published_at
            self._records[note_id] = _copied(msgspec.structs.replace(record, retired=[]))
        self._writes += 1
        return stale

    def stamp(self, versions: Mapping[str, int], stage: str, at: int) -> None:
        for note_id, occurred_at in versions.items():
            record = self._records.get(note_id)
            if record is not None and record.occurred_at == occurred_at:
                self._records[note_id] = msgspec.structs.replace(record, stages=record.stages | {stage: record.stages.get(stage, at)})

    def look(self, look: Look, window: Window = Window(), limit: int = 0) -> Looked:  # noqa: B008
        return Looked(
            NumberedLists({text: self._within(("tag", text), window, limit) for text in look.tags}, self._names, limit),
            self.tag_counts(look.counted, window.until) if look.counted else TagCounts(0, {}),
            {name: self._called(self._within(("recent", name), window, limit)) for name in look.categories},
            self.get(look.notes),
        )

    def tag_counts(self, texts: Sequence[str], until: int | None = None) -> TagCounts:
        return TagCounts(self._count(("recent", ALL), until), {text: self._count(("tag", text), until) for text in texts})

    def recent(self, categories: Sequence[str], window: Window, limit: int) -> list[Hit]:
        lists = [self._newest(("recent", category), window, limit) for category in dict.fromkeys(categories)]
        return lists[0] if len(lists) == 1 else newest_of(lists, limit)

    def trim(self, before: int) -> int:
        """Drops index entries of notes published before (epoch ms); records stay. Returns how many entries went."""
        dropped = 0
        for members in self._index.values():
            for note_id in [note_id for note_id, at in members.items() if at < before]:
                del members[note_id]
                dropped += 1
        self._writes += 1
        return dropped

    def _count(self, place: Place, until: int | None) -> int:
        if until is None:
            return len(self._index.get(place, ()))
        ages = self._listing(place).ages
        return len(ages) - int(np.searchsorted(ages, -until, "left"))

    def _newest(self, place: Place, window: Window, limit: int) -> list[Hit]:
        listing = self._listing(place)
        span = listing.within(window)
        rows = islice(zip(listing.numbers[span].tolist(), listing.ages[span].tolist(), strict=True), max(0, limit))
        return [Hit(self._names[number], float(-age), -age) for number, age in rows]

    def _within(self, place: Place, window: Window, limit: int) -> NDArray[np.int64]:
        """Numbers of the newest notes that a place lists within the window."""
        listing = self._listing(place)
        span = listing.within(window)
        return listing.numbers[span.start : min(span.stop, span.start + max(0, limit))]

    def _called(self, numbers: NDArray[np.int64]) -> list[str]:
        return [self._names[number] for number in numbers.tolist()]

    def _listing(self, place: Place) -> Listing:
        members = self._index.get(place)
        if not members:
            return NOTHING_LISTED
        writes = self._writes
        known = self._listings.get(place)
        if known is not None and known[0] == writes:
            return known[1]
        order = sorted(members.items(), key=lambda item: (item[1], item[0].encode()), reverse=True)
        numbers = np.fromiter((self._numbers[note_id] for note_id, _ in order), np.int64, len(order))
        listing = Listing(numbers, np.fromiter((-at for _, at in order), np.int64, len(order)))
        self._listings[place] = (writes, listing)
        return listing


def _copied(record: NoteRecord) -> NoteRecord:
    """A record that does not change with the one it was made of."""
    return _decode(_encode(record))
