"""What a replay is to read, asked of a real broker: beginning, times, offsets, gaps of retention, and where a group had got to."""

import pytest

from schemas.errors import BadSetting, MissingPrerequisite
from schemas.topics import Topic
from streams.client import admin_client
from streams.replay_plan import plan_replay
from streams.topics_admin import create_topics


@pytest.fixture
def topic(settings):
    """Three partitions of ten records each, published at 1000, 2000, ... 10000 ms."""
    from confluent_kafka import Producer

    made = Topic("replayed", 3, -1, "delete").within(settings.namespace)
    create_topics(settings, [made])
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for number in range(30):
        producer.produce(made.name, value=b"x", partition=number % 3, timestamp=(number // 3 + 1) * 1000)
    producer.flush(10)
    return made.name


def shape(plan):
    return [(part.start, part.stop, part.left) for part in plan.parts]


def test_bounds(settings, topic):
    assert shape(plan_replay(settings, topic, "g")) == [(0, None, 10)] * 3
    assert shape(plan_replay(settings, topic, "g", 3000, 8000)) == [(2, 7, 5)] * 3
    assert shape(plan_replay(settings, topic, "g", {0: 4}, {0: 6, 1: 99})) == [(4, 6, 2), (0, 10, 10), (0, 10, 10)]
    assert shape(plan_replay(settings, topic, "g", 10**12, None)) == [(10, None, 0)] * 3
    with pytest.raises(BadSetting, match=r"--to: .* has no partition 7"):
        plan_replay(settings, topic, "g", None, {7: 1})
    with pytest.raises(MissingPrerequisite, match="topics create"):
        plan_replay(settings, topic + "x", "g")


def test_what_retention_took_is_named(settings, topic):
    from confluent_kafka import TopicPartition

    admin = admin_client(settings)  # held: the answers of a client that is collected never come
    admin.list_topics(topic, timeout=10)
    for answer in admin.delete_records([TopicPartition(topic, 1, 4)]).values():
        answer.result(timeout=20)
    plan = plan_replay(settings, topic, "g")
    assert [part.missing for part in plan.parts] == [0, 4, 0]
    with pytest.raises(MissingPrerequisite, match=r"replayed/1: 4 records before offset 4.*--from.*--allow-gap"):
        plan.check_gaps()
    plan_replay(settings, topic, "g", 6000).check_gaps()
    assert plan_replay(settings, topic, "g", 2000).gaps[0].missing is None, "by time nobody can count them"
    assert [part.missing for part in plan_replay(settings, topic, "g", {1: 3}).parts] == [0, 1, 0]


def test_a_group_goes_on_where_it_was(settings, topic):
    from confluent_kafka import Consumer, TopicPartition

    from streams.client import topic_uuid

    uuid = topic_uuid(admin_client(settings), topic)
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": f"{settings.namespace}-g"})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, uuid), TopicPartition(topic, 1, 2, "another topic")], asynchronous=False)
    consumer.close()
    plan = plan_replay(settings, topic, f"{settings.namespace}-g", 3000)
    assert plan.resumed
    assert shape(plan) == [(7, None, 3), (2, None, 8), (2, None, 8)]
