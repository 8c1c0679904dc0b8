"""The real jobs run and fed from outside, as the demo and a benchmark need it: start, publish at a rate, wait, read the stamps."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec

from consumers.build import JOBS, READS
from consumers.tag_notes import now_ms
from recall.stores import Notes
from schemas.codec import encode, version_headers
from schemas.errors import Transient
from schemas.events import Interaction, NoteEvent
from schemas.settings import Settings, environ_of
from schemas.stored import NoteRecord
from schemas.topics import INTERACTIONS, METRICS_BY_NOTE, NOTE_EVENTS, NOTE_TAGGED
from streams.groups import assigned, behind
from streams.publisher import KafkaPublisher

METRICS = "metrics"
COUNTS = (INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, METRICS_BY_NOTE)
TOLD_S = 2.0
READY_S = 120.0
SETTLE_S = 120.0


@contextmanager
def running_consumers(settings: Settings, log: Path, tell: Callable[[str], None], jobs: Sequence[str] = JOBS) -> Iterator[None]:
    """Every job as a process of its own, ready to take events; SIGTERM at the end, which finishes what is in hand."""
    command = [sys.executable, "-m", "tagstream", "consume"]
    environ = environ_of(settings)
    with log.open("w") as out:
        running = {job: subprocess.Popen([*command, job], env=environ, stdout=out, stderr=out) for job in jobs}
        try:
            until = time.monotonic() + READY_S
            for job in jobs:
                while not assigned(settings, job):
                    failed = [name for name, process in running.items() if process.poll() is not None]
                    if failed or time.monotonic() > until:
                        raise Transient(" and ".join(failed or [job]), f"not ready after {READY_S:.0f} s or ended; its output is in {log}")
                    time.sleep(0.2)
                tell(f"{job} is ready (process {running[job].pid})")
            yield
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait(30)


@contextmanager
def open_publisher(settings: Settings) -> Iterator[KafkaPublisher]:
    """A connection as a community's service holds one. The first record of a new one waits half a second: the client asks for the id that
    keeps its records in order and single, and asks again only then."""
    publisher = KafkaPublisher(settings, linger_ms=0)
    try:
        yield publisher
    finally:
        publisher.close()


def publish(settings: Settings, events: Sequence[NoteEvent | Interaction], publisher: KafkaPublisher | None = None) -> None:
    """Publishes as fast as possible, by a connection of its own if none is given, and returns when all is acknowledged."""
    with nullcontext(publisher) if publisher is not None else open_publisher(settings) as opened:
        for event in events:
            _send(opened, settings, event)
        opened.flush(30)


def publish_live(settings: Settings, notes: Sequence[NoteEvent], per_s: float, publisher: KafkaPublisher) -> dict[str, int]:
    """Publishes as a community would, one after the other, each at its own present moment; note_id -> epoch ms."""
    sent: dict[str, int] = {}
    start = time.monotonic()
    for number, note in enumerate(notes):
        time.sleep(max(0.0, start + number / per_s - time.monotonic()))
        at = now_ms()
        first = sent.setdefault(note.note_id, at)
        _send(publisher, settings, msgspec.structs.replace(note, occurred_at=at, published_at=first))
    publisher.flush(30)
    return sent


def _send(publisher: KafkaPublisher, settings: Settings, event: NoteEvent | Interaction) -> None:
    note = isinstance(event, NoteEvent)
    topic = (NOTE_EVENTS if note else INTERACTIONS).within(settings.namespace).name
    key = event.note_id if isinstance(event, NoteEvent) else event.user_id
    publisher.publish(topic, key.encode(), encode(event), version_headers(event))


def wait_caught_up(settings: Settings, jobs: Sequence[str] = JOBS) -> None:
    """Waits until every job has committed to the end of its topic, in the order in which events travel."""
    until = time.monotonic() + SETTLE_S
    for job in jobs:
        topic = READS[job]
        while (left := behind(settings, job, topic.within(settings.namespace).name)) > 0:
            if time.monotonic() > until:
                raise Transient(job, f"still {left} events behind after {SETTLE_S:.0f} s")
            time.sleep(0.1)


def wait_counted(settings: Settings) -> None:
    """Waits until the metrics job has counted all there is and told it, which it does every second."""
    until = time.monotonic() + SETTLE_S
    for topic in COUNTS:
        while behind(settings, METRICS, topic.within(settings.namespace).name) > 0:
            if time.monotonic() > until:
                raise Transient(METRICS, f"{topic.name} is not read after {SETTLE_S:.0f} s")
            time.sleep(0.1)
    time.sleep(TOLD_S)


def wait_recallable(notes: Notes, note_ids: Sequence[str], sent: dict[str, int]) -> list[NoteRecord]:
    """The notes' records in order of publication, once each live one carries the time at which a search found it."""
    until = time.monotonic() + SETTLE_S
    while True:
        records = notes.get(list(dict.fromkeys(note_ids)))
        waiting = [i for i in sent if i in records and not records[i].deleted and "recallable" not in records[i].stages]
        if not waiting:
            return sorted(records.values(), key=lambda record: (record.published_at, record.note_id))
        if time.monotonic() > until:
            raise Transient("milvus", f"{len(waiting)} notes are not found by a search, first {waiting[0]}")
        time.sleep(0.05)


def timing(record: NoteRecord) -> dict[str, int]:
    published = record.stages["published"]
    return {stage: at - published for stage, at in record.stages.items() if stage != "published"}


def percentiles(timings: Sequence[dict[str, int]], stage: str) -> dict[str, float]:
    """p50 and p99 (nearest rank) of the time from publishing to a stage, ms."""
    values = sorted(timing[stage] for timing in timings if stage in timing)
    if not values:
        return {}
    return {f"p{q}": float(values[min(len(values) - 1, -(-q * len(values) // 100) - 1)]) for q in (50, 99)}
