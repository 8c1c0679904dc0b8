"""Reads topics outside of any consumer group: a key's records for a person who asks about one note, and spans of a partition as data."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from schemas.errors import MissingPrerequisite, Transient
from schemas.records import Message
from schemas.settings import Settings
from streams.client import ASK_S, admin_client, ask_patiently, client_config, topic_uuid, watermarks
from streams.roles import Span

__all__ = ["Found", "Span", "SpanReader", "find", "span_reader"]
CHUNK = 1000
SILENCE_S = 30.0
CONFIG = {"group.id": "tagstream-scan", "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": True}


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
    consumer = Consumer(client_config(settings) | CONFIG)
    try:
        ends, complete = _assign_tail(consumer, topic, newest, deadline_s)
        return _read(consumer, ends, complete, matching, time.monotonic() + deadline_s)
    except KafkaException as error:
        raise Transient("kafka", error.args[0].str()) from None
    finally:
        consumer.close()


def _assign_tail(consumer: Any, topic: str, newest: int, for_s: float) -> tuple[dict[int, int], bool]:
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
        low, end = watermarks(consumer, topic, partition, for_s)
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


class SpanReader:
    """Reads spans of a topic's partitions (``Reader`` on Kafka)."""

    def __init__(self, settings: Settings, topic: str, consumer: Any) -> None:
        self.topic = topic
        self._consumer = consumer
        self.topic_uuid = topic_uuid(admin_client(settings), topic)

    def spans(self, since_ms: int | None = None) -> list[Span]:
        """What every partition holds now; with ``since_ms`` from its first record with such a timestamp on."""
        from confluent_kafka import TopicPartition

        spans = []
        for partition in sorted(self._consumer.list_topics(self.topic, timeout=ASK_S).topics[self.topic].partitions):
            low, end = watermarks(self._consumer, self.topic, partition)
            if since_ms is not None:
                asked = [TopicPartition(self.topic, partition, max(0, since_ms))]
                (found,) = ask_patiently(partial(self._consumer.offsets_for_times, asked, timeout=ASK_S))
                low = max(low, found.offset if found.offset >= 0 else end)
            spans.append(Span(partition, low, end))
        return spans

    def read(self, span: Span) -> Iterator[Message]:
        """The records of a span, in order.

        Raises:
            Transient: nothing came for ``SILENCE_S``.
        """
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        if span.start >= span.end:
            return
        self._consumer.assign([TopicPartition(self.topic, span.partition, span.start)])
        until = time.monotonic() + SILENCE_S
        while time.monotonic() < until:
            for message in self._consumer.consume(CHUNK, 0.2):
                error = message.error()
                if error is None:
                    until = time.monotonic() + SILENCE_S
                    if message.offset() < span.end:
                        yield message
                    if message.offset() + 1 >= span.end:
                        return
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif not error.retriable():
                    raise KafkaException(error)
        raise Transient("kafka", f"{self.topic}/{span.partition} gave nothing for {SILENCE_S:.0f} s")


@contextmanager
def span_reader(settings: Settings, topic: str) -> Iterator[SpanReader]:
    """A reader of spans; ``topic`` is the name within the namespace.

    Raises:
        MissingPrerequisite: the topic does not exist.
        Transient: no broker answers.
    """
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(client_config(settings) | CONFIG)
    try:
        yield SpanReader(settings, topic, consumer)
    except KafkaException as error:
        raise Transient("kafka", error.args[0].str()) from None
    finally:
        consumer.close()
