"""From publishing a note to finding it: 20 notes a second through the real ``tag-notes`` and ``index-notes`` processes.

A note counts as recallable when a search with Bounded reads, as recall makes it, finds its vector; the index job's watch stamps that
moment, so the figure includes the watch's own tick of 50 ms. Texts are composed of the handbook's terms with invented names and numbers, so
that nearly every phrase is new to the encoder's cache. Where the settings name a bundle, a note is recallable once it is found in each of
its spaces.
"""

import random
import tempfile
import uuid
from pathlib import Path

import msgspec

from benchmarks.report import Row
from consumers.namespace import drop_namespace
from consumers.tag_notes import now_ms
from models.handbook import Handbook, load_handbook
from offline.live import open_publisher, percentiles, publish_live, running_consumers, timing, wait_caught_up, wait_recallable
from recall.build import open_readers
from schemas.events import CATEGORIES, NoteEvent, Product
from schemas.settings import load
from schemas.topics import all_topics
from streams.topics_admin import create_topics

PER_S = 20.0
WARM = 60
NOTES = 600
JOBS = ("tag-notes", "index-notes")
SYLLABLES = ("ka", "lor", "mi", "ven", "tas", "ul", "bre", "on", "dri", "fe", "sol", "wyn", "qua", "net", "hal")


def run() -> list[Row]:
    """p50 and p99 in ms from the event's time in Kafka to each stage."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}")
    handbook, rng = load_handbook(), random.Random(20)
    create_topics(settings, all_topics(settings.namespace))
    try:
        log = Path(tempfile.mkdtemp(prefix="tagstream-bench-"), "consumers.log")
        with running_consumers(settings, log, lambda _: None, JOBS), open_publisher(settings) as publisher:
            publish_live(settings, [composed(handbook, rng, number) for number in range(WARM)], PER_S, publisher)
            wait_caught_up(settings, JOBS)
            sent = publish_live(settings, [composed(handbook, rng, WARM + number) for number in range(NOTES)], PER_S, publisher)
            wait_caught_up(settings, JOBS)
            _, notes, _ = open_readers(settings)
            records = wait_recallable(notes, list(sent), sent)
    finally:
        drop_namespace(settings)
    timings = [timing(record) for record in records]
    assert len(timings) == NOTES
    rows = []
    for stage in ("received", "tagged", "recallable"):
        found = percentiles(timings, stage)
        bounds = (500.0, 2000.0) if stage == "recallable" else (None, None)
        for quantile, bound in zip(("p50", "p99"), bounds, strict=True):
            rows.append(Row(what=f"publish to {stage}, {quantile}, at 20 notes/s", unit="ms", ours=found[quantile], at_most=bound))
    return rows


def composed(handbook: Handbook, rng: random.Random, number: int) -> NoteEvent:
    """A note of about 70 words, in English or, one in three, Chinese."""
    category = rng.choice(CATEGORIES)
    dimensions = handbook.category(category).dimensions
    terms = [rng.choice(list(rng.choice(dimensions).examples.items())) for _ in range(8)]
    chinese = number % 3 == 0
    words = [zh if chinese else en for en, zh in terms]
    name = "".join(rng.choice(SYLLABLES) for _ in range(3)).title()
    if chinese:
        title = f"{words[0]}真实感受，{name}{rng.randrange(90)}号"
        body = "。".join(
            f"第{rng.randrange(2, 90)}天，{word}{rng.choice('很挺更最')}{rng.choice('好稳轻软亮')}，{name}的{word}" for word in words[1:]
        )
    else:
        title = f"{name} {rng.randrange(90)}: {words[0]} after {rng.randrange(2, 60)} days"
        verbs = ("surprised", "convinced", "annoyed", "saved", "outlasted")
        body = ". ".join(f"The {_invented(rng)} {word} {rng.choice(verbs)} my {_invented(rng)} {rng.randrange(500)}" for word in words[1:])
    at = now_ms()
    return NoteEvent(
        type="note.published",
        note_id=f"bench-{number}",
        author_id=f"author-{number % 50}",
        category=None if number % 10 == 0 else category,
        title=title,
        body=body,
        products=[Product(name=f"{name} {words[0]}", brand=_invented(rng).title(), description=f"{words[1]}, {words[2]}")],
        occurred_at=at,
        published_at=at,
    )


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(2))
