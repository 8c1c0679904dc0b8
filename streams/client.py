"""What every Kafka client of ours has in common: addresses, security, quiet reconnects, and the questions all of them ask."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from schemas.errors import BadSetting, MissingPrerequisite, Transient
from schemas.settings import Settings

log = logging.getLogger(__name__)
ASK_S = 10.0
APPEARS_S = 2.0
ASK_FOR_S = 60.0
SAME_ERROR_EVERY_S = 30.0


def client_config(settings: Settings, **properties: Any) -> dict[str, Any]:
    """librdkafka properties of a client; ``properties`` have underscores for dots. Security settings win over all others.

    Raises:
        BadSetting: ``kafka_security`` is not ``name=value;name=value``. Its values are never part of a message.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "tagstream",
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2000,
        "log.connection.close": False,
        "log_level": 2,  # errors arrive at error_cb, which limits them
        "logger": log,
        "error_cb": quiet_errors(),
    }
    config.update({name.replace("_", "."): value for name, value in properties.items()})
    for number, pair in enumerate(filter(None, (part.strip() for part in settings.kafka_security.split(";"))), 1):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise BadSetting(
                f"TAGSTREAM_KAFKA_SECURITY: part {number} is not name=value; write security.protocol=SASL_SSL;sasl.mechanism=..."
            )
        config[name.strip()] = value.strip()
    return config


def quiet_errors(clock: Callable[[], float] = time.monotonic) -> Callable[[Any], None]:
    """A callback that logs each kind of client error at most every 30 s: a broker that is away reports a thousand of them."""
    logged: dict[int, float] = {}

    def on_error(error: Any) -> None:
        now = clock()
        if now - logged.get(error.code(), -SAME_ERROR_EVERY_S) >= SAME_ERROR_EVERY_S:
            logged[error.code()] = now
            log.warning("kafka: %s", error.str())

    return on_error


def admin_client(settings: Settings) -> Any:
    """A ``confluent_kafka.admin.AdminClient``."""
    from confluent_kafka.admin import AdminClient

    return AdminClient(client_config(settings))


def ask_topic(admin: Any, topic: str, timeout_s: float = ASK_S) -> Any:
    """Future of the ``confluent_kafka.admin.TopicDescription`` of a topic."""
    from confluent_kafka import TopicCollection

    return admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]


def topic_uuid(admin: Any, topic: str, timeout_s: float = ASK_S) -> str:
    """Kafka's id of a topic, as text; a topic deleted and created again gets another.

    A topic that is unknown is asked for again for ``APPEARS_S``: a broker usually answers a creation before it can describe the topic.

    Raises:
        MissingPrerequisite: the topic does not exist.
        Transient: no broker answers.
    """
    from confluent_kafka import KafkaError, KafkaException

    until = time.monotonic() + APPEARS_S
    while True:
        try:
            return str(ask_topic(admin, topic, timeout_s).result(timeout=timeout_s + 5).topic_id)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise Transient("kafka", error.args[0].str()) from None
            if time.monotonic() > until:
                raise MissingPrerequisite(f"topic {topic} does not exist; run `tagstream topics create`") from None
            time.sleep(0.05)


def ask_patiently(question: Callable[[], Any], for_s: float = ASK_FOR_S) -> Any:
    """A broker's answer, asked for again for a minute, or ``for_s`` seconds, while it is away.

    Raises:
        Transient: no answer after that; the process ends and its supervisor starts it anew.
    """
    from confluent_kafka import KafkaException

    until = time.monotonic() + for_s
    while True:
        try:
            return question()
        except (KafkaException, Transient) as error:
            if time.monotonic() > until:
                raise Transient("kafka", str(error)) from error
            log.info("kafka does not answer, asking again: %s", error)
            time.sleep(0.5)


def watermarks(consumer: Any, topic: str, number: int, for_s: float = ASK_FOR_S) -> tuple[int, int]:
    """Offsets of a partition's first record and of the next one to be produced. Asked for again while it has no leader: that of a new
    topic is known before the broker takes questions about it, and it moves when brokers come and go.

    Raises:
        Transient: no answer in ``for_s`` seconds.
    """
    from confluent_kafka import TopicPartition

    partition = TopicPartition(topic, number)
    low, end = ask_patiently(lambda: consumer.get_watermark_offsets(partition, timeout=ASK_S), for_s)
    return low, end


def within(step: Callable[[], object], timeout_s: float) -> bool:
    """Whether ``step`` ended within the time; what goes on longer is left to a daemon thread. Its error is raised here."""
    ended = futures.Future[object]()

    def run() -> None:
        try:
            ended.set_result(step())
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not futures.wait([ended], timeout_s).done:
        return False
    ended.result()
    return True
