"""What is done to a real consumer on a real broker: signals, kills, rebalances, topics that change under it."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest

import streams.source
from schemas.codec import encode, version_headers
from schemas.events import Interaction
from schemas.topics import Topic
from streams.client import admin_client
from streams.engine import Engine, Job, Limits, Stop
from streams.publisher import KafkaPublisher
from streams.source import KafkaSource
from streams.topics_admin import create_topics

CHILD = Path(__file__).with_name("engine_child.py")
ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


@pytest.fixture
def topic(settings):
    topic = Topic("actions", 6, -1, "delete", Interaction).within(settings.namespace)
    create_topics(settings, [topic, Topic(topic.dead_letters, 1, -1, "delete")])
    return topic


@pytest.fixture
def send(settings, topic):
    publisher = KafkaPublisher(settings)

    def send(numbers):
        for n in numbers:
            event = Interaction(event_id=f"e{n}", user_id=f"u{n % 40}", note_id="n", action="click", occurred_at=n)
            publisher.publish(topic.name, event.user_id.encode(), encode(event), version_headers(event))
        publisher.flush()

    yield send
    publisher.close()


@pytest.fixture
def child(settings, tmp_path):
    running = []

    def start(name="applied", pause_s=0.02, until_idle_s=0.0):
        arguments = [msgspec.json.encode(settings).decode(), str(tmp_path / name), str(pause_s), str(until_idle_s)]
        process = subprocess.Popen(
            [sys.executable, str(CHILD), *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def applied(path):
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition, what):
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.02)


def expected(numbers):
    return sorted(f"e{n}" for n in numbers)


def engine(settings, topic, handle, *, batch_size=50, **properties):
    job = Job(name="here", topic=topic, handle=handle, batch_size=batch_size, batch_age_s=0.02)
    source = KafkaSource(settings, topic.name, job.group_id(settings.namespace), **properties)
    return Engine(job, source, KafkaPublisher(settings), [], limits=Limits(patience_s=0.1, commit_interval_s=0.1))


def test_sigterm_ends_with_everything_handled_committed(send, child, tmp_path):
    send(range(1000))
    first = child()
    wait_until(lambda: len(applied(tmp_path / "applied")) >= 200, "200 events applied")
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=WAIT_S)
    assert first.returncode == 0
    handled = json.loads(out)["handled"]
    assert 200 <= handled < 1000 and handled == len(applied(tmp_path / "applied"))
    out, _ = child(pause_s=0, until_idle_s=0.5).communicate(timeout=WAIT_S)
    assert handled + json.loads(out)["handled"] == 1000
    assert sorted(applied(tmp_path / "applied")) == expected(range(1000))  # nothing twice


def test_sigkill_at_any_moment_loses_nothing(send, child, tmp_path):
    send(range(1500))
    rng = random.Random(11)
    for _ in range(2):  # the broker takes some seconds to notice each
        before = len(applied(tmp_path / "applied"))
        process = child()
        wait_until(lambda: len(applied(tmp_path / "applied")) > before, "progress after a kill")  # noqa: B023
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.communicate()
    child(pause_s=0, until_idle_s=0.5).communicate(timeout=WAIT_S)
    assert sorted(set(applied(tmp_path / "applied"))) == expected(range(1500))


def test_two_processes_share_a_topic_and_an_orderly_hand_over_repeats_nothing(send, child, tmp_path):
    send(range(2000))
    first = child("first", pause_s=0.25)  # long enough at it for the second to come while there is something to share
    wait_until(lambda: len(applied(tmp_path / "first")) > 100, "the first process works")
    second = child("second", pause_s=0.25)
    wait_until(lambda: len(applied(tmp_path / "second")) > 100, "the second process took a share")
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=WAIT_S)
    assert first.returncode == 0
    wait_until(lambda: len(applied(tmp_path / "first")) + len(applied(tmp_path / "second")) >= 2000, "the second process finished all")
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=WAIT_S)
    seen = Counter(applied(tmp_path / "first") + applied(tmp_path / "second"))
    assert sorted(seen) == expected(range(2000))
    assert max(seen.values()) == 1


def test_a_handle_longer_than_the_poll_interval_keeps_its_partitions(settings, topic, send, caplog):
    send(range(20))
    handled = []

    def handle(batch):
        time.sleep(3.0)
        handled.extend(e.event.event_id for e in batch)
        return []

    with caplog.at_level(logging.WARNING):
        counts = engine(settings, topic, handle, **{"max.poll.interval.ms": 1000}).run(Stop(), 0.5)
    assert sorted(handled) == expected(range(20))
    assert counts.handled == 20
    assert "lost partitions" not in caplog.text


def test_a_topic_recreated_between_two_runs_is_read_from_its_start(settings, topic, send, caplog):
    sources, handled = set(), []

    def handle(batch):
        sources.update(e.source for e in batch)
        handled.extend(e.event.event_id for e in batch)
        return []

    send(range(60))
    engine(settings, topic, handle).run(Stop(), 0.3)
    recreate(settings, topic)
    send(range(100, 300))  # more than before, so the old offsets would be within range
    engine(settings, topic, handle).run(Stop(), 0.3)
    assert sorted(handled) == expected([*range(60), *range(100, 300)])
    assert len(sources) == 2


def test_a_topic_recreated_under_a_running_consumer_is_followed(settings, topic, send, monkeypatch):
    """Until it notices, what it reads counts as the old topic's; then the new one is read from its start."""
    monkeypatch.setattr(streams.source, "IDENTITY_CHECK_S", 0.2)
    handled = defaultdict(set)

    def handle(batch):
        for received in batch:
            handled[received.source].add(received.event.event_id)
        return []

    stop = Stop()
    thread = threading.Thread(target=engine(settings, topic, handle).run, args=(stop,))
    thread.start()
    try:
        send(range(60))
        wait_until(lambda: sum(map(len, handled.values())) >= 60, "the first records")
        (before,) = handled
        recreate(settings, topic)
        send(range(100, 300))
        new = set(expected(range(100, 300)))
        wait_until(lambda: any(new <= ids for source, ids in list(handled.items()) if source != before), "all of the new topic, as such")
    finally:
        stop.request()
        thread.join(WAIT_S)
    assert len(handled) == 2


def test_records_lost_to_retention_are_said_and_passed_over(settings, topic, send, caplog):
    handled = []

    def handle(batch):
        handled.extend(e.event.event_id for e in batch)
        return []

    send(range(100))
    engine(settings, topic, handle).run(Stop(), 0.3)
    send(range(100, 200))
    drop_all_records(settings, topic)
    send(range(200, 210))
    with caplog.at_level(logging.WARNING):
        engine(settings, topic, handle).run(Stop(), 0.3)
    assert sorted(handled) == expected([*range(100), *range(200, 210)])
    assert "lost records to retention" in caplog.text and "100" not in handled
    missed = sum(int(record.args[-1].split()[1]) for record in caplog.records if "retention" in record.msg)
    assert missed == 100


def test_records_lost_to_retention_while_the_consumer_is_busy(settings, topic, send, caplog):
    handled, busy, go_on = [], threading.Event(), threading.Event()

    def handle(batch):
        handled.extend(e.event.event_id for e in batch)
        busy.set()
        assert go_on.wait(WAIT_S)
        return []

    stop = Stop()
    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=engine(settings, topic, handle, batch_size=10).run, args=(stop,))
        thread.start()
        try:
            send(range(20))
            assert busy.wait(WAIT_S)
            time.sleep(0.3)  # its partitions are paused by now, what was fetched is dropped
            send(range(100, 400))
            drop_all_records(settings, topic)
            send(range(500, 510))
            go_on.set()
            wait_until(lambda: set(expected(range(500, 510))) <= set(handled), "records after the gap")
        finally:
            go_on.set()
            stop.request()
            thread.join(WAIT_S)
    assert "lost records to retention" in caplog.text


def recreate(settings, topic):
    admin = admin_client(settings)
    admin.delete_topics([topic.name])[topic.name].result(WAIT_S)
    wait_until(lambda: create_topics(settings, [topic]) == [topic.name], "the topic was created again")


def drop_all_records(settings, topic):
    from confluent_kafka import OFFSET_END, TopicPartition

    partitions = [TopicPartition(topic.name, p, OFFSET_END) for p in range(topic.partitions)]
    admin = admin_client(settings)  # kept: its answers never come once it is collected
    for answer in admin.delete_records(partitions).values():
        answer.result(WAIT_S)
