"""Between faust and the steps: collects events of one source into batches, lets the step decide, applies, and only then acks.

The order within a batch carries the guarantees. Forwards and dead letters are acknowledged by Kafka before the rows that say they are out
are sent to the changelog, and those before the events are acked and so may be committed. After a crash at any point events come again whose
rows either are not there yet, then all is done again, or are, then their offsets are known.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from schemas.errors import DeadLettersExhausted, Transient
from schemas.records import Headers
from streams.dead_letters import Failure, dead_letter_headers
from streams.jobs import Counts
from streams.metric_order import Order, Stalled
from streams.metric_steps import JOB, Decided, Record, Step, partition_of

log = logging.getLogger(__name__)
FILL_S = 0.25
NO_ROWS: dict[bytes, bytes] = {}
Sent = tuple[str, bytes | None, bytes | None, int | None, Headers]
"""Topic, key, value, partition (None = by key), headers."""


class Send(Protocol):
    """Hands records to the producer, in order, and returns when the broker has all of them."""

    def __call__(self, records: Sequence[Sent]) -> Awaitable[None]: ...


class Rows(Protocol):
    """The rows of one faust table: held in memory, rebuilt from ``changelog``."""

    changelog: str

    @property
    def held(self) -> dict[bytes, bytes]: ...


class Desk:
    """One source's events on their way through its step.

    Args:
        rows: the step's rows; None where it has none.
        order: of the topic's records; None where whatever comes is taken to be in order.
        by_note: the topic of forwards.
        dead_letters: the topic of what cannot be processed.
        size: events of a batch.
        in_a_row: dead letters without a good event between them after which it stops.
    """

    def __init__(
        self,
        step: Step,
        rows: Rows | None,
        send: Send,
        *,
        by_note: str,
        dead_letters: str,
        size: int,
        in_a_row: int = 1000,
        order: Order | None = None,
    ) -> None:
        self.step = step
        self.rows = rows
        self.counts = Counts()
        self.folds: dict[int, Any] = {}
        self.failed: Exception | None = None
        self._send, self._by_note, self._dead_letters = send, by_note, dead_letters
        self._size, self._in_a_row, self._lost = size, in_a_row, 0
        self._order = order
        self._waiting: list[tuple[Any, Any]] = []
        self._arrived, self._room, self._free = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._epoch = 0

    async def take(self, stream: Any, event: Any) -> bool:
        """Takes an event of a stream that does not ack by itself; waits while two batches are under way. One that waited while partitions
        moved is let go: it comes again, in its order. After one that came out of order nothing is taken any more, so that nothing is acked
        beyond what was left out. Returns whether it was taken; one that was let go is never acked."""
        epoch = self._epoch
        while len(self._waiting) >= 2 * self._size:
            self._room.clear()
            await self._room.wait()
        try:
            if self._order and epoch == self._epoch:
                await self._order.check(event.message.partition, event.message.offset)
        except (Stalled, Transient) as error:
            if epoch == self._epoch:
                self.failed = error.with_traceback(None)  # a traceback would keep the event alive
        if epoch != self._epoch or self.failed is not None:
            return False
        self._waiting.append((stream, event))
        self._arrived.set()
        return True

    async def run(self) -> None:
        """Works until it is cancelled, or until something fails that a restart must mend: then ``failed`` says what."""
        try:
            while True:
                await self._arrived.wait()
                await self._free.wait()
                if len(self._waiting) < self._size:
                    await asyncio.sleep(FILL_S)
                self._arrived.clear()
                batch, self._waiting = self._waiting, []
                self._room.set()
                await self._work(batch)  # on partitions that move away meanwhile it ends early, without acks
        except Exception as error:
            log.exception("metrics: stops")
            self.failed = error

    def hold(self) -> None:
        """Partitions move: what waits is let go, as it comes again after the last commit, and nothing is worked on until ``resume``. While
        a table is recovered its rows are older than what was applied, and must not be written over."""
        self._epoch += 1
        self._free.clear()
        self._waiting = []
        self._room.set()
        if self._order:
            self._order.reset()

    def resume(self, partitions: set[int]) -> None:
        """The tables hold what their changelogs say: makes the sums anew from the rows of the partitions assigned now; rows of others are
        forgotten."""
        if self.rows is not None:
            self.folds = {partition: self.step.fold() for partition in partitions}
            for key, packed in list(self.rows.held.items()):
                fold = self.folds.get(partition_of(key))
                if fold is None:
                    del self.rows.held[key]
                else:
                    fold.replace(key, self.step.open_row(key, packed))
        self._free.set()

    async def _work(self, batch: Sequence[tuple[Any, Any]]) -> None:
        by_partition: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
        for stream, event in batch:
            by_partition[event.message.partition].append((stream, event))
        epoch = self._epoch
        for partition, taken in by_partition.items():
            try:
                await self._settle(partition, [record_of(event.message) for _, event in taken], epoch)
            except _Moved:
                return
            for stream, event in taken:
                await stream.ack(event)

    async def _settle(self, partition: int, records: Sequence[Record], epoch: int) -> None:
        """Decides and applies; a record that makes the step fail is found by taking them one by one."""
        self._still(epoch)
        try:
            decided = self._decide(partition, records)
        except Exception as error:
            if len(records) > 1:
                for record in records:
                    await self._settle(partition, [record], epoch)
                return
            log.exception("metrics: %s partition %d offset %d goes to the dead letters", records[0].topic, partition, records[0].offset)
            decided = Decided(dead=[(records[0], Failure("poison", repr(error), JOB))], counts=Counts(dead_lettered=1))
        await self._apply(partition, decided, epoch)
        self._lost = 0 if len(records) > len(decided.dead) else self._lost + len(decided.dead)
        if self._lost > self._in_a_row:
            raise DeadLettersExhausted(f"{self._lost} dead letters in a row from {records[0].topic}")

    def _decide(self, partition: int, records: Sequence[Record]) -> Decided:
        if self.rows is None:
            return self.step.decide(partition, records, NO_ROWS.get, None)
        return self.step.decide(partition, records, self.rows.held.get, self.folds[partition])

    async def _apply(self, partition: int, decided: Decided, epoch: int) -> None:
        dead = [self._dead(record, failure) for record, failure in decided.dead]
        await self._send([(self._by_note, out.key, out.value, out.partition, []) for out in decided.forwards] + dead)
        if self.rows is not None:
            packed = decided.packed()
            self._still(epoch)
            await self._send([(self.rows.changelog, key, value, partition, []) for key, value in packed.items()])
            self._still(epoch)
            for key, value in packed.items():
                if value is None:
                    self.rows.held.pop(key, None)
                else:
                    self.rows.held[key] = value
                self.folds[partition].replace(key, decided.rows[key])
        for name in self.counts.__struct_fields__:
            setattr(self.counts, name, getattr(self.counts, name) + getattr(decided.counts, name))

    def _still(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise _Moved

    def _dead(self, record: Record, failure: Failure) -> Sent:
        return self._dead_letters, record.key, record.value, None, dead_letter_headers(_AsMessage(record), failure)


class _Moved(Exception):
    """Partitions moved under a batch."""


class _AsMessage:
    """A record in the message protocol of ``schemas/records.py``."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return self._record.partition

    def offset(self) -> int:
        return self._record.offset

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> Headers:
        return self._record.headers

    def timestamp(self) -> tuple[int, int]:
        return 1, self._record.timestamp


def record_of(message: Any) -> Record:
    """A faust message as a record."""
    headers = message.headers or []
    pairs = list(headers.items()) if isinstance(headers, dict) else [(name, value) for name, value in headers]
    timestamp = round(message.timestamp * 1000) if message.timestamp and message.timestamp > 0 else -1
    return Record(message.topic, message.partition, message.offset, message.key, message.value, pairs, timestamp)
