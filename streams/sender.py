"""Producing to named partitions, with the offset of each record (``Sender`` on Kafka): for a few records that somebody asks about."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from schemas.errors import Transient
from schemas.settings import Settings
from streams.client import client_config
from streams.publisher import RELIABLE
from streams.roles import Outgoing

ACKNOWLEDGED_S = 60.0


class KafkaSender:
    """``Sender`` on Kafka: idempotent, acknowledged by all in-sync replicas, in order within each partition."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        self._producer = Producer(client_config(settings) | RELIABLE | {"linger.ms": 1})

    def send(self, records: Sequence[Outgoing]) -> list[int | str]:
        from confluent_kafka import KafkaException

        answers: dict[int, int | str] = {}
        for place, one in enumerate(records):
            try:
                self._produce(one, self._keeper(answers, place))
            except KafkaException as error:
                answers[place] = error.args[0].str()
        until = time.monotonic() + ACKNOWLEDGED_S
        while len(answers) < len(records) and time.monotonic() < until:
            self._producer.flush(1.0)
        if len(answers) < len(records):
            raise Transient("kafka", f"{len(records) - len(answers)} records are not acknowledged after {ACKNOWLEDGED_S:.0f} s")
        return [answers[place] for place in range(len(records))]

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)

    def _produce(self, one: Outgoing, delivered: Callable[[Any, Any], None]) -> None:
        until = time.monotonic() + ACKNOWLEDGED_S
        while True:
            try:
                self._producer.produce(
                    one.topic, value=one.value, key=one.key, headers=one.headers, partition=one.partition, on_delivery=delivered
                )
                return
            except BufferError:
                if time.monotonic() > until:
                    raise Transient("kafka", "the producer's queue stays full") from None
                self._producer.poll(1.0)

    @staticmethod
    def _keeper(answers: dict[int, int | str], place: int) -> Callable[[Any, Any], None]:
        def delivered(error: Any, message: Any) -> None:
            answers[place] = error.str() if error is not None else message.offset()

        return delivered
