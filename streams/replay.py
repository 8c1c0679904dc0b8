"""Replay: the same handlers over a part of a topic, into the stores of another bundle. A replay is the engine with this source around
Kafka's; its progress is what its consumer group committed, so it goes on after a kill and several processes share it by partitions.

What it adds to a source: where reading ends, how fast it may go, that live work goes first (``Gate``), and that nothing is committed in a
dry run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from schemas.records import Message
from streams.jobs import Stop
from streams.roles import Listener, Source

UNASSIGNED_S = 15.0
NAP_S = 0.05


class Gate(Protocol):
    """Says whether a replay has to wait."""

    @property
    def closed(self) -> bool: ...


class Pace:
    """At most ``per_s`` records a second, evenly but for a second's worth at once; 0 for no bound."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._at = clock()
        self._saved = 0.0

    def allowed(self, limit: int) -> int:
        """How many of ``limit`` records may be taken now."""
        if not self._per_s:
            return limit
        now = self._clock()
        self._saved = min(self._saved + (now - self._at) * self._per_s, max(1.0, self._per_s))
        self._at = now
        return min(limit, int(self._saved))

    def took(self, count: int) -> None:
        """Records were taken."""
        if self._per_s:
            self._saved -= count


class ReplaySource:
    """A ``Source`` that ends: at ``stops`` where given, else when it has caught up with what is being produced.

    Args:
        source: the topic, in the replay's group.
        caught_up: asked to stop once everything is read and handed over to its effects.
        stops: by partition the first offset not to be read.
        pace: bound on the speed.
        gate: while it is closed nothing is read; the membership is kept.
        commits: False in a dry run.
    """

    def __init__(
        self,
        source: Source,
        caught_up: Stop,
        *,
        stops: Mapping[int, int] | None = None,
        pace: Pace | None = None,
        gate: Gate | None = None,
        commits: bool = True,
    ) -> None:
        self._source = source
        self._caught_up = caught_up
        self._stops = dict(stops or {})
        self._pace = pace or Pace(0)
        self._gate = gate
        self._commits = commits
        self._listener: Listener | None = None
        self._assigned: set[int] = set()
        self._reached: set[int] = set()
        self._engine_waits = False
        self._gated = False
        self._opened_at = 0.0

    @property
    def source_id(self) -> str:
        return self._source.source_id

    def open(self, listener: Listener) -> None:
        self._listener = listener
        self._opened_at = time.monotonic()
        self._source.open(self)

    def poll(self, limit: int, timeout_s: float, *, eager: bool) -> Sequence[Message]:
        if self._waits_for_gate():
            return self._source.poll(1, timeout_s, eager=True)  # paused: only the membership is served
        allowed = self._pace.allowed(limit)
        if not allowed:
            time.sleep(min(timeout_s, NAP_S))
            return []
        chunk = self._within(self._source.poll(allowed, timeout_s, eager=eager))
        self._pace.took(len(chunk))
        if not chunk and eager and not self._engine_waits and self._done():
            self._caught_up.request()
        return chunk

    def commit(self, positions: dict[int, int], *, wait: bool) -> bool:
        return self._source.commit(positions, wait=wait) if self._commits else True

    def commit_failed(self) -> bool:
        return self._source.commit_failed()

    def pause(self) -> None:
        self._engine_waits = True
        self._source.pause()

    def resume(self) -> None:
        self._engine_waits = False
        if not self._gated:
            self._source.resume()

    def at_end(self) -> bool:
        return self._assigned <= self.ended()

    def ended(self) -> frozenset[int]:
        return self._source.ended() | (self._reached & self._assigned)

    def lag(self) -> int:
        return self._source.lag()

    def close(self) -> None:
        self._source.close()

    def on_assign(self, partitions: Sequence[int]) -> None:
        self._assigned.update(partitions)
        self._told().on_assign(partitions)

    def on_revoke(self, partitions: Sequence[int]) -> None:
        self._told().on_revoke(partitions)
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[int]) -> None:
        self._told().on_lost(partitions)
        self._forget(partitions)

    def _told(self) -> Listener:
        assert self._listener is not None
        return self._listener

    def _forget(self, partitions: Sequence[int]) -> None:
        self._assigned.difference_update(partitions)
        self._reached.difference_update(partitions)

    def _waits_for_gate(self) -> bool:
        closed = self._gate is not None and self._gate.closed and bool(self._assigned)
        if closed and not self._gated:
            self._source.pause()
        elif self._gated and not closed and not self._engine_waits:
            self._source.resume()
        self._gated = closed
        return closed

    def _within(self, chunk: Sequence[Message]) -> Sequence[Message]:
        """What lies before the stops; a record at or behind one says that its partition is done."""
        if not self._stops:
            return chunk
        kept: list[Message] = []
        for message in chunk:
            partition, offset = message.partition() or 0, message.offset() or 0
            stop = self._stops.get(partition, offset + 1)
            if offset < stop:
                kept.append(message)
            if offset + 1 >= stop:
                self._reached.add(partition)
        return kept

    def _done(self) -> bool:
        """Everything that is ours is read; or, with more processes than partitions, nothing ever came to be ours."""
        if self._assigned:
            return self.at_end()
        return time.monotonic() - self._opened_at > UNASSIGNED_S
