"""``tagstream demo``: the whole event path once, on real servers, with the sample notes and readers; then notes to be seen and heard.

Read ``run`` from top to bottom. It works in namespaces of its own, which it clears at their start, so that nothing else on the stack is
touched and every run shows the same.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from rich.console import Console

from consumers.build import JOBS
from consumers.metrics_job import read_report
from consumers.namespace import drop_namespace
from consumers.slo import Slo, measure_live
from consumers.tag_notes import now_ms
from deploy.local.stack import Stack
from offline.live import (
    METRICS,
    open_publisher,
    percentiles,
    publish,
    publish_live,
    running_consumers,
    timing,
    wait_caught_up,
    wait_counted,
    wait_recallable,
)
from offline.samples.load import SHOWCASE_READERS, load_interactions, load_notes
from recall.build import open_stores, tag_encoder
from recall.query import Query, Recalled, RecallStores, recall
from recall.reader import KnownNotes, ProfileView, read_reader, view_profile
from recall.redis_client import redis_client
from schemas.settings import Settings, given_urls
from schemas.stored import NoteRecord
from schemas.topics import all_topics
from streams.metric_report import Report
from streams.topics_admin import create_topics

if TYPE_CHECKING:
    from offline.demo_media import SeenAndHeard

NAMESPACE = "demo"
LIVE_PER_S = 20.0


class Shown(Struct, frozen=True):
    """What the event path ends with. ``timings``: ms from publishing to each stage, by live note; ``slo``: of the same notes."""

    notes: list[NoteRecord]
    profiles: list[ProfileView]
    recalls: list[tuple[Query, Recalled]]
    timings: list[dict[str, int]]
    slo: Slo
    metrics: Report


class Demo(Struct, frozen=True):
    """Everything that the demo shows."""

    path: Shown
    media: "SeenAndHeard"
    seconds: float


def run(settings: Settings, console: Console, *, keep: bool) -> Demo:
    """Runs the demo; what it started it stops, unless ``keep``.

    Raises:
        MissingPrerequisite: the machine lacks something.
        Transient: a server or a consumer does not get ready.
    """
    from offline.demo_media import see_and_hear  # OpenCV only where pictures are drawn

    began = time.monotonic()
    with _stack(settings, console, keep=keep) as live:
        path = _event_path(live, console)
        media = see_and_hear(live, console)
        return Demo(path, media, time.monotonic() - began)


def _event_path(live: Settings, console: Console) -> Shown:
    """Sample notes and interactions through every job, to profiles and recalls."""
    from offline.samples.render import render_media  # OpenCV only where pictures are drawn

    console.print("[bold]media[/]   drawing the sample notes' images and clips")
    media = Path(live.data, "samples")
    render_media(media)
    drop_namespace(live)
    create_topics(live, all_topics(live.namespace))
    now = now_ms()
    notes, interactions = load_notes(media, now), load_interactions(now)
    touched = {event.note_id for event in interactions}
    known = [note for note in notes if note.note_id in touched]
    fresh = [note for note in notes if note.note_id not in touched]
    log = Path(live.data, "demo-consumers.log")
    told = partial(console.print, highlight=False)
    with running_consumers(live, log, lambda text: told(f"[bold]consume[/] {text}"), (*JOBS, METRICS)), open_publisher(live) as publisher:
        console.print(f"[bold]publish[/] {len(known)} note events that readers know, then {len(interactions)} interactions")
        publish(live, known, publisher)
        wait_caught_up(live)
        publish(live, interactions, publisher)
        console.print(f"[bold]publish[/] {len(fresh)} note events nobody has seen, {LIVE_PER_S:.0f} a second")
        sent = publish_live(live, fresh, LIVE_PER_S, publisher)
        wait_caught_up(live)
        stores = open_stores(live)
        records = wait_recallable(stores.notes, [note.note_id for note in notes], sent)
        wait_counted(live)
        return _look(live, stores, records, sent)


@contextmanager
def _stack(settings: Settings, console: Console, *, keep: bool) -> Iterator[Settings]:
    """The local stack under the data directory; parts that run already are used and left running."""
    stack = Stack(Path(settings.data), given_urls())
    before = {name for name, part in stack.status().items() if part.state in ("running", "configured")}
    stack.up(lambda part, text: console.print(f"[bold]{part:<7}[/] {text}", highlight=False, soft_wrap=True))
    try:
        yield msgspec.structs.replace(settings, namespace=NAMESPACE, **stack.urls())
    finally:
        if not keep and not before:
            console.print("[bold]stack[/]   stopping")
            stack.down()


def _look(settings: Settings, stores: RecallStores, records: list[NoteRecord], sent: dict[str, int]) -> Shown:
    """Profiles, recalls and timings, read the way any client would."""
    now = now_ms()
    readers = [read_reader(user, now, stores.profiles, KnownNotes(stores.notes), settings) for user in SHOWCASE_READERS]
    encoder = tag_encoder(settings)
    queries = [Query(user_id=user, k=5, explain=True) for user in SHOWCASE_READERS]
    timings = [timing(record) for record in records if record.note_id in sent and not record.deleted]
    return Shown(
        notes=records,
        profiles=[view_profile(reader, now, 10) for reader in readers],
        recalls=[(query, recall(query, stores, encoder)) for query in queries],
        timings=timings,
        slo=measure_live(settings, min(sent.values()), now),
        metrics=read_report(settings, redis_client(settings)),
    )


def summary(done: Demo) -> dict[str, Any]:
    """The demo's figures for ``--json``: counts, percentiles by stage in ms, reasons per recall."""
    from offline.show_demo_media import seen_and_heard

    shown = done.path
    return {
        "notes": len(shown.notes),
        "tags": sum(len(note.tags) for note in shown.notes),
        "publish_to": {stage: percentiles(shown.timings, stage) for stage in ("received", "tagged", "indexed", "recallable")},
        "slo": msgspec.to_builtins(shown.slo),
        "recalls": [msgspec.to_builtins(recalled) for _, recalled in shown.recalls],
        "profiles": [msgspec.to_builtins(profile) for profile in shown.profiles],
        "metrics": msgspec.to_builtins(shown.metrics),
        "seen_and_heard": seen_and_heard(done.media),
        "seconds": round(done.seconds, 1),
    }
