"""`tagstream consume metrics` and `tagstream metrics` on the real servers: the figures equal an independent computation over the log, with
SIGKILL in the middle, with the log sent twice, with late events, and whichever topic is there first."""

import json
import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.metrics_job import read_report
from consumers.metrics_store import RedisMetrics
from offline.datasets import deskdrop_interactions, deskdrop_notes
from recall.redis_client import redis_client
from schemas.codec import encode
from schemas.events import CATEGORIES, Interaction, NoteEvent
from streams.client import admin_client
from streams.metrics_app import SESSION_S
from streams.publisher import KafkaPublisher
from tests.e2e.metrics_oracle import Logged, assert_equal, expected
from tests.e2e.running import kill, start, tagstream_json

DATA = Path(os.environ.get("TAGSTREAM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "deskdrop-interactions"
HOUR = 3_600_000
CHANNELS = ("two_tower", "tag_embedding", "fresh", None)
AT = 1_700_000_000_000


def logged(settings, topic):
    """The topic's records by partition, in order: (value, timestamp)."""
    name = f"{settings.namespace}.{topic}"
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "none", "enable.auto.commit": False})
    partitions: dict[int, list[tuple[bytes, int]]] = {}
    for number in consumer.list_topics(name, timeout=10).topics[name].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(name, number), timeout=10)
        consumer.assign([TopicPartition(name, number, low)])
        records = partitions[number] = []
        while len(records) < high - low:
            records += [(message.value(), message.timestamp()[1]) for message in consumer.consume(1000, timeout=1.0) if not message.error()]
    consumer.close()
    return partitions


def oracle(settings):
    """The figures of the log as Kafka holds it."""
    parse = msgspec.json.Decoder(Interaction).decode
    partitions = [[Logged(parse(value), at) for value, at in log] for log in logged(settings, "interactions").values()]
    notes = [msgspec.json.decode(value, type=NoteEvent) for log in logged(settings, "note-events").values() for value, _ in log]
    return expected(partitions, notes, settings)


def publish(settings, tmp_path, what, events):
    path = tmp_path / f"{what}.jsonl"
    path.write_bytes(b"\n".join(map(encode, events)) + b"\n")
    assert tagstream_json(settings, "publish", what, str(path))["published"] == len(events)


def consume(settings):
    return tagstream_json(settings, "consume", "metrics", "--until-idle", "1.5")["metrics"]


def shown(settings):
    """The documents of `tagstream metrics --json`, one by the command itself, the others by what it calls."""
    client = redis_client(settings)
    others = {by: json.loads(msgspec.json.encode(read_report(settings, client, by))) for by in ("arm", "category")}
    return {"channel": tagstream_json(settings, "metrics"), **others}


def kill_midway(settings, least=1):
    """Starts the job and kills it once it has told so many cells of notes."""
    running = start(settings, "consume", "metrics")
    try:
        wait_told(settings, running, least)
    finally:
        said = kill(running)
    assert "Traceback" not in said, said


def community(count, seed=1, notes=60):
    """Notes and a stream of interactions in rough order of time: some late, some far too late, some twice, some on notes nobody knows."""
    rng = random.Random(seed)
    published = [
        NoteEvent(
            type="note.published", note_id=f"n{number}", author_id="a", title="t", occurred_at=AT + number * HOUR // 2,
            published_at=AT + number * HOUR // 2, category=rng.choice((*CATEGORIES[:4], None)),
        )
        for number in range(notes)
    ]  # fmt: skip
    events = []
    for number in range(count):
        now = AT + number * 40 * HOUR // count
        lag = rng.choice((0, 0, 0, rng.randrange(HOUR), 5 * HOUR if rng.random() < 0.1 else 0))
        action = rng.choices(
            ("impression", "click", "like", "favorite", "comment", "share", "view", "unlike"), (40, 20, 8, 4, 2, 2, 10, 2)
        )[0]
        experiment = rng.choice(({}, {"ranker": "new"}, {"ranker": "old", "ui": "dark"}))
        events.append(
            Interaction(
                event_id=f"e{number}", user_id=f"u{rng.randrange(80)}", note_id=f"n{rng.randrange(notes + 3)}", action=action,
                occurred_at=max(AT, now - lag), channel=rng.choice(CHANNELS), experiment=experiment,
                dwell_ms=rng.randrange(60_000) if action == "view" else None,
            )
        )  # fmt: skip
        if rng.random() < 0.05:
            events.append(events[rng.randrange(max(0, len(events) - 200), len(events))])
    return published, events


@pytest.fixture
def quick(settings):
    return msgspec.structs.replace(settings, metrics_batch=150, metrics_keep_hours=100.0)


@pytest.mark.parametrize("order", ["notes first", "actions first"])
def test_figures_equal_the_oracle_after_a_kill_and_a_replay(quick, tmp_path, order):
    notes, events = community(4_000)
    tagstream_json(quick, "topics", "create")
    sends = [("notes", notes), ("interactions", events)]
    for what, items in sends if order == "notes first" else sends[::-1]:
        publish(quick, tmp_path, what, items)
        if order == "actions first" and what == "interactions":
            counts = consume(quick)
            assert counts["handled"] == len(events)
            assert read_report(quick, redis_client(quick)).unknown_note > 1_000, "no note is known yet"
    if order == "notes first":
        kill_midway(quick)
    consume(quick)
    want = oracle(quick)
    assert want["late"] > 20
    assert want["duplicates"] > 50
    assert want["unknown_note"] > 50
    assert_equal(shown(quick), want)

    before = shown(quick)
    publish(quick, tmp_path, "interactions", events)
    publish(quick, tmp_path, "notes", notes)
    consume(quick)
    want = oracle(quick)
    after = shown(quick)
    assert_equal(after, want)
    for by, document in after.items():
        assert document["windows"] == before[by]["windows"], "the log sent once more counts nothing"
        assert document["arms"] == before[by]["arms"]
        assert document["late"] + document["duplicates"] == before[by]["late"] + before[by]["duplicates"] + len(events)


def test_killed_again_and_again_nothing_counts_twice(quick, tmp_path):
    notes, events = community(6_000, seed=2)
    tagstream_json(quick, "topics", "create")
    publish(quick, tmp_path, "notes", notes)
    publish(quick, tmp_path, "interactions", events)
    for least in (1, 100, 400):
        kill_midway(quick, least)
    consume(quick)
    assert_equal(shown(quick), oracle(quick))


def test_a_process_that_was_away_for_longer_than_its_session_corrupts_nothing(quick, tmp_path):
    """Stopped in the middle of its work it loses its partitions; awake again it lets go what it held, recovers and goes on."""
    notes, events = community(5_000, seed=4)
    tagstream_json(quick, "topics", "create")
    publish(quick, tmp_path, "notes", notes)
    publish(quick, tmp_path, "interactions", events)
    running = start(quick, "consume", "metrics", "--until-idle", "3")
    try:
        for least in (1, 300):
            wait_told(quick, running, least)
            os.killpg(running.pid, signal.SIGSTOP)
            time.sleep(SESSION_S + 3)
            os.killpg(running.pid, signal.SIGCONT)
        said = running.communicate(timeout=240)[1]
    finally:
        kill(running)
    assert running.returncode in (0, 1), said
    consume(quick)
    assert_equal(shown(quick), oracle(quick))


def test_two_processes_share_the_work_and_one_takes_over(quick, tmp_path):
    """Partitions move when a second process comes and when the first is killed; the figures are merged from both."""
    notes, events = community(3_000, seed=3)
    tagstream_json(quick, "topics", "create")
    publish(quick, tmp_path, "notes", notes)
    publish(quick, tmp_path, "interactions", events[:1_000])
    first = start(quick, "consume", "metrics")
    second = None
    try:
        wait_told(quick, first)
        second = start(quick, "consume", "metrics")
        publish(quick, tmp_path, "interactions", events[1_000:2_000])
        wait_members(quick, 2, second)
        publish(quick, tmp_path, "interactions", events[2_000:])
    finally:
        said = kill(first)
        if second is not None:
            second.send_signal(signal.SIGTERM)
            said += second.communicate(timeout=120)[1]
    assert second is not None and second.returncode == 0, said
    consume(quick)
    assert_equal(shown(quick), oracle(quick))


def wait_told(settings, process, least=1):
    """Until the job has told so many cells of notes."""
    store, until = RedisMetrics(redis_client(settings), settings.namespace), time.monotonic() + 90
    while sum(map(len, store.read().get("notes", {}).values())) < least:
        assert process.poll() is None and time.monotonic() < until, "the job tells nothing"
        time.sleep(0.05)


def wait_members(settings, number, process):
    """Until so many processes have partitions of the interactions."""
    admin, until = admin_client(settings), time.monotonic() + 90
    group = f"{settings.namespace}.tagstream-metrics"
    while True:
        described = admin.describe_consumer_groups([group], request_timeout=10)[group].result(timeout=15)
        if sum(bool(member.assignment and member.assignment.topic_partitions) for member in described.members) == number:
            return
        assert process.poll() is None and time.monotonic() < until, "the partitions are not shared"
        time.sleep(0.1)


def test_dead_letters_and_the_output_topic(quick, tmp_path):
    """What is no event goes to the dead letters; the output topic ends with the same cells as Redis."""
    notes, events = community(500)
    tagstream_json(quick, "topics", "create")
    publish(quick, tmp_path, "notes", notes)
    publisher = KafkaPublisher(quick)
    publisher.publish(f"{quick.namespace}.interactions", b"u", b'{"user_id": "u"}', [("trace", b"1")])
    publisher.flush()
    publisher.close()
    publish(quick, tmp_path, "interactions", events)
    counts = consume(quick)
    assert (counts["dead_lettered"], counts["handled"]) == (1, len(events) + len(notes))
    ((value, _),) = logged(quick, "interactions-dead-letters")[0]
    assert value == b'{"user_id": "u"}'
    latest = defaultdict(dict)
    for (key, cell), value in compacted(quick, "metrics").items():
        latest[key][cell] = value
    held = RedisMetrics(redis_client(quick), quick.namespace).read()
    assert {f"{table}/{number}": cells for table, of in held.items() for number, cells in of.items()} == latest


def compacted(settings, topic):
    """Newest value by (table and partition, cell), without those that were removed."""
    name, newest, read = f"{settings.namespace}.{topic}", {}, 0
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(name, 0, 0)])
    _, high = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=10)
    while read < high:
        for message in consumer.consume(1000, timeout=1.0):
            table, partition, cell = message.key().decode().split("/", 2)
            newest[f"{table}/{partition}", cell] = message.value()
            read = message.offset() + 1
    consumer.close()
    return {key: value for key, value in newest.items() if value is not None}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the Deskdrop log is not at {DATA}; set TAGSTREAM_TEST_DATA")
def test_deskdrop_with_a_kill_in_the_middle(settings, tmp_path):
    """12,000 events of the reading log; before each opening an impression, with channel and arm drawn by its session."""
    settings = msgspec.structs.replace(settings, metrics_keep_hours=24.0 * 400, metrics_batch=500)
    events = []
    for opened in list(deskdrop_interactions(DATA))[:8_000]:
        rng = random.Random(f"{opened.user_id} {opened.request_id}")
        drawn = {"channel": rng.choice(CHANNELS[:3]), "experiment": {"ranker": rng.choice(("new", "old"))}}
        event = msgspec.structs.replace(opened, **drawn)
        if event.action == "click":
            seen = {"event_id": f"{event.event_id}-seen", "action": "impression", "occurred_at": event.occurred_at - 1_000}
            events.append(msgspec.structs.replace(event, **seen))
        events.append(event)
    events = events[:12_000]
    touched = {event.note_id for event in events}
    notes = [
        msgspec.structs.replace(note, category=random.Random(note.note_id).choice(CATEGORIES))
        for note in deskdrop_notes(DATA)
        if note.note_id in touched
    ]
    tagstream_json(settings, "topics", "create")
    publish(settings, tmp_path, "interactions", events)
    publish(settings, tmp_path, "notes", notes)
    kill_midway(settings)
    counts = consume(settings)
    assert counts["dead_lettered"] == 0
    want = oracle(settings)
    assert sum(sum(count.values()) for key, count in want["windows"].items() if key[0] == "channel") > 4_000
    assert_equal(shown(settings), want)
