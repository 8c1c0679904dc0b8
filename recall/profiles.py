"""Reader records in Redis and in memory, written by compare-and-set.

A record is a list: head (an 8-byte token and the packed ``ProfileHead``), the packed profile, then the pieces of the tail. The token is a
hash of the token before it and of what the write stores, so a write whose answer was lost finds its own token and is done.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import xxhash

from recall.redis_client import Client, read_all, redis_errors, run_all
from recall.stores import Held, HeldHead
from schemas.keys import Keys, bucket
from schemas.stored import ProfileHead, ProfileRecord
from schemas.writes import PutProfile

TOKEN_BYTES = 8
ROUND_KEYS = 4_000
ROUND_BYTES = 4_000_000
APPEND = b"+"
# All scripts: KEYS are readers of one slot.
READ = "local all = {} for i, key in ipairs(KEYS) do all[i] = redis.call('LRANGE', key, 0, -1) end return all"
READ_HEADS = "local all = {} for i, key in ipairs(KEYS) do all[i] = redis.call('LINDEX', key, 0) end return all"
# ARGV: for each reader the token it was decided against ("" = absent), the new head, the profile ("+" keeps what is there) and a piece of
# tail. Answers the places refused.
COMPARE_AND_SET = """
local refused = {}
for i, key in ipairs(KEYS) do
  local at = 4 * i - 3
  local held = redis.call('LINDEX', key, 0)
  local token = held and string.sub(held, 1, 8) or ''
  if token == ARGV[at] then
    if ARGV[at + 2] == '+' then
      redis.call('LSET', key, 0, ARGV[at + 1])
      redis.call('RPUSH', key, ARGV[at + 3])
    else
      redis.call('DEL', key)
      redis.call('RPUSH', key, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    end
  elseif token ~= string.sub(ARGV[at + 1], 1, 8) then
    refused[#refused + 1] = i
  end
end
return refused
"""
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProfileHead).decode


def pack(put: PutProfile) -> tuple[bytes, bytes, bytes]:
    """What a write stores: head with its token, the profile or ``APPEND``, a piece of tail."""
    record, tail = put.record, put.appended
    head = _encode(record.head)
    if tail is None:
        profile, tail = record.settled, record.tail
    else:
        profile = APPEND if put.version else b""
    return xxhash.xxh3_64_digest(b"".join((put.version, head, profile, tail))) + head, profile, tail


def unpack_head(packed: bytes | None) -> HeldHead:
    """The head of a record; a new one where there is none."""
    return HeldHead(packed[:TOKEN_BYTES], _decode(packed[TOKEN_BYTES:])) if packed else HeldHead(b"", ProfileHead())


def unpack(parts: Sequence[bytes]) -> Held:
    """The record of a list; a new one where there is none."""
    if not parts:
        return Held(b"", ProfileRecord())
    version, head = unpack_head(parts[0])
    return Held(version, ProfileRecord(head, parts[1], b"".join(parts[2:])))


class _Call(NamedTuple):
    """One script call: readers of one bucket."""

    puts: list[PutProfile]
    keys: list[str]
    arguments: list[bytes]
    versions: list[bytes]


class RedisProfiles:
    """Reader records in Redis; the readers of a bucket are read or written by one script call, the calls of a chunk travel together."""

    def __init__(self, client: Client, keys: Keys, cached_readers: int = 0) -> None:
        """``cached_readers`` heads stay in memory between calls: for the consumer that writes them. A head that was asked for is out of the
        cache until its write is acknowledged, so a failed write never leaves a changed one behind."""
        self._client: Any = client
        self._cache = _Cache(cached_readers, keys)
        self._scripts: dict[str, str] = {}

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        for user_id in user_ids:
            self._cache.take(user_id)
        return self._ask(READ, user_ids, unpack)

    def heads(self, user_ids: Sequence[str]) -> dict[str, HeldHead]:
        take = self._cache.take
        held: dict[str, HeldHead] = {}
        missing = []
        for user_id in user_ids:
            found = take(user_id)
            if found is None:
                missing.append(user_id)
            else:
                held[user_id] = found
        return held | self._ask(READ_HEADS, missing, unpack_head) if missing else held

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        refused: list[PutProfile] = []
        for calls in self._rounds(puts):
            answers = self._run(COMPARE_AND_SET, [(call.keys, call.arguments) for call in calls])
            for call, answer in zip(calls, answers, strict=True):
                lost = {place - 1 for place in answer}
                refused += [call.puts[place] for place in sorted(lost)]
                self._cache.keep(call.puts, call.versions, lost)
        return refused

    def _ask(self, script: str, user_ids: Sequence[str], unpack_one: Callable[[Any], T]) -> dict[str, T]:
        found: dict[str, T] = {}
        distinct = list(dict.fromkeys(user_ids))
        for start in range(0, len(distinct), ROUND_KEYS):
            buckets: dict[int, list[str]] = {}
            for user_id in distinct[start : start + ROUND_KEYS]:
                buckets.setdefault(self._cache.place_of(user_id)[0], []).append(user_id)
            calls: list[tuple[list[str], list[bytes]]] = [([self._cache.place_of(one)[1] for one in mine], []) for mine in buckets.values()]
            for mine, answers in zip(buckets.values(), self._run(script, calls), strict=True):
                found.update(zip(mine, map(unpack_one, answers), strict=True))
        return found

    def _rounds(self, puts: Sequence[PutProfile]) -> Iterator[list[_Call]]:
        """Script calls, as many at a time as fit into a round trip; records are packed only then, so that memory stays small."""
        place_of = self._cache.place_of
        buckets: dict[int, list[tuple[str, PutProfile]]] = {}
        for put in puts:
            number, key = place_of(put.user_id)
            mine = buckets.get(number)
            if mine is None:
                buckets[number] = [(key, put)]
            else:
                mine.append((key, put))
        calls: list[_Call] = []
        size = 0
        for mine in buckets.values():
            call = _Call([], [], [], [])
            calls.append(call)
            for key, put in mine:
                if size >= ROUND_BYTES:
                    yield calls
                    call, size = _Call([], [], [], []), 0
                    calls = [call]
                head, profile, tail = pack(put)
                size += len(profile) + len(tail)
                call.puts.append(put)
                call.keys.append(key)
                call.arguments.extend((put.version, head, profile, tail))
                call.versions.append(head[:TOKEN_BYTES])
        if calls:
            yield calls

    def _run(self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[bytes]]]) -> list[list[Any]]:
        """One script call per (keys, arguments), all in one round trip. A server that has lost the script gets it again."""
        from redis.exceptions import NoScriptError

        with redis_errors():
            try:
                return self._send(script, calls)
            except NoScriptError:
                self._scripts.pop(script, None)
                return self._send(script, calls)

    def _send(self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[bytes]]]) -> list[list[Any]]:
        loaded = self._scripts.get(script)
        if loaded is None:
            loaded = self._scripts[script] = self._client.script_load(script)
        run = run_all if script == COMPARE_AND_SET else read_all
        return run(self._client, [("EVALSHA", loaded, len(keys), *keys, *arguments) for keys, arguments in calls])


class MemoryProfiles:
    """The in-memory twin: the same parts, tokens and refusals, in a dictionary."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = {}

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        return {user_id: unpack(self.parts.get(user_id, [])) for user_id in user_ids}

    def heads(self, user_ids: Sequence[str]) -> dict[str, HeldHead]:
        return {user_id: unpack_head(self.parts[user_id][0] if user_id in self.parts else None) for user_id in user_ids}

    def write(self, puts: Sequence[PutProfile]) -> list[PutProfile]:
        refused = []
        for put in puts:
            head, profile, tail = pack(put)
            held = self.parts.get(put.user_id)
            token = held[0][:TOKEN_BYTES] if held else b""
            if token == put.version:
                self.parts[put.user_id] = [head, *held[1:], tail] if held and profile == APPEND else [head, profile, tail]
            elif token != head[:TOKEN_BYTES]:
                refused.append(put)
        return refused


class _Cache:
    """Heads of the readers written last, and where readers are."""

    def __init__(self, readers: int, keys: Keys) -> None:
        self._readers = readers
        self._keys = keys
        self._held: dict[str, HeldHead] = {}
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

    def take(self, user_id: str) -> HeldHead | None:
        return self._held.pop(user_id, None)

    def keep(self, puts: Sequence[PutProfile], versions: Sequence[bytes], lost: Container[int]) -> None:
        """Keeps the heads that were written, not those at the ``lost`` places."""
        if not self._readers:
            return
        held = self._held
        for place, (put, version) in enumerate(zip(puts, versions, strict=True)):
            if place not in lost:
                held.pop(put.user_id, None)
                held[put.user_id] = HeldHead(version, put.record.head)
        while len(held) > self._readers:
            del held[next(iter(held))]
