"""Reader records in Redis and in memory, written by compare-and-set.

A value is an 8-byte token and the packed record; the token is a hash of the packed record. So a write whose answer was lost finds its own
token and is done, and a record that came to the same content by another way is no conflict: the decision holds for it as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import xxhash
from msgspec import Struct

from recall.redis_client import Client, redis_errors
from recall.stores import Held
from schemas.keys import Keys
from schemas.stored import ProfileRecord
from schemas.writes import PutProfile

TOKEN_BYTES = 8
READ_KEYS = 2_000
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


class _Write(Struct):
    put: PutProfile
    key: str
    value: bytes


class RedisProfiles:
    """Reader records in Redis; the readers of a bucket are written by one script call, the calls of a chunk travel together."""

    def __init__(self, client: Client, keys: Keys, cached_readers: int = 0) -> None:
        """``cached_readers`` records of 8 KiB each on average stay in memory between calls: for the consumer that writes them. A record
        that was read is out of the cache until its write is acknowledged, so a failed write never leaves a changed one behind."""
        self._client: Any = client
        self._keys = keys
        self._cache = _Cache(cached_readers)
        self._script = ""

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        held: dict[str, Held] = {}
        missing: dict[str, str] = {}
        for user_id in dict.fromkeys(user_ids):
            found = self._cache.take(user_id)
            if found is None:
                missing[user_id] = self._keys.profile(user_id)
            else:
                held[user_id] = found
        for user_id, value in zip(missing, self._values(list(missing.values())), strict=True):
            held[user_id] = unpack(value)
        return held

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        refused: list[PutProfile] = []
        for batch in self._rounds(puts):
            refused += self._write_round(batch)
        return refused

    def _values(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """The values of the keys, in order; one MGET a bucket, so that each stays within a slot."""
        for start in range(0, len(keys), READ_KEYS):
            wanted = keys[start : start + READ_KEYS]
            buckets = _by_bucket(wanted)
            with redis_errors():
                pipeline = self._client.pipeline(transaction=False)
                for places in buckets.values():
                    pipeline.execute_command("MGET", *(wanted[place] for place in places))
                answers = pipeline.execute()
            found: list[bytes | None] = [None] * len(wanted)
            for places, values in zip(buckets.values(), answers, strict=True):
                for place, value in zip(places, values, strict=True):
                    found[place] = value
            yield from found

    def _rounds(self, puts: Sequence[PutProfile]) -> Iterator[list[list[_Write]]]:
        """Writes by bucket, as many buckets at a time as fit into a round trip; packed only then, so that memory stays small."""
        keys = [self._keys.profile(put.user_id) for put in puts]
        batch: list[list[_Write]] = []
        size = 0
        for places in _by_bucket(keys).values():
            writes = []
            for place in places:
                value = pack(puts[place].record)
                size += len(value)
                writes.append(_Write(puts[place], keys[place], value))
                if size >= ROUND_BYTES:
                    yield [*batch, writes]
                    batch, writes, size = [], [], 0
            if writes:
                batch.append(writes)
        if batch:
            yield batch

    def _write_round(self, batch: Sequence[Sequence[_Write]]) -> list[PutProfile]:
        from redis.exceptions import NoScriptError

        with redis_errors():
            try:
                answers = self._call(batch)
            except NoScriptError:
                self._script = ""
                answers = self._call(batch)
        refused = []
        for writes, answer in zip(batch, answers, strict=True):
            places = {place - 1 for place in answer}
            for place, write in enumerate(writes):
                if place in places:
                    refused.append(write.put)
                else:
                    self._cache.keep(write.put.user_id, Held(write.value[:TOKEN_BYTES], write.put.record), len(write.value))
        return refused

    def _call(self, batch: Sequence[Sequence[_Write]]) -> list[list[int]]:
        """One script call a bucket, all in one round trip."""
        if not self._script:
            self._script = self._client.script_load(COMPARE_AND_SET)
        pipeline = self._client.pipeline(transaction=False)
        for writes in batch:
            arguments: list[str | bytes] = [write.key for write in writes]
            for write in writes:
                arguments += (write.put.version, write.value)
            pipeline.execute_command("EVALSHA", self._script, len(writes), *arguments)
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
    """Records of the readers written last, bounded by readers and by the bytes of their values together."""

    def __init__(self, readers: int) -> None:
        self._readers = readers
        self._size = 0
        self._held: dict[str, tuple[Held, int]] = {}

    def take(self, user_id: str) -> Held | None:
        found = self._held.pop(user_id, None)
        if found is None:
            return None
        self._size -= found[1]
        return found[0]

    def keep(self, user_id: str, held: Held, size: int) -> None:
        if not self._readers:
            return
        self.take(user_id)
        self._held[user_id] = held, size
        self._size += size
        while len(self._held) > self._readers or self._size > self._readers * BYTES_PER_CACHED_READER:
            self.take(next(iter(self._held)))


def _by_bucket(keys: Sequence[str]) -> dict[str, list[int]]:
    """Places of the keys by the hash tag they begin with."""
    buckets: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        buckets[key[: key.index("}")]].append(place)
    return buckets
