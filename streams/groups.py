"""What a consumer group has and has done, asked from outside of it."""

from collections.abc import Sequence
from typing import Any

from schemas.settings import Settings
from streams.client import ASK_S, admin_client


def group_ids(settings: Settings, job: str, bundle: str = "") -> list[str]:
    """The groups of a job under the namespace, one per bundle version; with ``bundle`` that one's."""
    prefix = f"{settings.namespace}.tagstream-{job}" if settings.namespace else f"tagstream-{job}"
    if bundle:
        return [f"{prefix}-{bundle}"]
    admin = admin_client(settings)  # held: the answers of a client that is collected never come
    found = admin.list_consumer_groups(request_timeout=ASK_S).result(timeout=ASK_S + 5).valid
    return sorted(group.group_id for group in found if group.group_id == prefix or group.group_id.startswith(prefix + "-"))


def assigned(settings: Settings, job: str) -> bool:
    """Whether members of the job's groups have partitions."""
    groups = group_ids(settings, job)
    if not groups:
        return False
    admin = admin_client(settings)
    described = admin.describe_consumer_groups(groups, request_timeout=ASK_S)
    members = [member for answer in described.values() for member in answer.result(timeout=ASK_S + 5).members]
    return any(member.assignment and member.assignment.topic_partitions for member in members)


def next_offsets(settings: Settings, job: str, topic: str) -> dict[str, dict[int, int]]:
    """Next offsets by group of the job and partition, of the groups that have members; where none has, of all."""
    groups = group_ids(settings, job)
    admin = admin_client(settings)
    present = members(admin, groups)
    numbers = partitions_of(admin, topic) if groups else []
    return {group: committed(admin, group, topic, numbers) for group in [one for one in groups if present[one]] or groups}


def behind(settings: Settings, job: str, topic: str, bundle: str = "") -> int:
    """Records of the topic that the job has not committed yet, of the furthest behind of its groups; with ``bundle`` of that one's."""
    admin = admin_client(settings)
    return max((left(admin, group, topic) for group in group_ids(settings, job, bundle)), default=0)


def left(admin: Any, group: str, topic: str) -> int:
    """Records of the topic that the group has not committed yet; of a partition in which it committed nothing, all of them."""
    numbers = partitions_of(admin, topic)
    first, last = starts(admin, topic, numbers), ends(admin, topic, numbers)
    return sum(last[number] - done for number, done in (first | committed(admin, group, topic, numbers)).items())


def partitions_of(admin: Any, topic: str) -> list[int]:
    """Numbers of the topic's partitions."""
    return sorted(admin.list_topics(topic, timeout=ASK_S).topics[topic].partitions)


def starts(admin: Any, topic: str, numbers: Sequence[int]) -> dict[int, int]:
    """Offset of the oldest record kept, by partition."""
    from confluent_kafka.admin import OffsetSpec

    return _offsets(admin, topic, numbers, OffsetSpec.earliest())


def ends(admin: Any, topic: str, numbers: Sequence[int]) -> dict[int, int]:
    """Offset of the next record to be produced, by partition."""
    from confluent_kafka.admin import OffsetSpec

    return _offsets(admin, topic, numbers, OffsetSpec.latest())


def committed(admin: Any, group: str, topic: str, numbers: Sequence[int]) -> dict[int, int]:
    """Next offset that the group committed, of the partitions in which it committed one."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in numbers])
    (answer,) = admin.list_consumer_group_offsets([asked], request_timeout=ASK_S).values()
    return {one.partition: one.offset for one in answer.result().topic_partitions if one.offset >= 0}


def _offsets(admin: Any, topic: str, numbers: Sequence[int], spec: Any) -> dict[int, int]:
    from confluent_kafka import TopicPartition

    answers = admin.list_offsets({TopicPartition(topic, number): spec for number in numbers}, request_timeout=ASK_S)
    return {one.partition: answer.result().offset for one, answer in answers.items()}


def members(admin: Any, groups: Sequence[str]) -> dict[str, int]:
    """How many members each group has; 0 for one that does not exist."""
    from confluent_kafka import KafkaException

    found = dict.fromkeys(groups, 0)
    for group, answer in admin.describe_consumer_groups(list(groups), request_timeout=ASK_S).items() if groups else ():
        try:
            found[group] = len(answer.result(timeout=ASK_S + 5).members)
        except KafkaException:
            continue
    return found
