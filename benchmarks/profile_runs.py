"""One way to consume the log of ``profile_log``, in a process of its own: ``python -m benchmarks.profile_runs WAY NAMESPACE EVENTS``.

Prints one JSON line: events, CPU seconds (user and system, all threads) and wall seconds of this process, from joining the group until the
last event's effect is acknowledged; imports and warm-up are not in it.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from benchmarks.profile_log import BUNDLE, START_MS, Shape
from benchmarks.report import cpu_seconds
from models.profile import scores_at
from models.profile_update import open_profile
from recall.notes import RedisNotes
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.codec import decoder
from schemas.events import Interaction
from schemas.keys import Keys
from schemas.records import Received
from schemas.settings import Settings, load
from schemas.topics import DAY_MS, INTERACTIONS, Topic
from schemas.writes import Write
from streams.client import client_config
from streams.topics_admin import create_topics

IDLE_S = 1.0
READ_CHUNK = 500
PEER_TIMEOUT_S = 300.0


class Clock:
    """CPU and wall time since it was made; the waiting for more at the end is taken off the wall."""

    def __init__(self) -> None:
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def read(self, events: int, idle_s: float = 0.0) -> dict[str, Any]:
        return {"events": events, "cpu_s": cpu_seconds() - self._cpu, "wall_s": time.perf_counter() - self._wall - idle_s}


def consume_and_decode(settings: Settings, events: int) -> dict[str, Any]:
    """The limit: every record checked for an error and decoded by our codec, value and version header, and nothing else."""
    decode = decoder(Interaction)
    with subscribed(settings, "limit") as consumer:
        clock = Clock()
        done = 0
        while done < events:
            chunk = consumer.consume(1000, 1.0)
            for message in chunk:
                if message.error() is not None:
                    raise RuntimeError(message.error().str())
                decode(message.value(), message.headers())
            done += len(chunk)
        return clock.read(done)


def consume_barely(settings: Settings, events: int) -> dict[str, Any]:
    """The barest limit: values parsed by msgspec, nothing checked."""
    parse = msgspec.json.Decoder(Interaction).decode
    with subscribed(settings, "bare") as consumer:
        clock = Clock()
        done = 0
        while done < events:
            done += len([parse(message.value()) for message in consumer.consume(1000, 1.0)])
        return clock.read(done)


@contextmanager
def subscribed(settings: Settings, group: str) -> Iterator[Any]:
    """A bare consumer with the client settings of ``KafkaSource``."""
    from confluent_kafka import Consumer

    properties = {
        "group.id": f"{settings.namespace}.{group}-{os.getpid()}",
        "group.protocol": "consumer",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "fetch.queue.backoff.ms": 20,
        "fetch.wait.max.ms": 100,
    }
    consumer = Consumer(client_config(settings) | properties)
    consumer.subscribe([INTERACTIONS.within(settings.namespace).name])
    try:
        yield consumer
    finally:
        consumer.close()


def update_profiles(settings: Settings, events: int) -> dict[str, Any]:
    """Ours: the job as ``tagstream consume update-profiles`` runs it; with its resident memory after each batch."""
    from consumers.build import open_engine
    from consumers.update_profiles import UpdateProfiles
    from streams.jobs import Stop

    resident: list[float] = []
    handle = UpdateProfiles.handle

    def observed(job: UpdateProfiles, batch: Sequence[Received[Interaction]]) -> list[Write]:
        writes = handle(job, batch)
        resident.append(resident_mb())
        return writes

    UpdateProfiles.handle = observed  # type: ignore[method-assign, assignment]
    with open_engine("update-profiles", settings) as engine:
        clock = Clock()
        counts = engine.run(Stop(), IDLE_S)
        assert counts.handled == events, counts
        return clock.read(counts.handled, IDLE_S) | {"rss_mb": resident}


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def faust_table(settings: Settings, events: int) -> NoReturn:
    """Peer: a faust table keyed by reader, in memory, with its changelog in Kafka; aiokafka underneath."""
    import asyncio

    import faust

    from benchmarks.profile_peer import apply_event

    tags = tags_of(settings)
    name = f"{settings.namespace}-faust"
    create_topics(settings, [Topic(f"{name}-profiles-changelog", INTERACTIONS.partitions, -1, "compact")])
    app = faust.App(
        name,
        broker=f"aiokafka://{settings.kafka_bootstrap_servers}",
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        topic_partitions=INTERACTIONS.partitions,
        web_enabled=False,
        datadir=tempfile.mkdtemp(prefix="tagstream-bench-"),
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_replication_factor=1,
        table_cleanup_interval=3600,
        broker_session_timeout=10,
        broker_heartbeat_interval=3,
    )
    topic = app.topic(INTERACTIONS.within(settings.namespace).name, key_serializer="raw", value_serializer="raw")
    table = app.Table("profiles", default=dict, partitions=INTERACTIONS.partitions, key_type=str, value_type=dict)
    parse = msgspec.json.Decoder(Interaction).decode

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def update(stream: Any) -> None:
        clock: Clock | None = None
        done = 0
        async for received in stream.events():
            clock = clock or Clock()
            event = parse(received.value)
            message = received.message
            record = apply_event(table.get(event.user_id), event, tags, message.partition, message.offset)
            if record is not None:
                table[event.user_id] = record
            done += 1
            if done == events:
                report(clock.read(done))

    async def work() -> NoReturn:
        await faust.Worker(app, loglevel="ERROR", redirect_stdouts=False, override_logging=False).start()
        await asyncio.sleep(PEER_TIMEOUT_S)
        raise TimeoutError("faust did not finish")

    asyncio.run(work())


def tags_of(settings: Settings) -> dict[str, list[str]]:
    """The notes' tags, held in memory for a peer."""
    client = redis_client(settings)
    ids = [key.decode().rpartition(":")[2] for key in client.scan_iter(match=f"*:{settings.namespace}:{BUNDLE}:note:*", count=10_000)]
    notes = RedisNotes(client, Keys(settings.namespace, BUNDLE)).get(ids)
    return {note_id: [tag.text for tag in note.tags] for note_id, note in notes.items()}


def read_scores(settings: Settings, events: int) -> dict[str, Any]:
    """What our records leave for reading: every reader's record fetched and all its scores computed once, as a recall does."""
    profiles = RedisProfiles(redis_client(settings), Keys(settings.namespace, BUNDLE))
    as_of = START_MS + 400 * DAY_MS
    clock, tags = Clock(), 0
    for start in range(0, Shape().readers, READ_CHUNK):
        held = profiles.read([f"reader-{number}" for number in range(start, min(start + READ_CHUNK, Shape().readers))])
        tags += sum(len(scores_at(open_profile(one.record, settings), as_of, settings, lambda _: None)) for one in held.values())
    assert tags > 100 * Shape().readers, "the records hold no profiles"
    return clock.read(events)


WAYS: dict[str, Callable[[Settings, int], dict[str, Any]]] = {
    "limit": consume_and_decode,
    "bare": consume_barely,
    "ours": update_profiles,
    "read": read_scores,
    "faust": faust_table,
}


def main() -> None:
    way, namespace, events = sys.argv[1:]
    settings = msgspec.structs.replace(load(), namespace=namespace)
    report(WAYS[way](settings, int(events)))


def report(measured: dict[str, Any]) -> NoReturn:
    """Prints the figure this process was made for and ends it; a peer's threads and tasks are not waited for."""
    print(json.dumps(measured), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
