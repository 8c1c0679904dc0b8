"""The exact twin of the note store in memory."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from recall.notes import ALL, follow, newest_of, places, supersedes
from recall.stores import Hit, Shared, TagCounts, Window
from schemas.stored import NoteRecord, Place
from schemas.writes import PutNote


class _Listing(NamedTuple):
    """What a place lists, newest first, ties in the order Redis gives them. ``numbers``: the notes', shape (notes,); ``ages``: their
    publication times negated, so ascending."""

    numbers: NDArray[np.int64]
    ages: NDArray[np.int64]

    def within(self, window: Window) -> slice:
        """The part that the window accepts."""
        begin = 0 if window.until is None else int(np.searchsorted(self.ages, -window.until, "left"))
        end = len(self.ages) if window.since is None else int(np.searchsorted(self.ages, -window.since, "right"))
        return slice(begin, max(begin, end))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(NoteRecord).decode
_NOTHING = _Listing(np.zeros(0, np.int64), np.zeros(0, np.int64))


class MemoryNotes:
    """The in-memory twin of ``RedisNotes``, for tests, dry runs and evaluation. A place's order is worked out when it is first read after a
    write. Records are handed out as they are held: a later write makes new ones, and who reads must not change them."""

    def __init__(self) -> None:
        self._records: dict[str, NoteRecord] = {}
        self._index: dict[Place, dict[str, int]] = {}
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._listings: dict[Place, tuple[int, _Listing]] = {}
        self._writes = 0

    def get(self, note_ids: Sequence[str]) -> dict[str, NoteRecord]:
        records = self._records
        return {note_id: records[note_id] for note_id in dict.fromkeys(note_ids) if note_id in records}

    def glance(self, note_ids: Sequence[str]) -> dict[str, NoteRecord]:
        return self.get(note_ids)

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

    def shared(self, weights: Mapping[str, float], window: Window, limit: int, best: int) -> Shared:
        listings = [self._listing(("tag", text)) for text in weights]
        spans = [listing.within(window) for listing in listings]
        spans = [slice(span.start, min(span.stop, span.start + max(0, limit))) for span in spans]
        sizes = [span.stop - span.start for span in spans]
        numbers = np.concatenate([_NOTHING.numbers, *(one.numbers[span] for one, span in zip(listings, spans, strict=True))])
        ages = np.concatenate([_NOTHING.ages, *(one.ages[span] for one, span in zip(listings, spans, strict=True))])
        cut = any(size >= limit for size in sizes)
        found, first, place = np.unique(numbers, return_index=True, return_inverse=True)
        sums = np.bincount(place, np.repeat(np.fromiter(weights.values(), np.float64, len(sizes)), sizes), len(found))
        if best <= 0 or not len(found):
            return Shared([], cut)
        least = np.sort(sums)[::-1][min(best, len(sums)) - 1]
        hits = [Hit(self._names[found[at]], float(sums[at]), -int(ages[first[at]])) for at in np.flatnonzero(sums >= least)]
        return Shared(sorted(hits, key=lambda hit: (-hit.score, -hit.published_at, hit.note_id))[:best], cut)

    def tag_counts(self, texts: Sequence[str], until: int | None = None) -> TagCounts:
        return TagCounts(self._count(("recent", ALL), until), {text: self._count(("tag", text), until) for text in texts})

    def recent(self, categories: Sequence[str], window: Window, limit: int) -> list[Hit]:
        lists = list(self.newest(categories, window, limit).values())
        return lists[0] if len(lists) == 1 else newest_of(lists, limit)

    def newest(self, categories: Sequence[str], window: Window, limit: int) -> dict[str, list[Hit]]:
        return {category: self._newest(("recent", category), window, limit) for category in categories}

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

    def _listing(self, place: Place) -> _Listing:
        members = self._index.get(place)
        if not members:
            return _NOTHING
        writes = self._writes
        known = self._listings.get(place)
        if known is not None and known[0] == writes:
            return known[1]
        order = sorted(members.items(), key=lambda item: (item[1], item[0].encode()), reverse=True)
        numbers = np.fromiter((self._numbers[note_id] for note_id, _ in order), np.int64, len(order))
        listing = _Listing(numbers, np.fromiter((-at for _, at in order), np.int64, len(order)))
        self._listings[place] = (writes, listing)
        return listing


def _copied(record: NoteRecord) -> NoteRecord:
    """A record that does not change with the one it was made of."""
    return _decode(_encode(record))
