"""What a consumer group has and has done, asked from outside of it."""

from typing import Any

from schemas.settings import Settings
from streams.client import ASK_S, admin_client


def group_ids(settings: Settings, job: str) -> list[str]:
    """The groups of a job under the namespace; a job that builds a bundle has one group per bundle version."""
    prefix = f"{settings.namespace}.tagstream-{job}" if settings.namespace else f"tagstream-{job}"
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
    from confluent_kafka import ConsumerGroupTopicPartitions

    groups = group_ids(settings, job)
    if not groups:
        return {}
    admin = admin_client(settings)
    described = admin.describe_consumer_groups(groups, request_timeout=ASK_S)
    alive = [group for group, answer in described.items() if answer.result(timeout=ASK_S + 5).members]
    found: dict[str, dict[int, int]] = {}
    for group in alive or groups:
        (answer,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=ASK_S).values()
        positions = answer.result(timeout=ASK_S + 5).topic_partitions
        found[group] = {one.partition: one.offset for one in positions if one.topic == topic and one.offset >= 0}
    return found


def behind(settings: Settings, job: str, topic: str) -> int:
    """Records of the topic that the job has not committed yet, over its groups; of a group that committed nothing, all of them."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    admin = admin_client(settings)
    partitions = [TopicPartition(topic, number) for number in admin.list_topics(topic, timeout=ASK_S).topics[topic].partitions]

    def ends(spec: Any) -> dict[int, int]:
        answers = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=ASK_S)
        return {one.partition: answer.result().offset for one, answer in answers.items()}

    first, last = ends(OffsetSpec.earliest()), ends(OffsetSpec.latest())
    left = 0
    for group in group_ids(settings, job):
        (answer,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)]).values()
        done = {one.partition: one.offset for one in answer.result().topic_partitions}
        left = max(left, sum(last[number] - (done[number] if done[number] >= 0 else first[number]) for number in last))
    return left
