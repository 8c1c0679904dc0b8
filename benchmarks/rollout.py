"""What a backfill costs live notes: publish to recallable while ``tagstream replay all`` builds a bundle beside the live one, against the
same stream of notes just before and after, on the same servers.

The new bundle keeps fewer tags a note, so every old note is tagged, encoded and indexed again and every profile rebuilt. ``replay``
computes when nothing else wants to, works in small batches and waits while a live consumer is behind.
"""

import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.publish_to_recallable import composed
from benchmarks.report import Row
from consumers.namespace import drop_namespace
from consumers.tag_notes import now_ms
from models.bundle_build import build_bundle
from models.handbook import load_handbook
from offline.live import open_publisher, percentiles, publish, publish_live, running_consumers, timing, wait_caught_up, wait_recallable
from recall.build import open_readers
from schemas.events import Interaction, NoteEvent
from schemas.settings import Settings, environ_of, load
from schemas.topics import all_topics
from streams.publisher import KafkaPublisher
from streams.topics_admin import create_topics

PER_S = 10.0
BACKLOG = 2_000
ACTIONS = 20_000
WARM = 40
NOTES = 400


def run() -> list[Row]:
    """p50 and p99 in ms with the backfill, against the mean of the figures before and after it."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}")
    scratch = Path(tempfile.mkdtemp(prefix="tagstream-bench-"))
    made = build_bundle(msgspec.structs.replace(settings, tagger_max_tags=4), [], None, scratch / "bundle", lambda _: None)
    rng, handbook = random.Random(21), load_handbook()
    create_topics(settings, all_topics(settings.namespace))
    notes = [composed(handbook, rng, number) for number in range(BACKLOG + WARM + 3 * NOTES)]
    old, live = notes[:BACKLOG], iter(notes[BACKLOG:])
    try:
        with running_consumers(settings, scratch / "consumers.log", lambda _: None), open_publisher(settings) as publisher:
            publish(settings, old, publisher)
            wait_caught_up(settings)
            publish(settings, _actions(rng, [note.note_id for note in old]), publisher)
            wait_caught_up(settings)
            publish_live(settings, [next(live) for _ in range(WARM)], PER_S, publisher)
            took = {"before": _live(settings, [next(live) for _ in range(NOTES)], publisher)}
            command = [sys.executable, "-m", "tagstream", "replay", "all", "--into", str(made), "--json"]
            log = (scratch / "replay.log").open("w")
            with log, subprocess.Popen(command, env=environ_of(settings), stdout=subprocess.PIPE, stderr=log) as replay:
                time.sleep(3.0)  # its models are loaded before it competes
                took["during"] = _live(settings, [next(live) for _ in range(NOTES)], publisher)
                outlasted = replay.poll() is None
                replay.communicate()
            assert replay.returncode == 0, (scratch / "replay.log").read_text()[-2000:]
            took["after"] = _live(settings, [next(live) for _ in range(NOTES)], publisher)
    finally:
        drop_namespace(settings)
    note = "" if outlasted else "the backfill ended before the notes did: more backlog is needed"
    rows = []
    for quantile, bound in (("p50", None), ("p99", 1.2)):
        base = (took["before"][quantile] + took["after"][quantile]) / 2
        remark = f"wanted: at most {bound} times" if bound else ""
        rows.append(
            Row(
                what=f"publish to recallable, {quantile}, {PER_S:.0f} notes/s, while {BACKLOG:,} notes, {ACTIONS:,} actions are replayed",
                unit="ms",
                ours=took["during"][quantile],
                peer=base,
                peer_name="the same without a backfill, before and after",
                note="; ".join(filter(None, (remark, note))),
            )
        )
    return rows


def _live(settings: Settings, notes: Sequence[NoteEvent], publisher: KafkaPublisher) -> dict[str, float]:
    sent = publish_live(settings, notes, PER_S, publisher)
    _, store, _ = open_readers(settings)
    return percentiles([timing(record) for record in wait_recallable(store, list(sent), sent)], "recallable")


def _actions(rng: random.Random, note_ids: list[str]) -> list[Interaction]:
    at = now_ms()
    return [
        Interaction(
            event_id=f"e{number}", user_id=f"u{rng.randrange(500)}", note_id=rng.choice(note_ids), action="click", occurred_at=at - number
        )
        for number in range(ACTIONS)
    ]
