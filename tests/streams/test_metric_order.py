"""A record that comes where another is due stops the job before anything is done with it; holes in the log do not."""

import asyncio

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from streams.client import admin_client, client_config
from streams.metric_order import Order, Stalled, first_from, order_of
from tests.e2e.running import tagstream_json


def checked(order, offsets):
    async def run():
        for offset in offsets:
            await order.check(0, offset)

    asyncio.run(run())


@given(st.sets(st.integers(0, 40), min_size=1), st.integers(0, 40), st.data())
def test_whatever_is_left_out_is_found_before_it_is_taken(log, committed, data):
    """``log``: offsets that exist. What is delivered is a part of it in order, with records again here and there."""
    records = sorted(offset for offset in log if offset >= committed)
    left_out = data.draw(st.sets(st.sampled_from(records)) if records else st.just(set()))
    again = data.draw(st.sets(st.sampled_from(records)) if records else st.just(set()))
    order = Order("t", lambda: {0: committed}, lambda _, at: min((offset for offset in log if offset >= at), default=99))
    taken = []

    async def deliver():
        for offset in records:
            if offset not in left_out:
                await order.check(0, offset)
                taken.append(offset)
                if offset in again:
                    await order.check(0, offset)

    lost = [offset for offset in left_out if any(later not in left_out and later > offset for later in records)]
    if lost:
        with pytest.raises(Stalled, match=f"where {min(lost)} was due"):
            asyncio.run(deliver())
        assert all(offset < min(lost) for offset in taken)
    else:
        asyncio.run(deliver())


def test_after_partitions_moved_the_last_commit_is_due():
    commits = iter([{0: 5}, {0: 7}])
    order = Order("t", lambda: next(commits), lambda _, at: at)
    checked(order, [5, 6, 7, 8])
    order.reset()
    checked(order, [7, 8, 9])
    with pytest.raises(Stalled, match="t partition 0: offset 12 came where 10 was due"):
        checked(order, [12])


def test_partitions_that_move_while_an_answer_is_waited_for():
    orders = []

    def first_from(_, at):
        orders[0].reset()
        return at + 4

    orders.append(Order("t", lambda: {0: 3}, first_from))
    checked(orders[0], [7, 3, 4])


def test_a_partition_that_was_not_known_starts_where_it_starts():
    checked(Order("t", dict, lambda _, at: at), [30, 31])


def test_as_kafka_has_it(settings):
    tagstream_json(settings, "topics", "create")
    topic = f"{settings.namespace}.interactions"
    producer = Producer(client_config(settings))
    for number in range(10):
        producer.produce(topic, b"%d" % number, partition=2)
    producer.flush()
    from confluent_kafka import TopicPartition

    admin = admin_client(settings)
    (deleted,) = admin.delete_records([TopicPartition(topic, 2, 4)]).values()
    deleted.result()
    assert [first_from(settings, topic, 2, offset) for offset in (0, 4, 7, 10)] == [4, 4, 7, 10]

    async def check():
        order = order_of(settings, "metrics", topic)
        await order.check(2, 4)  # the oldest that is kept
        with pytest.raises(Stalled, match=f"{topic} partition 2: offset 6 came where 5 was due"):
            await order.check(2, 6)

    asyncio.run(check())
