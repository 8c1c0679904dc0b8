"""What source and publisher promise, on the in-memory twin and on real Kafka: one suite, two houses."""

import time
import uuid
from collections import Counter
from contextlib import nullcontext

import pytest

from schemas.errors import InvalidEvent, MissingPrerequisite
from schemas.events import Interaction
from schemas.topics import Topic, source_id
from streams.memory import MemoryLog, MemoryPublisher, MemoryReader, MemorySender, MemorySource
from streams.publisher import KafkaPublisher
from streams.roles import Outgoing, Span
from streams.scan import span_reader
from streams.sender import KafkaSender
from streams.source import KafkaSource
from streams.topics_admin import create_topics

WAIT_S = 30.0


class Recorder:
    """A listener that commits nothing and writes down what it is told."""

    def __init__(self):
        self.told = []

    def on_assign(self, partitions):
        self.told.append(("assign", sorted(partitions)))

    def on_revoke(self, partitions):
        self.told.append(("revoke", sorted(partitions)))

    def on_lost(self, partitions):
        self.told.append(("lost", sorted(partitions)))


class MemoryHouse:
    def __init__(self):
        self.log = MemoryLog()
        self.topic = Topic("actions", 3, -1, "delete", Interaction)
        self.log.create(self.topic)

    def sender(self):
        return MemorySender(self.log)

    def reader(self):
        return nullcontext(MemoryReader(self.log, self.topic.name))

    def publisher(self):
        return MemoryPublisher(self.log)

    def source(self, group="g", topic=None, firsts=None):
        return MemorySource(self.log, topic or self.topic.name, group, firsts=firsts)


class KafkaHouse:
    def __init__(self, settings):
        self.settings = settings
        self.topic = Topic("actions", 3, -1, "delete", Interaction).within(settings.namespace)
        create_topics(settings, [self.topic])

    def sender(self):
        return KafkaSender(self.settings)

    def reader(self):
        return span_reader(self.settings, self.topic.name)

    def publisher(self):
        return KafkaPublisher(self.settings)

    def source(self, group="g", topic=None, firsts=None):
        return KafkaSource(self.settings, topic or self.topic.name, f"{self.settings.namespace}.{group}", firsts=firsts)


@pytest.fixture(params=["memory", "kafka"])
def house(request):
    if request.param == "memory":
        return MemoryHouse()
    return KafkaHouse(request.getfixturevalue("settings"))


@pytest.fixture
def members():
    opened = []
    yield opened
    for source in opened:
        source.close()


@pytest.fixture
def publisher(house):
    publisher = house.publisher()
    yield publisher
    publisher.close()


def read(source, count, *others):
    """Polls until ``count`` records came; ``others`` are polled too, so that they answer rebalances."""
    got = []
    until = time.monotonic() + WAIT_S
    while len(got) < count and time.monotonic() < until:
        got.extend(source.poll(1000, 0.1, eager=True))
        for other in others:
            got.extend(other.poll(1000, 0.0, eager=True))
    assert len(got) == count
    return got


def until_true(condition, *sources):
    """Polls the sources until the condition holds. Returns what they delivered."""
    got = []
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "the condition never held"
        for source in sources:
            got.extend(source.poll(1000, 0.05, eager=True))
    return got


def opened(house, members, **which):
    source, listener = house.source(**which), Recorder()
    members.append(source)
    source.open(listener)
    return source, listener


def send(publisher, house, *records):
    for key, value in records:
        publisher.publish(house.topic.name, key, value, [("h", b"1")])
    publisher.flush()


def test_records_come_back_whole_and_in_order_of_their_key(house, members, publisher):
    headers = [("tagstream-version", b"1"), ("a", None), ("a", b""), ("a", b"\x00\xff")]
    keys = [f"k{n}".encode() for n in range(7)]
    for n in range(200):
        publisher.publish(house.topic.name, keys[n % 7], str(n).encode(), headers)
    publisher.publish(house.topic.name, keys[0], None, [])
    publisher.publish(house.topic.name, None, b"", [])
    publisher.flush()
    source, _ = opened(house, members)
    records = read(source, 202)
    by_key = {key: [int(m.value()) for m in records if m.key() == key and m.value()] for key in keys}
    assert by_key == {key: list(range(n, 200, 7)) for n, key in enumerate(keys)}
    assert all(m.headers() == headers for m in records if m.value())
    assert [m.value() for m in records if not m.value()] in ([None, b""], [b"", None])
    assert not any(m.headers() for m in records if not m.value())
    assert {m.topic() for m in records} == {house.topic.name}
    for partition in range(3):
        offsets = [m.offset() for m in records if m.partition() == partition]
        assert offsets == list(range(len(offsets)))


def test_nothing_arrives_before_flush_says_so_and_everything_after(house, members, publisher):
    send(publisher, house, *((b"k", str(n).encode()) for n in range(50)))
    source, _ = opened(house, members)
    assert len(read(source, 50)) == 50
    assert list(source.poll(10, 0.05, eager=True)) == []


def test_a_limit_is_kept(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"v") for n in range(100)))
    source, _ = opened(house, members)
    got = 0
    until = time.monotonic() + WAIT_S
    while got < 100 and time.monotonic() < until:
        chunk = source.poll(7, 0.1, eager=got % 2 == 0)
        assert len(chunk) <= 7
        got += len(chunk)
    assert got == 100


def test_a_new_group_starts_at_the_beginning_and_a_known_one_where_it_committed(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"first") for n in range(30)))
    source, listener = opened(house, members)
    records = read(source, 30)
    assert listener.told == [("assign", [0, 1, 2])]
    ends = {p: 1 + max(m.offset() for m in records if m.partition() == p) for p in {m.partition() for m in records}}
    assert source.commit(ends, wait=True)
    source.close()
    assert listener.told[-1] == ("revoke", [0, 1, 2])
    send(publisher, house, (b"a", b"second"))
    again, _ = opened(house, members)
    assert [m.value() for m in read(again, 1)] == [b"second"]
    other, _ = opened(house, members, group="other")
    assert len(read(other, 31)) == 31


def test_what_is_not_committed_comes_again(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"v") for n in range(10)))
    first, _ = opened(house, members)
    read(first, 10)
    first.close()
    second, _ = opened(house, members)
    assert len(read(second, 10)) == 10


def test_an_asynchronous_commit_is_kept(house, members, publisher):
    send(publisher, house, (b"a", b"1"))
    source, _ = opened(house, members)
    [record] = read(source, 1)
    assert source.commit({record.partition(): record.offset() + 1}, wait=False)
    assert not source.commit_failed()
    source.close()
    send(publisher, house, (b"a", b"2"))
    again, _ = opened(house, members)
    assert [m.value() for m in read(again, 1)] == [b"2"]


def test_paused_means_nothing_comes_and_resumed_means_nothing_was_lost(house, members, publisher):
    source, listener = opened(house, members)
    until_true(lambda: listener.told, source)
    source.pause()
    send(publisher, house, *((str(n).encode(), b"v") for n in range(40)))
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        assert list(source.poll(100, 0.05, eager=True)) == []
    source.resume()
    assert len(read(source, 40)) == 40


def test_partitions_assigned_while_paused_stay_paused(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"v") for n in range(40)))
    source, listener = house.source(), Recorder()
    members.append(source)
    source.open(listener)
    source.pause()
    assert until_true(lambda: listener.told, source) == []
    assert list(source.poll(100, 0.2, eager=True)) == []
    source.resume()
    assert len(read(source, 40)) == 40


def test_the_end_is_known_and_new_records_take_it_away(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"v") for n in range(20)))
    source, _ = opened(house, members)
    read(source, 20)
    until_true(source.at_end, source)
    assert source.ended() == {0, 1, 2}
    assert source.lag() == 0
    send(publisher, house, (b"a", b"v"))
    read(source, 1)
    until_true(source.at_end, source)


def test_a_group_that_committed_nothing_begins_where_it_is_told(house, members, publisher):
    send(publisher, house, *((str(n).encode(), b"v") for n in range(60)))
    everything, _ = opened(house, members)
    sizes = Counter(message.partition() for message in read(everything, 60))
    everything.close()
    firsts = {partition: count // 2 for partition, count in sizes.items()}
    source = house.source(group="later", firsts=firsts)
    members.append(source)
    source.open(Recorder())
    found = read(source, 60 - sum(firsts.values()))
    assert all(message.offset() >= firsts[message.partition()] for message in found)


def test_a_second_member_takes_over_a_share_and_gives_it_back(house, members, publisher):
    first, heard_first = opened(house, members)
    until_true(lambda: ("assign", [0, 1, 2]) in heard_first.told, first)
    second, heard_second = opened(house, members)
    until_true(lambda: heard_second.told, first, second)
    gained = heard_second.told[0][1]
    assert 0 < len(gained) < 3
    assert [told for told in heard_first.told if told[0] == "revoke"] == [("revoke", gained)]
    send(publisher, house, *((str(n).encode(), b"v") for n in range(60)))
    records = read(first, 60, second)
    assert len({(m.partition(), m.offset()) for m in records}) == 60
    second.close()
    until_true(lambda: heard_first.told[-1] == ("assign", gained), first)


def test_a_missing_topic_is_said_at_once(house, members):
    source = house.source(topic=f"missing-{uuid.uuid4().hex}")
    members.append(source)
    with pytest.raises(MissingPrerequisite, match="topics create"):
        source.open(Recorder())


def test_a_record_that_is_too_large_is_refused_alone(house, members, publisher):
    publisher.publish(house.topic.name, b"k", b"before", [])
    with pytest.raises(InvalidEvent, match="bytes"):
        publisher.publish(house.topic.name, b"k", b"x" * 9_000_000, [])
    publisher.publish(house.topic.name, b"k", b"after", [])
    publisher.flush()
    source, _ = opened(house, members)
    assert [m.value() for m in read(source, 2)] == [b"before", b"after"]


def test_the_source_id_names_the_topic(house, members):
    source, _ = opened(house, members)
    name, _, uuid_ = source.source_id.partition("@")
    assert name == house.topic.name and uuid_
    assert source.source_id == source_id(name, uuid_)


def test_a_sender_puts_records_where_they_say_and_tells_their_offsets(house):
    headers = [("a", None), ("a", b""), ("b", b"\x00\xff")]
    records = [Outgoing(house.topic.name, number % 2, b"k", str(number).encode(), headers) for number in range(6)]
    records.append(Outgoing(house.topic.name, 2, None, None, []))
    sender = house.sender()
    try:
        assert sender.send(records) == [0, 0, 1, 1, 2, 2, 0]
        too_large = Outgoing(house.topic.name, 0, b"k", b"x" * 9_000_000, [])
        answers = sender.send([records[0], too_large, records[0]])
        assert (answers[0], answers[2]) == (3, 4) and isinstance(answers[1], str)
        assert sender.send([]) == []
    finally:
        sender.close()
    with house.reader() as reader:
        assert reader.topic == house.topic.name and reader.topic_uuid
        assert list(reader.spans()) == [Span(0, 0, 5), Span(1, 0, 3), Span(2, 0, 1)]
        assert [message.value() for message in reader.read(Span(0, 1, 3))] == [b"2", b"4"]
        (last,) = reader.read(Span(2, 0, 1))
        assert (last.key(), last.value(), last.headers() or []) == (None, None, [])
        (first,) = reader.read(Span(0, 0, 1))
        assert (first.headers(), first.offset(), first.partition()) == (headers, 0, 0)
        assert list(reader.read(Span(1, 3, 3))) == []
