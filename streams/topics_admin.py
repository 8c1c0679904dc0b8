"""Topics on the broker: created as ``schemas/topics.py`` says, and described as they are."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from schemas.errors import MissingPrerequisite, Transient
from schemas.settings import Settings
from schemas.topics import Topic
from streams.client import ASK_S, admin_client, topic_uuid


class TopicState(Struct, frozen=True):
    """A topic as the broker has it. ``retention_ms`` -1 keeps for ever."""

    topic: str
    partitions: int
    retention_ms: int
    cleanup: str


def create_topics(settings: Settings, topics: Sequence[Topic], *, replication: int = -1) -> list[str]:
    """Creates those that do not exist and waits until they can be described; existing ones stay as they are.

    Args:
        replication: copies of each partition; -1 is the broker's default.

    Returns:
        Names of the topics that were created now.

    Raises:
        Transient: no broker answers.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    admin = admin_client(settings)
    wanted = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=replication,
            config={
                "retention.ms": str(topic.retention_ms),
                "cleanup.policy": topic.cleanup,
                "max.message.bytes": str(topic.max_message_bytes),
            },
        )
        for topic in topics
    ]
    created: list[str] = []
    for name, answer in admin.create_topics(wanted, request_timeout=ASK_S).items():
        try:
            answer.result(timeout=ASK_S + 5)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Transient("kafka", error.args[0].str()) from None
    for topic in topics:  # all: one that a busy broker was asked for twice counts as existing, and may not be known yet
        topic_uuid(admin, topic.name)
    return created


def describe_topics(settings: Settings, topics: Sequence[Topic]) -> list[TopicState]:
    """The topics as they are, in the order given.

    Raises:
        MissingPrerequisite: one of them does not exist.
        Transient: no broker answers.
    """
    from confluent_kafka import KafkaError, KafkaException, TopicCollection
    from confluent_kafka.admin import ConfigResource

    admin = admin_client(settings)
    names = [topic.name for topic in topics]
    described = admin.describe_topics(TopicCollection(names), request_timeout=ASK_S)
    configured = admin.describe_configs([ConfigResource("topic", name) for name in names], request_timeout=ASK_S)
    configs = {resource.name: answer for resource, answer in configured.items()}
    states: list[TopicState] = []
    for name in names:
        try:
            partitions = len(described[name].result(timeout=ASK_S + 5).partitions)
            config: dict[str, Any] = configs[name].result(timeout=ASK_S + 5)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise MissingPrerequisite(f"topic {name} does not exist; run `tagstream topics create`") from None
            raise Transient("kafka", error.args[0].str()) from None
        states.append(TopicState(name, partitions, int(config["retention.ms"].value), config["cleanup.policy"].value))
    return states
