"""How many impressions by exploration each new note has had, and with whom: in Redis and in memory.

One set per note holds the readers it was granted to; its size is what is spent. A reservation is the impression: it is taken by one
script, so that concurrent queries never grant more than the budget, and it is not given back, whether the reader scrolls that far or not.
That keeps the total bounded without a consumer in between; a set expires once its note is too old to be explored.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from recall.note_index import now_ms
from recall.redis_client import Client, redis_errors
from schemas.keys import Keys

# KEYS[1] readers of one note; ARGV[1] reader, ARGV[2] budget, ARGV[3] time to live in ms. Answers what is left, -1 when nothing is granted.
RESERVE = """
local spent = redis.call('SCARD', KEYS[1])
if spent >= tonumber(ARGV[2]) or redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return tonumber(ARGV[2]) - spent - 1
"""


class RedisExplorationBudget:
    """``ExplorationBudget`` on Redis or Redis Cluster."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def spent(self, note_ids: Sequence[str]) -> dict[str, int]:
        distinct = list(dict.fromkeys(note_ids))
        if not distinct:
            return {}
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            for note_id in distinct:
                pipe.execute_command("SCARD", self._keys.explored(note_id))
            return dict(zip(distinct, pipe.execute(), strict=True))

    def reserve(self, note_id: str, user_id: str, impressions: int, keep_ms: int) -> int | None:
        call: Any = self._client.execute_command
        with redis_errors():
            left = int(call("EVAL", RESERVE, 1, self._keys.explored(note_id), user_id, impressions, keep_ms))
        return None if left < 0 else left


class MemoryExplorationBudget:
    """The in-memory twin of ``RedisExplorationBudget``, for tests and dry runs."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._readers: dict[str, tuple[set[str], int]] = {}

    def spent(self, note_ids: Sequence[str]) -> dict[str, int]:
        with self._lock:
            return {note_id: len(self._held(note_id)) for note_id in note_ids}

    def reserve(self, note_id: str, user_id: str, impressions: int, keep_ms: int) -> int | None:
        with self._lock:
            readers = self._held(note_id)
            if len(readers) >= impressions or user_id in readers:
                return None
            readers.add(user_id)
            self._readers[note_id] = (readers, self._clock() + keep_ms)
            return impressions - len(readers)

    def _held(self, note_id: str) -> set[str]:
        readers, until = self._readers.get(note_id, (set[str](), 0))
        return readers if self._clock() < until else set()
