"""Publishing to Kafka: idempotent, acknowledged by all in-sync replicas, compressed (``Publisher`` on Kafka)."""

import logging
from typing import Any

from schemas.errors import InvalidEvent, Transient
from schemas.records import Headers
from schemas.settings import Settings
from schemas.topics import all_topics
from streams.client import client_config
from streams.jobs import PublishFailed

log = logging.getLogger(__name__)
RECORD_MAX_BYTES = max(topic.max_message_bytes for topic in all_topics())
QUEUE_FULL_S = 10.0
RELIABLE: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "message.timeout.ms": 0,
    "message.max.bytes": RECORD_MAX_BYTES,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 131_072,
}


class KafkaPublisher:
    """``Publisher`` on Kafka. Records wait in the client's queue while the broker is away, without a time limit; nothing is reordered
    or doubled by the client's retries. ``linger_ms`` trades latency for larger batches."""

    def __init__(self, settings: Settings, *, linger_ms: float = 5.0, **properties: Any) -> None:
        from confluent_kafka import Producer

        self._producer = Producer(client_config(settings) | RELIABLE | {"linger.ms": linger_ms} | properties)
        self._refused: list[tuple[str, str]] = []
        self._too_large = 0

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        from confluent_kafka import KafkaError, KafkaException

        try:
            try:
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(QUEUE_FULL_S)
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=self._delivered)
        except BufferError:
            raise Transient("kafka", "the producer's queue stays full") from None
        except KafkaException as error:
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                size = len(key or b"") + len(value or b"")
                raise InvalidEvent("$", f"{size} bytes are too many for one record of {topic} (limit {RECORD_MAX_BYTES})") from None
            raise
        self._producer.poll(0)

    def flush(self, timeout_s: float = 10.0) -> None:
        left = self._producer.flush(timeout_s)
        if self._refused:
            refused, self._refused = self._refused, []
            too_large, self._too_large = self._too_large, 0
            raise PublishFailed(refused, too_large=too_large == len(refused))
        if left:
            raise Transient("kafka", f"{left} records are not acknowledged after {timeout_s:.0f} s")

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)

    def _delivered(self, error: Any, message: Any) -> None:
        from confluent_kafka import KafkaError

        if error is None:
            return
        self._too_large += error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        self._refused.append((message.topic(), error.str()))
