"""Whether faust brings a topic's records without leaving any out.

After a partition moved and came back faust (0.15.3) can go on beyond its own committed position: a record that waited while the flow was
suspended is delivered, or counts as read, after the positions were set back. It then commits past what it left out (its issue #606 is of
that family), or stops committing for good. So every record's offset is held against the one that is due, before anything is done with it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from schemas.errors import TagStreamError, Transient
from schemas.settings import Settings
from streams.client import ASK_FOR_S, admin_client, ask_patiently, client_config
from streams.groups import committed, group_ids, partitions_of, starts
from streams.scan import CONFIG


class Stalled(TagStreamError):
    """faust brings or commits no longer what the topics hold: the app has to be made anew, from the last commit."""


class Order:
    """The offsets due next in the partitions of one topic.

    Args:
        topic: named in errors.
        due: the committed offsets by partition, the log's start where none is committed. Asked once after each ``reset``.
        first_from: offset of the first record of a partition at or after an offset; holes of retention and compaction are no fault.
    """

    def __init__(self, topic: str, due: Callable[[], Mapping[int, int]], first_from: Callable[[int, int], int]) -> None:
        self._topic, self._ask, self._first_from = topic, due, first_from
        self._due: dict[int, int] | None = None

    def reset(self) -> None:
        """Partitions move: what comes next starts at the last commit."""
        self._due = None

    async def check(self, partition: int, offset: int) -> None:
        """Takes note of a record. One that comes again is in order.

        Raises:
            Stalled: records before it were left out.
            Transient: no broker says what is due.
        """
        if self._due is None:
            self._due = dict(await asyncio.to_thread(self._ask))
        known = self._due  # partitions may move while an answer is waited for; what is noted here then is of no use to anybody
        due = known.setdefault(partition, offset)
        if offset > due and (first := await asyncio.to_thread(self._first_from, partition, due)) < offset:
            raise Stalled(f"{self._topic} partition {partition}: offset {offset} came where {first} was due")
        known[partition] = max(due, offset + 1)


def order_of(settings: Settings, job: str, topic: str) -> Order:
    """The order of a topic (full name) as Kafka knows it for the job's group."""
    admin = admin_client(settings)

    def due() -> dict[int, int]:
        numbers = partitions_of(admin, topic)
        found = starts(admin, topic, numbers)
        for group in group_ids(settings, job):
            found |= committed(admin, group, topic, numbers)
        return found

    return Order(topic, lambda: ask_patiently(due), lambda partition, offset: first_from(settings, topic, partition, offset))


def first_from(settings: Settings, topic: str, partition: int, offset: int) -> int:
    """Offset of the first record of a partition that is not before ``offset``; the log's end where there is none.

    Raises:
        Transient: no broker answers in time.
    """
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    consumer = Consumer(client_config(settings) | CONFIG)
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        until = time.monotonic() + ASK_FOR_S
        while time.monotonic() < until:
            message = consumer.poll(1.0)
            if message is not None and (message.error() is None or message.error().code() == KafkaError._PARTITION_EOF):
                return int(message.offset())
        raise Transient("kafka", f"{topic} partition {partition} cannot be read at {offset}")
    except KafkaException as error:
        raise Transient("kafka", error.args[0].str()) from None
    finally:
        consumer.close()
