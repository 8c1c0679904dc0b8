"""What the engine needs from the outside: a source of records, a publisher, stores. Each has a Kafka form and an in-memory twin."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, field

from schemas.records import Headers, Message, Received
from schemas.writes import PutProfile


class Span(NamedTuple):
    """Offsets of one partition: ``start`` up to, and without, ``end``."""

    partition: int
    start: int
    end: int


class Applied(Struct, frozen=True):
    """A store's answer. ``conflicts`` were refused by compare-and-set and are decided again; ``stale`` counts older events left out."""

    conflicts: list[PutProfile] = field(default_factory=list)
    stale: int = 0


class Store(Protocol):
    """Applies the writes it ``accepts``, in the order given. Applying the same writes twice must be harmless.

    Raises:
        Transient: the server does not answer; the engine applies the same writes again later.
        PoisonBatch: some write can never be applied; the engine bisects the events.
    """

    accepts: tuple[type[Any], ...]

    def apply(self, writes: Sequence[Any]) -> Applied: ...


class Gathered(Protocol):
    """A batch's events. ``streams.filling.Events`` keeps them as they came; a job may have a more compact form of its own."""

    def __len__(self) -> int:
        """How many events were added and not dropped."""
        ...

    def add(self, chunk: Sequence[Received[Any]]) -> None:
        """Takes events in, in the order of their offsets within each partition; nothing of ``chunk`` need be kept."""
        ...

    def drop(self, partitions: set[int]) -> None:
        """Leaves out what came from these partitions."""
        ...

    def again(self, conflicts: Sequence[PutProfile]) -> "Gathered":
        """The part to be handled again because these writes were refused."""
        ...

    def holds(self, partition: int, offset: int) -> bool:
        """Whether a record is among the batch's."""
        ...


class Publisher(Protocol):
    """Produces records, per key in the order of the calls."""

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Queues one record.

        Raises:
            InvalidEvent: the record is larger than a record may be; nothing was queued.
            Transient: the local queue stays full; nothing was queued.
        """
        ...

    def flush(self, timeout_s: float = 10.0) -> None:
        """Returns when every queued record is acknowledged.

        Raises:
            Transient: some are still on their way after ``timeout_s``; they stay queued and another flush waits on.
            PublishFailed: some were refused for good; the others are acknowledged.
        """
        ...

    def close(self) -> None:
        """Drops what is still queued and frees the connection; flush first to keep it."""
        ...


class Reader(Protocol):
    """Reads a topic as data, outside of any consumer group."""

    @property
    def topic(self) -> str: ...

    @property
    def topic_uuid(self) -> str: ...

    def spans(self, since_ms: int | None = None) -> Sequence[Span]:
        """What every partition holds now."""
        ...

    def read(self, span: Span) -> Iterator[Message]:
        """The records of a span, in order."""
        ...


class Outgoing(Struct, frozen=True):
    """A record for one partition of a topic."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Sender(Protocol):
    """Produces records to the partitions they name and tells where each is."""

    def send(self, records: Sequence[Outgoing]) -> list[int | str]:
        """Returns when each is acknowledged or refused: its offset, or why no broker will take it.

        Raises:
            Transient: some are neither in reasonable time; they may still arrive.
        """
        ...

    def close(self) -> None: ...


class Listener(Protocol):
    """Told about partitions, always from within ``Source.poll`` or ``Source.close``."""

    def on_assign(self, partitions: Sequence[int]) -> None: ...
    def on_revoke(self, partitions: Sequence[int]) -> None: ...
    def on_lost(self, partitions: Sequence[int]) -> None: ...


class Source(Protocol):
    """One member of a consumer group on one topic. All calls come from one thread."""

    @property
    def source_id(self) -> str:
        """Identity of the topic that records are read from now (``schemas.topics.source_id``)."""
        ...

    def open(self, listener: Listener) -> None:
        """Joins the group.

        Raises:
            MissingPrerequisite: the topic does not exist.
            Transient: no broker answers.
        """
        ...

    def poll(self, limit: int, timeout_s: float, *, eager: bool) -> Sequence[Message]:
        """Up to ``limit`` records. ``eager`` returns with the first ones; otherwise the whole time may be used to fill up."""
        ...

    def commit(self, positions: dict[int, int], *, wait: bool) -> bool:
        """Commits next offsets by partition. Without ``wait`` the answer is True at once and a failure shows in ``commit_failed``."""
        ...

    def commit_failed(self) -> bool:
        """Whether an asynchronous commit failed since the last call."""
        ...

    def pause(self) -> None:
        """Stops delivery from all partitions, also from those assigned later, until ``resume``."""
        ...

    def resume(self) -> None: ...

    def at_end(self) -> bool:
        """Whether every assigned partition has been read to its end."""
        ...

    def ended(self) -> frozenset[int]:
        """The assigned partitions that have been read to their end."""
        ...

    def lag(self) -> int:
        """Records between position and end over the assigned partitions, as far as the client knows."""
        ...

    def close(self) -> None:
        """Leaves the group; the partitions are revoked on the way."""
        ...
