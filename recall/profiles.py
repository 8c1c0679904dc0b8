"""Reader records in Redis and in memory, written by compare-and-set.

A value is an 8-byte token and the packed record; the token is a hash of the packed record. So a write whose answer was lost finds its own
token and is done, and a record that came to the same content by another way is no conflict: the decision holds for it as well.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import xxhash

from recall.redis_client import Client, read_values, redis_errors
from recall.stores import Held
from schemas.keys import Keys, bucket
from schemas.stored import ProfileRecord
from schemas.writes import PutProfile

TOKEN_BYTES = 8
ROUND_BYTES = 4_000_000
BYTES_PER_CACHED_READER = 8_192
# KEYS: readers of one slot. ARGV: for each the token it was decided against ("" = absent) and the new value. Answers the places refused.
COMPARE_AND_SET = """
local refused = {}
for i, key in ipairs(KEYS) do
  local held, value = redis.call('GETRANGE', key, 0, 7), ARGV[2 * i]
  if held == ARGV[2 * i - 1] then
    redis.call('SET', key, value)
  elseif held ~= string.sub(value, 1, 8) then
    refused[#refused + 1] = i
  end
end
return refused
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProfileRecord).decode


def pack(record: ProfileRecord) -> bytes:
    """A stored value: token and packed record."""
    body = _encode(record)
    return xxhash.xxh3_64_digest(body) + body


def unpack(value: bytes | None) -> Held:
    """The record of a stored value; a new one where there is none."""
    if not value:
        return Held(b"", ProfileRecord())
    return Held(value[:TOKEN_BYTES], _decode(memoryview(value)[TOKEN_BYTES:]))


class _Call(NamedTuple):
    """One script call: readers of one bucket."""

    keys: list[str]
    puts: Sequence[PutProfile]
    values: list[bytes]


class RedisProfiles:
    """Reader records in Redis; the readers of a bucket are written by one script call, the calls of a chunk travel together."""

    def __init__(self, client: Client, keys: Keys, cached_readers: int = 0) -> None:
        """``cached_readers`` records of 8 KiB each on average stay in memory between calls: for the consumer that writes them. A record
        that was read is out of the cache until its write is acknowledged, so a failed write never leaves a changed one behind."""
        self._client: Any = client
        self._cache = _Cache(cached_readers, keys)
        self._script = ""

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        held: dict[str, Held] = {}
        missing: dict[str, str] = {}
        take = self._cache.take
        for user_id in dict.fromkeys(user_ids):
            found = take(user_id)
            if found is None:
                missing[user_id] = self._cache.place_of(user_id)[1]
            else:
                held[user_id] = found
        for user_id, value in zip(missing, read_values(self._client, list(missing.values())), strict=True):
            held[user_id] = unpack(value)
        return held

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        refused: list[PutProfile] = []
        for batch in self._rounds(puts):
            refused += self._write_round(batch)
        return refused

    def _rounds(self, puts: Sequence[PutProfile]) -> Iterator[list[_Call]]:
        """Script calls, as many at a time as fit into a round trip; records are packed only then, so that memory stays small."""
        place_of = self._cache.place_of
        buckets: dict[int, list[PutProfile]] = {}
        for put in puts:
            mine = buckets.get(number := place_of(put.user_id)[0])
            if mine is None:
                buckets[number] = [put]
            else:
                mine.append(put)
        calls: list[_Call] = []
        size = 0
        for mine in buckets.values():
            start = 0
            values: list[bytes] = []
            for place, put in enumerate(mine, 1):
                value = pack(put.record)
                values.append(value)
                size += len(value)
                if size >= ROUND_BYTES or place == len(mine):
                    calls.append(_Call([place_of(put.user_id)[1] for put in mine[start:place]], mine[start:place], values))
                    start, values = place, []
                if size >= ROUND_BYTES:
                    yield calls
                    calls, size = [], 0
        if calls:
            yield calls

    def _write_round(self, calls: Sequence[_Call]) -> list[PutProfile]:
        from redis.exceptions import NoScriptError

        with redis_errors():
            try:
                answers = self._send(calls)
            except NoScriptError:
                self._script = ""
                answers = self._send(calls)
        refused = []
        for call, answer in zip(calls, answers, strict=True):
            lost = {place - 1 for place in answer}
            refused += [call.puts[place] for place in sorted(lost)]
            self._cache.keep(call.puts, call.values, lost)
        return refused

    def _send(self, calls: Sequence[_Call]) -> list[list[int]]:
        if not self._script:
            self._script = self._client.script_load(COMPARE_AND_SET)
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            arguments: list[bytes] = []
            for put, value in zip(call.puts, call.values, strict=True):
                arguments += (put.version, value)
            pipeline.execute_command("EVALSHA", self._script, len(call.keys), *call.keys, *arguments)
        answers: list[list[int]] = pipeline.execute()
        return answers


class MemoryProfiles:
    """The in-memory twin: the same values, tokens and refusals, in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        return {user_id: unpack(self.values.get(user_id)) for user_id in user_ids}

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        refused = []
        for put in puts:
            value = pack(put.record)
            held = self.values.get(put.user_id, b"")[:TOKEN_BYTES]
            if held == put.version:
                self.values[put.user_id] = value
            elif held != value[:TOKEN_BYTES]:
                refused.append(put)
        return refused


class _Cache:
    """Records of the readers written last, bounded by readers and by the bytes of their values together; and their keys."""

    def __init__(self, readers: int, keys: Keys) -> None:
        self._readers = readers
        self._keys = keys
        self._bytes_left = readers * BYTES_PER_CACHED_READER
        self._held: dict[str, tuple[Held, int]] = {}
        self._places: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def place_of(self, user_id: str) -> tuple[int, str]:
        """Bucket and key of a reader."""
        place = self._places.get(user_id)
        if place is None:
            if len(self._places) > self._readers:
                self._places.clear()
            place = self._places[user_id] = bucket(user_id), self._keys.profile(user_id)
        return place

    def take(self, user_id: str) -> Held | None:
        found = self._held.pop(user_id, None)
        if found is None:
            return None
        self._bytes_left += found[1]
        return found[0]

    def keep(self, puts: Sequence[PutProfile], values: Sequence[bytes], lost: Container[int]) -> None:
        """Keeps what was written, except the ``lost`` places."""
        if not self._readers:
            return
        held, left = self._held, self._bytes_left
        for place, (put, value) in enumerate(zip(puts, values, strict=True)):
            if place in lost:
                continue
            size = len(value)
            if before := held.pop(put.user_id, None):
                left += before[1]
            held[put.user_id] = Held(value[:TOKEN_BYTES], put.record), size
            left -= size
        self._bytes_left = left
        while self._bytes_left < 0 or len(held) > self._readers:
            self.take(next(iter(held)))
