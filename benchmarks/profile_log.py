"""The log of the profile benchmarks: interactions in Kafka, tagged notes in Redis, both under a namespace of their own.

70 % clicks, 20 % likes, 10 % favorites by 20,000 readers on 5,000 notes, all drawn evenly; each note has 8 tags, drawn by Zipf's law
(exponent 1) from 2,000 texts. So every event touches 8 tags.
"""

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from recall.notes import RedisNotes
from recall.pointer import activate_if_none
from recall.redis_client import redis_client
from schemas.codec import encode, version_headers
from schemas.events import Action, Interaction, Tag
from schemas.keys import Keys
from schemas.settings import Settings, load
from schemas.stored import NoteRecord
from schemas.topics import INTERACTIONS
from schemas.writes import PutNote
from streams.client import admin_client
from streams.publisher import KafkaPublisher
from streams.topics_admin import create_topics

BUNDLE = "bench"
TEXTS = 2_000
TAGS_PER_NOTE = 8
START_MS = 1_700_000_000_000


class Shape(Struct, frozen=True):
    """How much of it. ``step_ms``: event time between two events."""

    events: int = 1_000_000
    readers: int = 20_000
    notes: int = 5_000
    step_ms: int = 1_000


@contextmanager
def published_log(shape: Shape) -> Iterator[Settings]:
    """Settings of a namespace that holds the log and its notes; all of it is dropped behind the block."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}")
    topic = INTERACTIONS.within(settings.namespace)
    create_topics(settings, [topic])
    client = redis_client(settings)
    try:
        activate_if_none(client, settings, BUNDLE)
        RedisNotes(client, Keys(settings.namespace, BUNDLE)).put([PutNote(note) for note in notes_of(shape)])
        publisher = KafkaPublisher(settings)
        for event in events_of(shape):
            publisher.publish(topic.name, event.user_id.encode(), encode(event), version_headers(event))
        publisher.flush(60.0)
        publisher.close()
        yield settings
    finally:
        drop_profiles(settings)
        keys = list(client.scan_iter(match=f"*{settings.namespace}:*", count=10_000))
        for start in range(0, len(keys), 1_000):
            client.unlink(*keys[start : start + 1_000])
        admin = admin_client(settings)
        mine = [name for name in admin.list_topics(timeout=10).topics if settings.namespace in name]
        for outcome in admin.delete_topics(mine).values():
            outcome.result(timeout=30)


def drop_profiles(settings: Settings) -> None:
    """Deletes the readers' records, so that a run begins from nothing."""
    client = redis_client(settings)
    keys = list(client.scan_iter(match=f"*:{settings.namespace}:{BUNDLE}:profile:*", count=10_000))
    for start in range(0, len(keys), 1_000):
        client.unlink(*keys[start : start + 1_000])


def notes_of(shape: Shape) -> Iterator[NoteRecord]:
    """Tagged notes."""
    rng = random.Random(1)
    texts = [f"fine grained tag {rank}" for rank in range(1, TEXTS + 1)]
    weights = [1.0 / rank for rank in range(1, TEXTS + 1)]
    for number in range(shape.notes):
        chosen: dict[str, None] = {}
        while len(chosen) < TAGS_PER_NOTE:
            chosen.update(dict.fromkeys(rng.choices(texts, weights, k=TAGS_PER_NOTE - len(chosen))))
        tags = [Tag(text=text, dimension="style", rank=rank, confidence=0.9) for rank, text in enumerate(chosen, 1)]
        yield NoteRecord(f"note-{number}", "author", START_MS, False, 0, b"", START_MS, "shoes", tags, "", "bench", [], {})


def events_of(shape: Shape) -> Iterator[Interaction]:
    """Interactions in order of time."""
    rng = random.Random(2)
    actions: list[Action] = ["click", "like", "favorite"]
    for number, action in enumerate(rng.choices(actions, [70, 20, 10], k=shape.events)):
        yield Interaction(
            event_id=f"event-{number}",
            user_id=f"reader-{rng.randrange(shape.readers)}",
            note_id=f"note-{rng.randrange(shape.notes)}",
            action=action,
            occurred_at=START_MS + number * shape.step_ms,
            channel="two_tower",
        )
