"""Note records, the tag inverted index and the recency lists, in Redis; the twin in memory is in ``recall/memory_notes.py``.

The record (one key) and the index entries (one sorted set per tag and per category) live in different cluster slots, so no script can
write them together. The order that survives a crash between any two steps:

1. the record, by compare-and-set, with the places the note leaves in ``retired``;
2. the index: entries added for every place of the record, removed for every retired one;
3. the record again without ``retired``, by compare-and-set.

Killed before 1: nothing happened. Before 2 or 3: the event is not committed, its redelivery finds the same digest and does 2 and 3 again
from what the record says. When 3 finds that somebody else wrote in between, step 2 is repeated from the newer record, so a late removal
never hides a newer entry. An entry left behind by a process that died as a zombie is harmless: candidates are checked against the record.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from secrets import token_bytes
from typing import Any

import msgspec

from recall.redis_client import Client, read_values, redis_errors, run_all
from recall.redis_looks import RedisLooks, range_calls
from recall.stores import ALL, Hit, Look, Looked, TagCounts, Window
from schemas.canary import is_canary
from schemas.errors import Transient
from schemas.keys import Keys
from schemas.stored import TOKEN_BYTES, NoteRecord, Place
from schemas.writes import PutNote

ATTEMPTS = 16
STAMP_BYTES = 8
# KEYS[1] record; ARGV[1] token it was decided against ("" = absent), ARGV[2] new value. Answers false when written, else the present value.
COMPARE_AND_SET = """
if redis.call('GETRANGE', KEYS[1], 0, 7) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return false end
return redis.call('GET', KEYS[1])
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(NoteRecord).decode


def supersedes(held: NoteRecord | None, record: NoteRecord) -> bool:
    """Whether ``record`` is newer than what is held, or the same event once more (equal order and digest); otherwise it is stale."""
    return held is None or record.order > held.order or (record.order == held.order and record.digest == held.digest)


def follow(held: NoteRecord | None, record: NoteRecord) -> NoteRecord:
    """The record to hold after one that ``supersedes``: the places it leaves are retired; a redelivery changes nothing."""
    if held is None:
        return record
    if record.order == held.order:
        return held
    left = {*places(held), *held.retired} - places(record)
    return msgspec.structs.replace(record, retired=sorted(left))


def places(record: NoteRecord) -> set[Place]:
    """Where the index must list the note: each tag, its category and all notes; nowhere once deleted, and a canary never."""
    if record.deleted or is_canary(record.note_id):
        return set()
    found: set[Place] = {("tag", tag.text) for tag in record.tags}
    found.add(("recent", ALL))
    if record.category:
        found.add(("recent", record.category))
    return found


class Decided(msgspec.Struct):
    """Several puts of one note, in order, folded over what is held."""

    record: NoteRecord | None
    stale: list[PutNote]

    @classmethod
    def over(cls, held: NoteRecord | None, puts: Iterable[PutNote]) -> "Decided":
        """The final record, and the puts that came too late for it."""
        stale = []
        for put in puts:
            if supersedes(held, put.record):
                held = follow(held, put.record)
            else:
                stale.append(put)
        return cls(held, stale)


class RedisNotes:
    """``Notes`` on Redis or Redis Cluster: a value is an 8-byte content hash (the compare-and-set token) and the record as msgpack."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._looks = RedisLooks(client, keys)

    def get(self, note_ids: Sequence[str]) -> dict[str, NoteRecord]:
        return {note_id: _decode(value[TOKEN_BYTES:]) for note_id, value in self._values(note_ids).items()}

    def put(self, puts: Sequence[PutNote]) -> list[PutNote]:
        by_note: dict[str, list[PutNote]] = {}
        for put in puts:
            by_note.setdefault(put.record.note_id, []).append(put)
        first = {note_id: mine[0].previous for note_id, mine in by_note.items()}
        expected = {note_id: _token(held) for note_id, held in first.items()}
        decided = {note_id: Decided.over(first[note_id], mine) for note_id, mine in by_note.items()}
        open_ids = set(by_note)
        for _ in range(ATTEMPTS):
            rivals = self._compare_and_set({n: (expected[n], record) for n in by_note if n in open_ids and (record := decided[n].record)})
            for note_id, value in rivals.items():
                expected[note_id] = value[:TOKEN_BYTES]
                decided[note_id] = Decided.over(_decode(value[TOKEN_BYTES:]), by_note[note_id])
            open_ids = set(rivals)
            if not open_ids:
                break
        else:
            raise Transient("redis", f"{len(open_ids)} note records change faster than they can be written")
        self._list_in_index([entry.record for entry in decided.values() if entry.record])
        late = {id(put) for entry in decided.values() for put in entry.stale}
        return [put for put in puts if id(put) in late]

    def stamp(self, versions: Mapping[str, int], stage: str, at: int) -> None:
        values = self._values(list(versions))
        for _ in range(ATTEMPTS):
            stamped: dict[str, tuple[bytes, NoteRecord]] = {}
            for note_id, value in values.items():
                record = _decode(value[TOKEN_BYTES:])
                if record.occurred_at == versions[note_id] and stage not in record.stages:
                    record.stages[stage] = at
                    stamped[note_id] = (value[:TOKEN_BYTES], record)
            values = self._compare_and_set(stamped)
            if not values:
                return
        raise Transient("redis", f"{len(values)} note records change faster than they can be stamped")

    def look(self, look: Look, window: Window = Window(), limit: int = 0) -> Looked:  # noqa: B008
        return self._looks.look(look, window, limit)

    def tag_counts(self, texts: Sequence[str], until: int | None = None) -> TagCounts:
        return self._looks.tag_counts(texts, until)

    def recent(self, categories: Sequence[str], window: Window, limit: int) -> list[Hit]:
        keys = [self._keys.recent(category) for category in dict.fromkeys(categories)] if limit > 0 else []
        return newest_of(map(_timed, self._run(range_calls(keys, window, limit, "WITHSCORES"))), limit)

    def trim(self, before: int) -> int:
        """Drops index entries of notes published before (epoch ms); records stay. Returns how many entries went. Reads every key once."""
        dropped = 0
        for pattern in self._keys.index_patterns():
            with redis_errors():
                found = iter(self._client.scan_iter(match=pattern, count=1000))
                while batch := list(islice(found, 1000)):
                    dropped += self._drop_before(batch, before)
        return dropped

    def _drop_before(self, keys: Sequence[bytes], before: int) -> int:
        dropped = self._run([("ZREMRANGEBYSCORE", key, "-inf", f"({before}") for key in keys])
        self._run(self._stamp_calls([key.decode() for key, count in zip(keys, dropped, strict=True) if count and key.startswith(b"{t")]))
        return sum(dropped)

    def _stamp_calls(self, tags: Iterable[str]) -> list[tuple[Any, ...]]:
        """What says that lists of tags changed, sent after the change: see ``recall/kept_lists.py``."""
        stamp = token_bytes(STAMP_BYTES)
        return [("SET", key, stamp) for key in self._keys.stamps(tags)]

    def _values(self, note_ids: Sequence[str]) -> dict[str, bytes]:
        distinct = list(dict.fromkeys(note_ids))
        values = read_values(self._client, self._keys.notes(distinct))
        return {note_id: value for note_id, value in zip(distinct, values, strict=True) if value}

    def _compare_and_set(self, records: Mapping[str, tuple[bytes, NoteRecord]]) -> dict[str, bytes]:
        """Writes each record against its token; returns the present value of those where somebody else was faster."""
        calls = []
        for note_id, (expected, record) in records.items():
            calls.append(("EVAL", COMPARE_AND_SET, 1, self._keys.note(note_id), expected, _value(record)))
        return {note_id: rival for note_id, rival in zip(records, self._run(calls), strict=True) if rival is not None}

    def _list_in_index(self, records: Sequence[NoteRecord]) -> None:
        """Steps 2 and 3 of the module's order."""
        for _ in range(ATTEMPTS):
            added: dict[str, dict[str, int]] = {}
            removed: dict[str, list[str]] = {}
            for record in records:
                for place in places(record):
                    added.setdefault(self._key(place), {})[record.note_id] = record.published_at
                for place in record.retired:
                    removed.setdefault(self._key(place), []).append(record.note_id)
            calls: list[tuple[Any, ...]] = [("ZREM", key, *members) for key, members in removed.items()]
            for key, scores in added.items():
                calls.append(("ZADD", key, *(part for member, score in scores.items() for part in (score, member))))
            changed = self._keys.tags({name for record in records for kind, name in (*places(record), *record.retired) if kind == "tag"})
            calls += self._stamp_calls(changed)
            self._run(calls)
            settled = {r.note_id: (_token(r), msgspec.structs.replace(r, retired=[])) for r in records if r.retired}
            rivals = self._compare_and_set(settled)
            if not rivals:
                return
            records = [_decode(value[TOKEN_BYTES:]) for value in rivals.values()]
        raise Transient("redis", f"{len(records)} note records change faster than they can be indexed")

    def _key(self, place: Place) -> str:
        kind, name = place
        return self._keys.tag(name) if kind == "tag" else self._keys.recent(name)

    def _run(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return run_all(self._client, calls)


def newest_of(lists: Iterable[Iterable[Hit]], limit: int) -> list[Hit]:
    """The newest distinct notes of several lists; notes of one time in the order Redis gives them (descending bytes)."""
    distinct = {hit.note_id: hit for hits in lists for hit in hits}
    return sorted(distinct.values(), key=lambda hit: (hit.published_at, hit.note_id.encode()), reverse=True)[: max(0, limit)]


def _value(record: NoteRecord) -> bytes:
    payload = _encode(record)
    return blake2b(payload, digest_size=TOKEN_BYTES).digest() + payload


def _token(record: NoteRecord | None) -> bytes:
    return b"" if record is None else _value(record)[:TOKEN_BYTES]


def _timed(answer: Sequence[Any]) -> list[Hit]:
    """Members WITHSCORES, whether the client already paired them or not."""
    pairs = answer if answer and isinstance(answer[0], (list, tuple)) else zip(answer[::2], answer[1::2], strict=True)
    return [Hit(member.decode(), at := float(score), int(at)) for member, score in pairs]
