"""Recall, profiles and note inspection on real Redis, Milvus and Kafka."""

import json
import random
import subprocess
import sys
import time

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from consumers.inspect_cli import finder
from consumers.inspect_note import inspect
from recall.build import open_stores
from recall.note_index import MemoryNoteIndex, MilvusNoteIndex
from recall.pointer import activate_if_none
from recall.query import Query, recall
from recall.redis_client import redis_client
from schemas.codec import encode, version_headers
from schemas.errors import Transient
from schemas.events import NoteEvent
from schemas.topics import all_topics
from streams.dead_letters import Failure, dead_letter_headers
from streams.memory import MemoryMessage
from streams.topics_admin import create_topics
from tests.recall.world import DIMENSION, NOW, World

CLOSED = "127.0.0.1:9"


@pytest.fixture
def stores(settings):
    """The stores of the live bundle."""
    activate_if_none(redis_client(settings), settings, "b1")
    return open_stores(settings)


@pytest.fixture
def live(stores):
    """A world on Redis; its vectors stay in memory, so Milvus has no collection."""
    return World(replace(stores, index=MemoryNoteIndex(DIMENSION, clock=lambda: NOW)))


def populate(world, seed=3):
    """Notes and readers at random, with ids that need care."""
    rng = random.Random(seed)
    words = ["crimson", "navy", "running", "trail", "shoes", "tea", "green", "pot", "yoga", "mat"]
    tags = [" ".join(rng.sample(words, 2)) for _ in range(25)]
    for number in range(80):
        category = rng.choice(["shoes", "food", None])
        author, text = f"u {rng.randrange(9)}", rng.choice(["", "", f"text {rng.randrange(20)}"])
        age_h = rng.uniform(0.1, 60)
        world.note(f"n {{{number}}} '\"红/", *rng.sample(tags, 4), author=author, fingerprint=text, age_h=age_h, category=category)
    for _ in range(150):
        action = rng.choice(["impression", "click", "like", "unlike", "favorite", "share"])
        world.act(f"u {rng.randrange(4)}", action, f"n {{{rng.randrange(40)}}} '\"红/", rng.uniform(0, 9))
    ids = [f"n {{{number}}} '\"红/" for number in range(80)]
    until = time.monotonic() + 30
    while len(world.index.visible(ids)) < len(ids):
        assert time.monotonic() < until, "the vectors do not become visible"
        time.sleep(0.05)


def told(answer):
    """An answer without the digits in which float32 sums of two libraries may differ."""
    rounded = [
        (
            one.note_id,
            round(one.score, 2),
            [(part.name, round(part.score, 3)) for part in one.channels],
            [(why.profile_tag, why.note_tag, why.score, why.actions) for why in one.reasons],
        )
        for one in answer.results
    ]
    return sorted(rounded), sorted((one.note_id, one.reason) for one in answer.removed), answer.degraded


def test_servers_answer_as_the_twins_do(settings, stores):
    index = MilvusNoteIndex(settings, "b1", clock=lambda: NOW)
    index.create(DIMENSION)
    live, twin = World(replace(stores, index=index)), World()
    populate(live)
    populate(twin)
    for user in ("u 0", "u 1", "u 2", "u 3", "nobody"):
        for asked in ({}, {"fresh_within_ms": None}, {"as_of": NOW - 20 * 3_600_000}, {"channels": ("tag_index_idf",)}):
            real, expected = (world.recall(user, explain=True, k=200, **asked) for world in (live, twin))
            assert told(real) == told(expected)
            assert real.results or (user, asked) == ("nobody", {"channels": ("tag_index_idf",)})


def test_serving_spends_the_budget_in_redis_and_looking_does_not(live, settings):
    """Two processes' stores share the count; a reader is not shown the same note twice."""
    live.note("liked", "green tea", "clay pot")
    live.note("better", "green tea", "clay pot", age_h=2)
    live.note("good", "green tea", "clay pot", age_h=3)
    live.note("new", "green tea", "own", age_h=4)
    for user in ("u1", "u2", "u3"):
        live.act(user, "like", "liked")
    exploring = replace(settings, exploration_impressions=2)

    def shown(user, serving=True):
        stores = replace(open_stores(exploring), index=live.index)
        answer = recall(Query(user_id=user, k=2, as_of=NOW, serving=serving), stores, live.encoder)
        return [(one.note_id, one.exploration_left) for one in answer.results]

    assert shown("u1", serving=False) == [("better", None), ("good", None)]
    assert [shown(user) for user in ("u1", "u1", "u2", "u3")] == [
        [("better", None), ("new", 1)],
        [("better", None), ("good", None)],
        [("better", None), ("new", 0)],
        [("better", None), ("good", None)],
    ]


def test_milvus_down_costs_one_channel(live, settings):
    live.note("liked", "green tea")
    live.note("match", "green tea")
    live.act("u", "like", "liked")
    stores = open_stores(replace(settings, milvus_uri=f"http://{CLOSED}", recall_timeout_s=0.5))
    answer = recall(Query(user_id="u", as_of=NOW), stores, live.encoder)
    assert [one.note_id for one in answer.results] == ["match"]
    assert len(answer.degraded) == 1 and answer.degraded[0].startswith("tag_embedding: milvus is not available")


def test_redis_down_is_transient(settings):
    with pytest.raises(Transient, match="redis"):
        open_stores(replace(settings, redis_url=f"redis://{CLOSED}/0"))


def test_the_commands_on_the_servers(live, settings, stack):
    live.note("liked", "green tea")
    live.note("match", "green tea", age_h=2)
    live.act("u", "like", "liked", age_h=0)

    def run(*arguments, **changes):
        command = [sys.executable, "-m", "tagstream", *arguments]
        return subprocess.run(command, env=stack.process_env(settings) | changes, capture_output=True, text=True, check=False)

    document = json.loads(run("profile", "u", "--as-of", str(NOW), "--json").stdout)
    assert document["tags"] == [{"text": "green tea", "score": 2.0}]
    answer = run("recall", "u", "--as-of", str(NOW), "--channels", "tag_index,fresh", "--explain", "--json")
    assert [one["note_id"] for one in json.loads(answer.stdout)["results"]] == ["match"], answer.stderr
    document = json.loads(run("note", "liked", "--user", "u", "--as-of", str(NOW), "--json").stdout)
    assert (document["state"], document["why_not"][-1]["reason"]) == ("tagged", "filtered_by_seen")
    down = run("recall", "u", TAGSTREAM_REDIS_URL=f"redis://{CLOSED}/0")
    assert (down.returncode, down.stdout) == (1, "")
    assert down.stderr.startswith("tagstream: redis is not available") and down.stderr.count("\n") == 1


def test_notes_are_found_in_the_topics_whatever_their_key(settings):
    create_topics(settings, all_topics(settings.namespace))
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    event = NoteEvent(type="note.published", note_id="keyed 红", author_id="a", occurred_at=NOW, published_at=NOW)
    topic = f"{settings.namespace}.note-events"
    producer.produce(topic, encode(event), key="keyed 红", headers=version_headers(event))
    producer.produce(topic, json.dumps({**json.loads(encode(event)), "note_id": "unkeyed 红"}).encode())
    broken = MemoryMessage(topic=topic, partition=0, offset=0, key=b"broken", value=b"{", timestamp=NOW)
    headers = dead_letter_headers(broken, Failure("invalid_event", "not JSON", "tag-notes/decode", "$"))
    producer.produce(f"{topic}-dead-letters", b"{", key="broken", headers=headers)
    assert producer.flush(10) == 0
    stores = open_stores(settings)
    states = {
        note_id: inspect(note_id, stores, finder(settings, note_id)).state for note_id in ("keyed 红", "unkeyed 红", "broken", "nobody's")
    }
    assert states == {"keyed 红": "published", "unkeyed 红": "published", "broken": "dead_letter", "nobody's": "unknown"}
