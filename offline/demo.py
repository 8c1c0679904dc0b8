"""``tagstream demo``: the whole event path once, on real servers, with the sample notes and readers. Read ``run`` from top to bottom.

It works in a namespace of its own, which it clears at its start, so that nothing else on the stack is touched and every run shows the same.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console

from consumers.build import JOBS
from consumers.namespace import drop_namespace
from consumers.tag_notes import now_ms
from deploy.local.stack import Stack
from offline.samples.load import SHOWCASE_READERS, load_interactions, load_notes
from offline.samples.render import render_media
from recall.build import open_stores, tag_encoder
from recall.query import Query, Recalled, RecallStores, recall
from recall.reader import KnownNotes, ProfileView, read_reader, view_profile
from schemas.codec import encode, version_headers
from schemas.errors import Transient
from schemas.events import Interaction, NoteEvent
from schemas.settings import Settings, environ_of, given_urls
from schemas.stored import NoteRecord
from schemas.topics import INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, all_topics
from streams.groups import assigned, behind
from streams.publisher import KafkaPublisher
from streams.topics_admin import create_topics

NAMESPACE = "demo"
LIVE_PER_S = 20.0
READY_S = 120.0
SETTLE_S = 120.0


class Shown(Struct, frozen=True):
    """What the demo ends with. ``timings``: ms from publishing to each stage, by live note."""

    notes: list[NoteRecord]
    profiles: list[ProfileView]
    recalls: list[tuple[Query, Recalled]]
    timings: list[dict[str, int]]
    seconds: float


def run(settings: Settings, console: Console, *, keep: bool) -> Shown:
    """Runs the demo; what it started it stops, unless ``keep``.

    Raises:
        MissingPrerequisite: the machine lacks something.
        Transient: a server or a consumer does not get ready.
    """
    began = time.monotonic()
    with _stack(settings, console, keep=keep) as live:
        console.print("[bold]media[/]   drawing the sample notes' images and clips")
        media = Path(settings.data, "samples")
        render_media(media)
        drop_namespace(live)
        create_topics(live, all_topics(live.namespace))
        now = now_ms()
        notes, interactions = load_notes(media, now), load_interactions(now)
        touched = {event.note_id for event in interactions}
        known = [note for note in notes if note.note_id in touched]
        fresh = [note for note in notes if note.note_id not in touched]
        with _consumers(live, console):
            console.print(f"[bold]publish[/] {len(known)} note events that readers know, then {len(interactions)} interactions")
            _publish(live, known)
            _caught_up(live)
            _publish(live, interactions)
            console.print(f"[bold]publish[/] {len(fresh)} note events nobody has seen, {LIVE_PER_S:.0f} a second")
            sent = _publish_live(live, fresh)
            _caught_up(live)
            stores = open_stores(live)
            records = _recallable(stores, [note.note_id for note in notes], sent)
            return _look(live, stores, records, sent, began)


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


@contextmanager
def _consumers(settings: Settings, console: Console) -> Iterator[None]:
    """Every job as a process of its own, ready to take events; SIGTERM at the end, which finishes what is in hand."""
    command = [sys.executable, "-m", "tagstream", "consume"]
    environ = environ_of(settings)
    log = Path(settings.data, "demo-consumers.log")
    with log.open("w") as out:
        running = {job: subprocess.Popen([*command, job], env=environ, stdout=out, stderr=out) for job in JOBS}
        try:
            until = time.monotonic() + READY_S
            for job in JOBS:
                while not assigned(settings, job):
                    failed = [name for name, process in running.items() if process.poll() is not None]
                    if failed or time.monotonic() > until:
                        raise Transient(" and ".join(failed or [job]), f"not ready after {READY_S:.0f} s or ended; its output is in {log}")
                    time.sleep(0.2)
                console.print(f"[bold]consume[/] {job} is ready (process {running[job].pid})", highlight=False)
            yield
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait(30)


def _publish(settings: Settings, events: Sequence[NoteEvent | Interaction]) -> None:
    publisher = KafkaPublisher(settings)
    for event in events:
        _send(publisher, settings, event)
    publisher.flush(30)
    publisher.close()


def _publish_live(settings: Settings, notes: Sequence[NoteEvent]) -> dict[str, int]:
    """Publishes as a community would, one after the other, each at its own present moment; note_id -> epoch ms."""
    publisher = KafkaPublisher(settings, linger_ms=0)
    sent: dict[str, int] = {}
    start = time.monotonic()
    for number, note in enumerate(notes):
        time.sleep(max(0.0, start + number / LIVE_PER_S - time.monotonic()))
        at = now_ms()
        first = sent.setdefault(note.note_id, at)
        _send(publisher, settings, msgspec.structs.replace(note, occurred_at=at, published_at=first))
    publisher.flush(30)
    publisher.close()
    return sent


def _send(publisher: KafkaPublisher, settings: Settings, event: NoteEvent | Interaction) -> None:
    note = isinstance(event, NoteEvent)
    topic = (NOTE_EVENTS if note else INTERACTIONS).within(settings.namespace).name
    key = event.note_id if isinstance(event, NoteEvent) else event.user_id
    publisher.publish(topic, key.encode(), encode(event), version_headers(event))


def _caught_up(settings: Settings) -> None:
    """Waits until every job has committed to the end of its topic, in the order in which events travel."""
    until = time.monotonic() + SETTLE_S
    for job, topic in (("tag-notes", NOTE_EVENTS), ("index-notes", NOTE_TAGGED), ("update-profiles", INTERACTIONS)):
        while (left := behind(settings, job, topic.within(settings.namespace).name)) > 0:
            if time.monotonic() > until:
                raise Transient(job, f"still {left} events behind after {SETTLE_S:.0f} s")
            time.sleep(0.1)


def _recallable(stores: RecallStores, note_ids: Sequence[str], sent: dict[str, int]) -> list[NoteRecord]:
    """The notes' records in order of publication, once each live one carries the time at which a search found it."""
    until = time.monotonic() + SETTLE_S
    while True:
        records = stores.notes.get(list(dict.fromkeys(note_ids)))
        waiting = [i for i in sent if i in records and not records[i].deleted and "recallable" not in records[i].stages]
        if not waiting:
            return sorted(records.values(), key=lambda record: (record.published_at, record.note_id))
        if time.monotonic() > until:
            raise Transient("milvus", f"{len(waiting)} notes are not found by a search, first {waiting[0]}")
        time.sleep(0.05)


def _look(settings: Settings, stores: RecallStores, records: list[NoteRecord], sent: dict[str, int], began: float) -> Shown:
    """Profiles, recalls and timings, read the way any client would."""
    now = now_ms()
    readers = [read_reader(user, now, stores.profiles, KnownNotes(stores.notes), settings) for user in SHOWCASE_READERS]
    encoder = tag_encoder(settings)
    queries = [Query(user_id=user, k=5, explain=True) for user in SHOWCASE_READERS]
    timings = [_timing(record) for record in records if record.note_id in sent and not record.deleted]
    return Shown(
        notes=records,
        profiles=[view_profile(reader, now, 10) for reader in readers],
        recalls=[(query, recall(query, stores, encoder)) for query in queries],
        timings=timings,
        seconds=time.monotonic() - began,
    )


def _timing(record: NoteRecord) -> dict[str, int]:
    published = record.stages["published"]
    return {stage: at - published for stage, at in record.stages.items() if stage != "published"}


def summary(shown: Shown) -> dict[str, Any]:
    """The demo's figures for ``--json``: counts, percentiles by stage in ms, reasons per recall."""
    return {
        "notes": len(shown.notes),
        "tags": sum(len(note.tags) for note in shown.notes),
        "publish_to": {stage: percentiles(shown.timings, stage) for stage in ("received", "tagged", "recallable")},
        "recalls": [msgspec.to_builtins(recalled) for _, recalled in shown.recalls],
        "profiles": [msgspec.to_builtins(profile) for profile in shown.profiles],
        "seconds": round(shown.seconds, 1),
    }


def percentiles(timings: Sequence[dict[str, int]], stage: str) -> dict[str, float]:
    """p50 and p99 (nearest rank) of the time from publishing to a stage, ms."""
    values = sorted(timing[stage] for timing in timings if stage in timing)
    if not values:
        return {}
    return {f"p{q}": float(values[min(len(values) - 1, -(-q * len(values) // 100) - 1)]) for q in (50, 99)}
