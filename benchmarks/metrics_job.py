"""The metrics job, real Kafka to real Redis: interactions per CPU second of its process, with both hops, tables and figures.

40,000 interactions (half impressions) by 5,000 readers on 500 fresh notes over six hours, three channels, two arms. The figure is events
over user and system time of ``tagstream consume metrics``, less that of the same command with nothing to read.
"""

import os
import random
import resource
import subprocess
import sys
import time
import uuid

import msgspec

from benchmarks.report import Row
from consumers.namespace import drop_namespace
from offline.live import publish
from schemas.events import Action, Interaction, NoteEvent
from schemas.settings import Settings, environ_of, load
from schemas.topics import all_topics
from streams.topics_admin import create_topics

EVENTS, READERS, NOTES = 40_000, 5_000, 500
START_MS, SPAN_MS = 1_700_000_000_000, 6 * 3_600_000
CHANNELS = ("two_tower", "tag_embedding", "fresh")


def run() -> list[Row]:
    """One row, without a peer."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}")
    try:
        create_topics(settings, all_topics(settings.namespace))
        publish(settings, [note(number) for number in range(NOTES)])
        idle = consume(settings)
        publish(settings, events())
        busy = consume(settings)
    finally:
        drop_namespace(settings)
    cpu_s, wall_s = busy[0] - idle[0], busy[1] - idle[1]
    rate = f"{EVENTS / wall_s:,.0f} events/s by the clock, everything on one machine"
    note_text = f"{EVENTS:,} events, {READERS:,} readers, {NOTES} notes; {rate}"
    return [Row(what="metrics job, two hops with tables", unit="events/CPU s", ours=EVENTS / cpu_s, note=note_text)]


def consume(settings: Settings) -> tuple[float, float]:
    """CPU and wall seconds of the command until all is read."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "tagstream", "consume", "metrics", "--until-idle", "1", "--json"]
    subprocess.run(command, env=environ_of(settings) | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}, check=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def note(number: int) -> NoteEvent:
    """A note published before all interactions."""
    return NoteEvent(
        type="note.published", note_id=f"note-{number}", author_id="a", category="shoes", occurred_at=START_MS, published_at=START_MS
    )


def events() -> list[Interaction]:
    """In order of time."""
    rng = random.Random(1)
    kinds: list[Action] = ["impression", "click", "like", "favorite", "view"]
    return [
        Interaction(
            event_id=f"e{number}",
            user_id=f"u{rng.randrange(READERS)}",
            note_id=f"note-{rng.randrange(NOTES)}",
            action=rng.choices(kinds, (50, 20, 8, 4, 18))[0],
            occurred_at=START_MS + number * SPAN_MS // EVENTS,
            channel=rng.choice(CHANNELS),
            experiment={"ranker": rng.choice(("new", "old"))},
            dwell_ms=5_000,
        )
        for number in range(EVENTS)
    ]
