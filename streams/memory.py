"""The in-memory twin of Kafka, for tests and dry runs: real partitions, offsets, headers, groups and commits in one process.

What it leaves out: time (retention is ``trim``), replication, and everything about the network. What it adds: faults on request
(``MemorySource.abort_after``, ``MemoryPublisher.fail_next``), and rebalances that happen exactly in ``poll``.
"""

import itertools
import threading
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field

from schemas.errors import InvalidEvent, MissingPrerequisite
from schemas.records import Headers
from schemas.topics import Topic, source_id
from streams.roles import Listener, Outgoing, Span

TIMESTAMP_CREATE_TIME = 1


class MemoryMessage:
    """A record with the methods of ``confluent_kafka.Message``."""

    __slots__ = ("_headers", "_key", "_offset", "_partition", "_timestamp", "_topic", "_value")

    def __init__(
        self,
        *,
        topic: str,
        partition: int,
        offset: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp: int = 0,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._value = value
        self._key = key
        self._headers = headers
        self._timestamp = timestamp

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, self._timestamp


class Partition(Struct):
    """Records from offset ``low`` on."""

    low: int = 0
    records: list[MemoryMessage] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.low + len(self.records)


class MemoryTopic(Struct):
    """One topic. A topic deleted and created again has another ``topic_id``."""

    topic_id: str
    partitions: list[Partition]
    max_message_bytes: int


class Group(Struct):
    """Members in order of joining, commits as (topic id, next offset)."""

    members: "list[MemorySource]" = field(default_factory=list)
    committed: dict[int, tuple[str, int]] = field(default_factory=dict)


class MemoryLog:
    """Topics and consumer groups. Safe to use from several threads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._topics: dict[str, MemoryTopic] = {}
        self._groups: dict[tuple[str, str], Group] = {}

    def create(self, topic: Topic) -> None:
        """Creates a topic; one that exists stays as it is."""
        with self.lock:
            if topic.name not in self._topics:
                partitions = [Partition() for _ in range(topic.partitions)]
                self._topics[topic.name] = MemoryTopic(uuid.uuid4().hex, partitions, topic.max_message_bytes)

    def delete(self, name: str) -> None:
        """Deletes a topic; groups keep what they committed, as a client's late commit can make them on Kafka."""
        with self.lock:
            del self._topics[name]

    def topic(self, name: str) -> MemoryTopic:
        """
        Raises:
            MissingPrerequisite: it does not exist.
        """
        with self.lock:
            if name not in self._topics:
                raise MissingPrerequisite(f"topic {name} does not exist; run `tagstream topics create`")
            return self._topics[name]

    def group(self, topic: str, group_id: str) -> Group:
        with self.lock:
            return self._groups.setdefault((topic, group_id), Group())

    def append(
        self, topic: str, value: bytes | None, key: bytes | None = None, *, headers: Headers | None = None, partition: int | None = None
    ) -> MemoryMessage:
        """Adds a record; without ``partition`` the key decides (CRC-32, as librdkafka's default partitioner does for keyed records)."""
        with self.lock:
            partitions = self.topic(topic).partitions
            number = zlib.crc32(key or b"") % len(partitions) if partition is None else partition
            message = MemoryMessage(
                topic=topic, partition=number, offset=partitions[number].end, value=value, key=key, headers=headers or None
            )
            partitions[number].records.append(message)
            return message

    def records(self, topic: str) -> list[MemoryMessage]:
        """Every record that is still there, by partition and offset."""
        with self.lock:
            return list(itertools.chain.from_iterable(partition.records for partition in self.topic(topic).partitions))

    def trim(self, topic: str, partition: int, low: int) -> None:
        """Removes records below ``low``, as retention does."""
        with self.lock:
            kept = self.topic(topic).partitions[partition]
            kept.records = kept.records[low - kept.low :]
            kept.low = low


class MemoryPublisher:
    """Publishes into a ``MemoryLog``. Queued records get there on ``flush``; ``fail_next`` holds errors to raise, one per flush."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._queued: deque[tuple[str, bytes | None, bytes | None, Headers]] = deque()
        self.fail_next: deque[Exception] = deque()

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        size = len(key or b"") + len(value or b"")
        limit = self._log.topic(topic).max_message_bytes
        if size > limit:
            raise InvalidEvent("$", f"{size} bytes; topic {topic} takes {limit}")
        self._queued.append((topic, key, value, headers))

    def flush(self, timeout_s: float = 10.0) -> None:
        if self.fail_next:
            raise self.fail_next.popleft()
        while self._queued:
            topic, key, value, headers = self._queued.popleft()
            self._log.append(topic, value, key, headers=headers)

    def close(self) -> None:
        self._queued.clear()


class MemorySender:
    """``Sender`` into a ``MemoryLog``."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def send(self, records: Sequence[Outgoing]) -> list[int | str]:
        return [self._send(one) for one in records]

    def _send(self, one: Outgoing) -> int | str:
        size = len(one.key or b"") + len(one.value or b"")
        limit = self._log.topic(one.topic).max_message_bytes
        if size > limit:
            return f"{size} bytes; topic {one.topic} takes {limit}"
        return self._log.append(one.topic, one.value, one.key, headers=one.headers, partition=one.partition).offset()

    def close(self) -> None:
        pass


class MemoryReader:
    """``Reader`` of a topic in a ``MemoryLog``."""

    def __init__(self, log: MemoryLog, topic: str) -> None:
        self._log = log
        self.topic = topic
        self.topic_uuid = log.topic(topic).topic_id

    def spans(self, since_ms: int | None = None) -> list[Span]:
        assert since_ms is None, "the twin has no time"
        return [Span(number, part.low, part.end) for number, part in enumerate(self._log.topic(self.topic).partitions)]

    def read(self, span: Span) -> Iterator[MemoryMessage]:
        part = self._log.topic(self.topic).partitions[span.partition]
        yield from part.records[max(0, span.start - part.low) : max(0, span.end - part.low)]


class MemorySource:
    """One group member on one topic. Partitions are spread evenly; a change of members takes effect in each member's next ``poll``.

    ``abort_after`` makes ``poll`` raise ``Aborted`` once so many records have been delivered.
    """

    def __init__(
        self, log: MemoryLog, topic: str, group_id: str, *, abort_after: int | None = None, firsts: Mapping[int, int] | None = None
    ) -> None:
        self._log = log
        self._topic = topic
        self._firsts = firsts or {}
        self._group = log.group(topic, group_id)
        self._listener: Listener | None = None
        self._positions: dict[int, int] = {}
        self._topic_id = ""
        self._paused = False
        self._failed = False
        self._fail_commits = 0
        self._abort_after = abort_after
        self._delivered = 0
        self.gaps: list[tuple[int, int, int]] = []

    @property
    def source_id(self) -> str:
        return source_id(self._topic, self._topic_id)

    @property
    def positions(self) -> dict[int, int]:
        """Next offset to be delivered, by assigned partition."""
        return dict(self._positions)

    def open(self, listener: Listener) -> None:
        self._topic_id = self._log.topic(self._topic).topic_id
        self._listener = listener
        with self._log.lock:
            self._group.members.append(self)

    def poll(self, limit: int, timeout_s: float, *, eager: bool) -> Sequence[MemoryMessage]:
        with self._log.lock:
            self._notice_recreated()
            self._rebalance()
            taken: list[MemoryMessage] = []
            if not self._paused:
                for number, position in sorted(self._positions.items()):
                    part = self._part(number)
                    low = max(position, part.low)
                    if low > position:
                        self.gaps.append((number, position, low))
                    found = part.records[low - part.low : low - part.low + limit - len(taken)]
                    self._positions[number] = low + len(found)
                    taken.extend(found)
        self._delivered += len(taken)
        if self._abort_after is not None and self._delivered >= self._abort_after:
            raise Aborted(f"after {self._delivered} records")
        if not taken:
            threading.Event().wait(min(timeout_s, 0.002))
        return taken

    def fail_commits(self, count: int) -> None:
        """Lets the next ``count`` commits fail."""
        self._fail_commits = count

    def lose(self, partitions: Sequence[int]) -> None:
        """Takes partitions away without warning, as a broker does from a member it takes for dead; they come back on the next poll."""
        assert self._listener is not None
        for partition in partitions:
            del self._positions[partition]
        self._listener.on_lost(partitions)

    def commit(self, positions: dict[int, int], *, wait: bool) -> bool:
        with self._log.lock:
            if self._fail_commits:
                self._fail_commits -= 1
                self._failed = not wait
                return not wait
            for partition, position in positions.items():
                self._group.committed[partition] = (self._topic_id, position)
            return True

    def commit_failed(self) -> bool:
        failed, self._failed = self._failed, False
        return failed

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def at_end(self) -> bool:
        return self.lag() == 0

    def ended(self) -> frozenset[int]:
        with self._log.lock:
            return frozenset(number for number, position in self._positions.items() if self._part(number).end == position)

    def lag(self) -> int:
        with self._log.lock:
            return sum(self._part(number).end - position for number, position in self._positions.items())

    def close(self) -> None:
        with self._log.lock:
            if self in self._group.members:
                self._release(sorted(self._positions))
                self._group.members.remove(self)

    def _part(self, number: int) -> Partition:
        return self._log.topic(self._topic).partitions[number]

    def _release(self, partitions: Sequence[int]) -> None:
        assert self._listener is not None
        if partitions:
            self._listener.on_revoke(partitions)
        for partition in partitions:
            del self._positions[partition]

    def _rebalance(self) -> None:
        """Gives up what the spread does not give this member, takes what is free."""
        assert self._listener is not None
        members = self._group.members
        numbers = range(len(self._log.topic(self._topic).partitions))
        mine = set(numbers[members.index(self) :: len(members)])
        self._release(sorted(set(self._positions) - mine))
        taken = {number for member in members for number in member._positions}
        gained = sorted(mine - taken)
        for number in gained:
            topic_id, position = self._group.committed.get(number, (self._topic_id, self._firsts.get(number, 0)))
            part = self._part(number)
            if topic_id != self._topic_id or position > part.end:
                position = part.low
            self._positions[number] = position
        if gained:
            self._listener.on_assign(gained)

    def _notice_recreated(self) -> None:
        topic_id = self._log.topic(self._topic).topic_id
        if topic_id != self._topic_id:
            assert self._listener is not None
            lost = sorted(self._positions)
            self._positions.clear()
            self._topic_id = topic_id
            self._listener.on_lost(lost)


class Aborted(Exception):
    """The fault that ``MemorySource.abort_after`` asks for."""
