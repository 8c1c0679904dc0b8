"""What the canary remembers outside its process: the notes it has not seen gone yet, and how its runs ended. In Redis and in memory.

A note is entered before it is published, so that a crash at any point leaves its id behind for the next start to clean up. There are
``SLOTS`` ids, used in turn: a canary leaves that many records at most, however long it runs.
"""

from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from recall.redis_client import Client, redis_errors
from schemas.canary import CANARY_PREFIX
from schemas.keys import canary_key

SLOTS = 16
"""Enough that their keys fall on each of six partitions."""
RUNS_KEPT = 10_080
"""A week of minutes."""
Outcome = Literal["found", "late", "skipped", "kept"]
# KEYS[1] open notes; ARGV[1] note, ARGV[2] entry it is thought to have ("" = none), ARGV[3] new entry ("" = none). Answers 1 when replaced.
REPLACE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


class OpenCanary(Struct, frozen=True, array_like=True):
    """A canary that is, or may be, on its way. Times are epoch ms; ``at``: event time of its publication; ``until``: as long its process
    cares for it; ``deleted_at``: event time of its deletion, None before that is published."""

    note_id: str
    at: int
    until: int
    deleted_at: int | None = None


class CanaryRun(Struct, frozen=True):
    """How one canary did. ``found``: recall returned it ``found_ms`` after it was published; ``late``: it did not in time; ``skipped``:
    none could be published; ``kept``: it was deleted, and is not gone in time."""

    at: int
    note_id: str
    outcome: Outcome
    found_ms: float | None = None
    detail: str = ""


class CanaryLog(Protocol):
    """The canary's memory. Every method raises ``Transient`` when its server does not answer."""

    def open(self) -> list[OpenCanary]:
        """Canaries that nobody has seen gone, oldest first."""
        ...

    def replace(self, note_id: str, held: OpenCanary | None, entry: OpenCanary | None) -> bool:
        """Enters, changes or (None) removes a canary's entry; False, with nothing done, where it is not ``held`` any more."""
        ...

    def add_run(self, run: CanaryRun) -> None:
        """Adds a run; the oldest beyond ``RUNS_KEPT`` is forgotten."""
        ...

    def runs(self, since: int = 0) -> list[CanaryRun]:
        """Runs that began at ``since`` (epoch ms) or later, newest first."""
        ...


def slot_id(number: int) -> str:
    """The id of a slot; numbers go round."""
    return f"{CANARY_PREFIX}{number % SLOTS:02d}"


class RedisCanaryLog:
    """``CanaryLog`` on Redis or Redis Cluster: a hash and a list."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._open_key, self._runs_key = canary_key(namespace, "open"), canary_key(namespace, "runs")

    def open(self) -> list[OpenCanary]:
        held = self._call("HVALS", self._open_key)
        return _oldest_first([msgspec.msgpack.decode(value, type=OpenCanary) for value in held])

    def replace(self, note_id: str, held: OpenCanary | None, entry: OpenCanary | None) -> bool:
        return bool(self._call("EVAL", REPLACE, 1, self._open_key, note_id, _packed(held), _packed(entry)))

    def add_run(self, run: CanaryRun) -> None:
        self._call("LPUSH", self._runs_key, msgspec.msgpack.encode(run))
        self._call("LTRIM", self._runs_key, 0, RUNS_KEPT - 1)

    def runs(self, since: int = 0) -> list[CanaryRun]:
        held = self._call("LRANGE", self._runs_key, 0, RUNS_KEPT - 1)
        return _newest_first([msgspec.msgpack.decode(value, type=CanaryRun) for value in held], since)

    def _call(self, *command: Any) -> Any:
        call: Any = self._client.execute_command
        with redis_errors():
            return call(*command)


class MemoryCanaryLog:
    """The in-memory twin of ``RedisCanaryLog``, for tests."""

    def __init__(self) -> None:
        self._open: dict[str, OpenCanary] = {}
        self._runs: list[CanaryRun] = []

    def open(self) -> list[OpenCanary]:
        return _oldest_first(list(self._open.values()))

    def replace(self, note_id: str, held: OpenCanary | None, entry: OpenCanary | None) -> bool:
        if self._open.get(note_id) != held:
            return False
        if entry is None:
            self._open.pop(note_id, None)
        else:
            self._open[note_id] = entry
        return True

    def add_run(self, run: CanaryRun) -> None:
        self._runs = [run, *self._runs][:RUNS_KEPT]

    def runs(self, since: int = 0) -> list[CanaryRun]:
        return _newest_first(self._runs, since)


def _packed(entry: OpenCanary | None) -> bytes:
    return b"" if entry is None else msgspec.msgpack.encode(entry)


def _oldest_first(entries: list[OpenCanary]) -> list[OpenCanary]:
    return sorted(entries, key=lambda entry: (entry.at, entry.note_id))


def _newest_first(runs: list[CanaryRun], since: int) -> list[CanaryRun]:
    return sorted((run for run in runs if run.at >= since), key=lambda run: -run.at)
