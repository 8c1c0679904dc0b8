"""Records to a batch of decoded events, in one pass per chunk: at a million events a second every attribute look-up shows."""

from collections.abc import Callable, Sequence
from itertools import compress, repeat
from typing import Generic, TypeVar

from msgspec import Struct

from schemas.codec import chunk_decoder, decoder
from schemas.errors import InvalidEvent
from schemas.events import Event
from schemas.records import Message, Received
from schemas.writes import PutProfile
from streams.dead_letters import redriven_reason
from streams.roles import Gathered

E = TypeVar("E", bound=Event)


class Refused(Struct, frozen=True):
    """A record that is no valid event. ``after`` counts the valid ones before it in the batch."""

    message: Message
    error: InvalidEvent
    after: int


class Events(list[Received[E]]):
    """The events of a batch in the order they were polled (``streams.roles.Gathered``)."""

    def add(self, chunk: Sequence[Received[E]]) -> None:
        self.extend(chunk)

    def drop(self, partitions: set[int]) -> None:
        self[:] = [received for received in self if received.partition not in partitions]

    def again(self, conflicts: Sequence[PutProfile]) -> "Events[E]":
        found = {(e.source, e.partition, e.offset): e for put in conflicts for e in put.events}
        return Events(found[at] for at in sorted(found))

    def holds(self, partition: int, offset: int) -> bool:
        return any((received.partition, received.offset) == (partition, offset) for received in self)


class Batch(Struct):
    """Events, the refused records among them, and the last offset per partition over both."""

    events: Gathered
    refused: list[Refused]
    last: dict[int, int]

    def __len__(self) -> int:
        return len(self.events) + len(self.refused)


class Filling(Generic[E]):
    """The batch that is being filled."""

    def __init__(self, kind: type[E], gather: Callable[[], Gathered] = Events) -> None:
        """``gather`` makes what the events of one batch are gathered in."""
        self._decode = decoder(kind)
        self._decode_chunk = chunk_decoder(kind)
        self._gather = gather
        self._batch = Batch(gather(), [], {})

    def __len__(self) -> int:
        return len(self._batch)

    def take(self) -> Batch:
        """The batch as it is; filling starts anew."""
        batch, self._batch = self._batch, Batch(self._gather(), [], {})
        return batch

    def drop(self, partitions: set[int]) -> None:
        """Leaves out what came from partitions that are not ours any more."""
        batch = self._batch
        if partitions.isdisjoint(batch.last):
            return
        batch.events.drop(partitions)
        batch.refused = [refused for refused in batch.refused if refused.message.partition() not in partitions]
        for partition in partitions:
            batch.last.pop(partition, None)

    def add(self, chunk: Sequence[Message], source: str, owned: frozenset[int]) -> None:
        """Decodes a chunk and appends it; records of partitions outside ``owned`` are left out."""
        if not chunk:
            return
        kind = type(chunk[0])
        partitions: list[int] = list(map(kind.partition, chunk))  # type: ignore[arg-type]
        offsets: list[int] = list(map(kind.offset, chunk))  # type: ignore[arg-type]
        last = dict(zip(partitions, offsets, strict=True))
        if not owned.issuperset(last):
            self.add(list(compress(chunk, [partition in owned for partition in partitions])), source, owned)
            return
        events = self._decode_chunk(list(map(kind.value, chunk)), list(map(kind.headers, chunk)))
        if events is None:
            self._add_one_by_one(chunk, source)
        else:
            self._batch.events.add(list(map(Received, events, repeat(source), partitions, offsets, chunk)))
        self._batch.last.update(last)

    def _add_one_by_one(self, chunk: Sequence[Message], source: str) -> None:
        """A chunk with a record sent again always comes here, because of its headers."""
        batch, decode = self._batch, self._decode
        for message in chunk:
            try:
                event = decode(message.value(), message.headers())
            except InvalidEvent as error:
                batch.refused.append(Refused(message, error, len(batch.events)))
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            batch.events.add([Received(event, source, partition, offset, message, redriven_reason(message.headers()))])
