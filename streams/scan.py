"""Finds a key's records in a topic without an index: a bounded read of all partitions, for a person who asks about one note."""

import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from schemas.errors import MissingPrerequisite, Transient
from schemas.records import Message
from schemas.settings import Settings
from streams.client import ASK_S, client_config

CHUNK = 1000


class Found(Struct, frozen=True):
    """Records found, oldest first by (timestamp, partition, offset). ``complete`` is False where the bounds ended the scan; older
    records than those scanned may exist then."""

    messages: list[Message]
    scanned: int
    complete: bool


def find(
    settings: Settings,
    topic: str,
    key: str,
    *,
    newest: int = 200_000,
    deadline_s: float = 5.0,
    matches: Callable[[Message], bool] | None = None,
) -> Found:
    """Reads the last ``newest`` records of a topic, spread evenly over its partitions, and returns those with ``key``.

    Every partition is read, so it does not matter which partitioner a producer used. Joins no consumer group and commits nothing.

    Args:
        topic: name within the namespace.
        key: record key, as text.
        newest: bound on the records read.
        deadline_s: bound on the time, seconds.
        matches: what to look for instead of the key.

    Raises:
        MissingPrerequisite: the topic does not exist.
        Transient: no broker answers.
    """
    from confluent_kafka import Consumer, KafkaException

    wanted = key.encode()
    matching = matches or (lambda message: message.key() == wanted)
    config = {"group.id": "tagstream-scan", "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(client_config(settings) | config)
    try:
        ends, complete = _assign_tail(consumer, topic, newest)
        return _read(consumer, ends, complete, matching, time.monotonic() + deadline_s)
    except KafkaException as error:
        raise Transient("kafka", error.args[0].str()) from None
    finally:
        consumer.close()


def _assign_tail(consumer: Any, topic: str, newest: int) -> tuple[dict[int, int], bool]:
    """Assigns the tail of every partition. Returns the end offsets of those that hold something, and whether the tails are everything."""
    from confluent_kafka import TopicPartition

    known = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
    if known.error is not None:
        raise MissingPrerequisite(f"topic {topic} does not exist; run `tagstream topics create`")
    each = max(1, newest // len(known.partitions))
    ends: dict[int, int] = {}
    chosen: list[Any] = []
    complete = True
    for partition in known.partitions:
        low, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ASK_S)
        if end > low:
            start = max(low, end - each)
            complete = complete and start == low
            ends[partition] = end
            chosen.append(TopicPartition(topic, partition, start))
    consumer.assign(chosen)
    return ends, complete


def _read(consumer: Any, ends: dict[int, int], complete: bool, matching: Callable[[Message], bool], until: float) -> Found:
    from confluent_kafka import KafkaError, KafkaException

    found: list[Any] = []
    scanned = 0
    open_partitions = set(ends)
    while open_partitions:
        left = until - time.monotonic()
        if left <= 0:
            complete = False
            break
        for message in consumer.consume(CHUNK, min(left, 0.1)):
            error = message.error()
            if error is None:
                scanned += 1
                if matching(message):
                    found.append(message)
                if message.offset() + 1 >= ends[message.partition()]:
                    open_partitions.discard(message.partition())
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition())
            elif not error.retriable():
                raise KafkaException(error)
    found.sort(key=lambda message: (message.timestamp()[1], message.partition(), message.offset()))
    return Found(found, scanned, complete)
