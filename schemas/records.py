"""Records as they come from a topic. The message protocol is the one of confluent-kafka, so nothing is copied on the way in."""

from typing import Generic, Protocol, TypeVar

from msgspec import Struct

E = TypeVar("E")
Headers = list[tuple[str, bytes | None]]


class Message(Protocol):
    """What the engine needs of a consumed record (``confluent_kafka.Message`` has it, ``streams.memory.MemoryMessage`` is the twin)."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Headers | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Received(Struct, Generic[E], frozen=True, gc=False):
    """A decoded event with its coordinates. ``source`` is the topic's identity (``topics.source_id``): a recreated topic is new.
    ``redriven``: of a record that was sent again from the dead letters as it was, the reason why it was there; empty for any other."""

    event: E
    source: str
    partition: int
    offset: int
    message: Message
    redriven: str = ""
