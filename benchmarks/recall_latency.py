"""A recall among 100,000 notes with the 24 h filter: against a raw pymilvus search, exactness while notes arrive, and calls made together.

Everything is on the real servers, once Milvus has indexed and compacted it and the machine is idle: records and tag index in Redis,
vectors in Milvus, readers with 30 actions each. Ours is the whole ``recall()``: profile from Redis, tag vectors and tags' lists (cached,
as after a reader's first call), the channels, filters, merge. The peer is one bare pymilvus search of the very vector, filter and limit
that the embedding channel uses; calls alternate. Beside the clock, which other processes disturb, it counts what a call costs: CPU time
of this process and of the Redis server, and round trips to Redis. Exactness is the overlap with brute force over all vectors acknowledged
before the search, while another thread writes.
"""

import gc
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import redis
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.report import Row, cpu_seconds
from consumers.namespace import drop_namespace
from consumers.update_profiles import UpdateProfiles
from models.pooling import note_vector, user_vector
from models.roles import TagEncoder
from recall import kept_lists
from recall.build import Live, open_stores, tag_encoder
from recall.channels import DEFAULT_CHANNELS, TAGS_ENCODED
from recall.milvus_client import milvus_client
from recall.note_collections import FRESH, KINDS, Place
from recall.note_index import HOUR_MS, MilvusNoteIndex, now_ms, window_filter
from recall.note_tags import RedisNoteTags
from recall.pointer import activate_if_none, name_encoder
from recall.query import FETCH_MIN, Query, RecallStores, recall
from recall.reader import KnownNotes, read_reader
from recall.redis_client import Client, redis_client
from recall.serving import Answers, LiveStores
from recall.settle import settle
from recall.stores import Window
from schemas.codec import encode
from schemas.events import CATEGORIES, Interaction, Tag
from schemas.keys import Keys
from schemas.records import Received
from schemas.settings import Settings, load
from schemas.stored import NoteRecord
from schemas.writes import PutNote, PutProfile, PutVector
from streams.memory import MemoryMessage

BUNDLE = "bench"
TAGS_A_NOTE = 8
K = 20
INDEXED_S = 300
QUIET_LOOKS = 10
"""Looks in turn, a second apart, at which no row waits for its index."""
IDLE_S = 900
Vectors = NDArray[np.float32]


class Size(Struct, frozen=True):
    """How much. ``arriving``: notes a second during the search for exactness; ``threads``: readers at a time; ``rounds``: timed
    calls of each reader; ``idle_load``: what the load of the last minute must fall below before, None for whatever it is."""

    notes: int = 100_000
    tags: int = 5_000
    readers: int = 200
    actions: int = 30
    arriving: float = 50.0
    searches: int = 200
    threads: int = 16
    rounds: int = 5
    idle_load: float | None = 0.5


class Made(Struct, frozen=True):
    """The stores as filled. ``vectors``: of all notes; ``published``: when, epoch ms."""

    settings: Settings
    stores: RecallStores
    encoder: TagEncoder
    tag_vectors: Vectors
    vectors: Vectors
    published: NDArray[np.int64]
    size: Size


def run(size: Size = Size()) -> list[Row]:  # noqa: B008
    """Rows of all three comparisons."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}", tag_encoder_cache=50_000)
    thresholds = gc.get_threshold()
    try:
        made = _fill(settings, size)
        _indexed(settings)
        if size.idle_load is not None:
            _idle(size.idle_load)
        settle()  # as ``tagstream serve`` does; and what was made to fill the stores is no part of a server
        return [*_latency(made), *_together(made), *_exactness(made)]
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        drop_namespace(settings)


def _fill(settings: Settings, size: Size) -> Made:
    rng = np.random.default_rng(4)
    encoder = tag_encoder(settings)
    client = redis_client(settings)
    activate_if_none(client, settings, BUNDLE)
    name_encoder(client, settings, BUNDLE, encoder.version)
    index = MilvusNoteIndex(settings, BUNDLE)
    index.create(encoder.dimension)
    index.activate()
    stores = open_stores(settings)
    texts = [f"{CATEGORIES[tag % len(CATEGORIES)]} interest {tag}" for tag in range(size.tags)]
    tag_vectors = encoder.encode(texts)
    now = now_ms()
    published = now - rng.integers(0, 40 * HOUR_MS, size.notes)
    picked = np.minimum(rng.zipf(1.3, (size.notes, TAGS_A_NOTE)) - 1, size.tags - 1) * 7919 % size.tags
    vectors = np.empty((size.notes, encoder.dimension), np.float32)
    for start in range(0, size.notes, 2_000):
        rows = range(start, min(start + 2_000, size.notes))
        for row in rows:
            tags = list(dict.fromkeys(picked[row].tolist()))
            vectors[row] = note_vector(tag_vectors[tags], [0.9] * len(tags), range(1, len(tags) + 1))
        records = [_record(row, [texts[tag] for tag in dict.fromkeys(picked[row].tolist())], int(published[row])) for row in rows]
        stores.notes.put([PutNote(record) for record in records])
        index.upsert([_put(row, int(published[row]), vectors[row]) for row in rows])
    _act(settings, stores, size, rng)
    return Made(settings, stores, encoder, tag_vectors, vectors, published, size)


def _indexed(settings: Settings) -> None:
    """Waits until Milvus has built the indexes of what was just written, which takes both cores from whatever is timed."""
    client, seen = milvus_client(settings), 0
    until = time.monotonic() + INDEXED_S
    while seen < QUIET_LOOKS:
        names = [Place(settings.namespace, kind=kind, bundle=BUNDLE).name for kind in KINDS]
        pending = sum(int(client.describe_index(name, "vector").get("pending_index_rows", 0)) for name in names)
        seen = 0 if pending else seen + 1
        if time.monotonic() > until:
            raise TimeoutError(f"{pending} rows still wait for their index after {INDEXED_S} s")
        time.sleep(1)


def _idle(load: float) -> None:
    """Waits until nothing runs beside. Milvus compacts what was written after its index is built: half a minute of both cores, a minute
    later, in which some searches take ten times as long, and a longer call is hit more often."""
    until = time.monotonic() + IDLE_S
    while os.getloadavg()[0] > load:
        if time.monotonic() > until:
            raise TimeoutError(f"the load of this machine stays above {load} for {IDLE_S} s; end what runs beside and measure again")
        time.sleep(1)


def _record(row: int, tags: Sequence[str], at: int) -> NoteRecord:
    made = [Tag(text=text, dimension="", rank=rank, confidence=0.9) for rank, text in enumerate(tags, 1)]
    category = CATEGORIES[row % len(CATEGORIES)]
    return NoteRecord(f"n{row}", f"a{row % 997}", at, False, 0, b"", at, category, made, "", "bench", [], {})


def _put(row: int, at: int, vector: Vectors) -> PutVector:
    return PutVector(f"n{row}", f"a{row % 997}", CATEGORIES[row % len(CATEGORIES)], at, at, vector)


def _act(settings: Settings, stores: RecallStores, size: Size, rng: np.random.Generator) -> None:
    known = RedisNoteTags(redis_client(settings), Keys(settings.namespace, BUNDLE))
    job = UpdateProfiles(stores.profiles, known, settings)
    now, offset, events = now_ms(), 0, []
    for reader in range(size.readers):
        for note in rng.choice(size.notes, size.actions, replace=False):
            event = Interaction(event_id=f"e{offset}", user_id=f"u{reader}", note_id=f"n{note}", action="like", occurred_at=now)
            message = MemoryMessage(topic="interactions", partition=0, offset=offset, value=encode(event))
            events.append(Received(event, "t@1", 0, offset, message))
            offset += 1
    refused = stores.profiles.write([write for write in job.handle(events) if isinstance(write, PutProfile)])
    assert not refused, "nobody else writes these readers"


def _latency(made: Made) -> list[Row]:
    client, since = milvus_client(made.settings), now_ms() - 24 * HOUR_MS
    name = Place(made.settings.namespace, kind=FRESH, bundle=BUNDLE).name
    vectors = [_reader_vector(made, f"u{reader}") for reader in range(made.size.readers)]

    def bare(reader: int) -> None:
        client.search(
            name,
            data=[vectors[reader]],
            filter=window_filter(Window(since)),
            limit=FETCH_MIN,
            output_fields=["note_id", "published_at"],
            search_params={"metric_type": "IP", "params": {}},
            consistency_level="Bounded",
            timeout=30,
        )

    def ours(channels: tuple[str, ...]) -> Callable[[int], None]:
        def call(reader: int) -> None:
            answer = recall(Query(user_id=f"u{reader}", k=K, channels=channels), made.stores, made.encoder)
            assert len(answer.results) == K and not answer.degraded, answer.degraded

        return call

    sides = {"raw": bare, "default": ours(DEFAULT_CHANNELS), "embedding": ours(("tag_embedding",))}
    took: dict[str, list[float]] = {side: [] for side in sides}
    for round_ in range(made.size.rounds + 1):
        for reader in range(made.size.readers):
            for side in (*sides,) if reader % 2 else (*reversed(sides),):
                begun = time.perf_counter()
                sides[side](reader)
                if round_:
                    took[side].append((time.perf_counter() - begun) * 1000)
    rows = []
    for side, named in (("default", ", ".join(DEFAULT_CHANNELS)), ("embedding", "tag_embedding alone")):
        for p in (50, 99):
            ours_ms, raw_ms = (quantiles(took[one], n=100)[p - 1] for one in (side, "raw"))
            rows.append(
                Row(
                    what=f"recall of {K} among {made.size.notes:,} notes, newest 24 h, p{p}; channels {named}",
                    unit="ms",
                    ours=ours_ms,
                    peer=raw_ms,
                    peer_name="pymilvus search of the same vector, filter and limit",
                    note="whole recall against one search; wanted at p99: at most 1.3 times" if p == 99 else "",
                )
            )
    return [*rows, *_costs(made, sides)]


def _costs(made: Made, sides: Mapping[str, Callable[[int], None]]) -> list[Row]:
    """What one call costs, by means over the readers."""
    client = redis_client(made.settings)
    costs = {side: _cost(client, call, made.size.readers) for side, call in sides.items()}
    what = (("CPU of this process", "ms"), ("CPU of the Redis server", "ms"), ("round trips to Redis", "trips"))
    with patch.object(kept_lists, "LISTS_KEPT", -1):
        costs["unkept"] = _cost(client, sides["default"], made.size.readers)
    named = {
        "default": "all default channels",
        "embedding": "tag_embedding alone",
        "unkept": "all default channels, as if every tag's list had changed since the last one",
    }
    return [
        Row(
            what=f"{figure} a recall; {channels}",
            unit=unit,
            ours=costs[side][place],
            peer=costs["raw"][place] if place == 0 else None,
            peer_name="the bare search" if place == 0 else "",
        )
        for side, channels in named.items()
        for place, (figure, unit) in enumerate(what)
    ]


def _cost(client: Client, call: Callable[[int], None], readers: int) -> tuple[float, float, float]:
    """CPU ms here, CPU ms of the Redis server (of all its clients) and round trips of one call."""
    trips = 0

    def sends(send: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal trips
            trips += 1
            return send(*arguments, **named)

        return counted

    server, own = _server_cpu_s(client), cpu_seconds()
    with patch.object(redis.Connection, "send_packed_command", sends(redis.Connection.send_packed_command)):
        for reader in range(readers):
            call(reader)
    return (cpu_seconds() - own) * 1000 / readers, (_server_cpu_s(client) - server) * 1000 / readers, trips / readers


def _server_cpu_s(client: Any) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _reader_vector(made: Made, user_id: str) -> Vectors:
    """The vector that the embedding channel searches with."""
    reader = read_reader(user_id, now_ms(), made.stores.profiles, KnownNotes(made.stores.notes), made.settings)
    liked = reader.top(TAGS_ENCODED)
    vector = user_vector(made.encoder.encode(list(liked)), list(liked.values()))
    assert vector is not None
    return vector


def _together(made: Made) -> list[Row]:
    """Recalls a second by 16 threads, calls made together against each alone."""

    def rate(batch: int) -> float:
        live = LiveStores(lambda: Live(made.stores, made.encoder), lambda: BUNDLE, batch)
        answers = Answers(live, made.settings)
        count = max(made.size.threads * 10, made.size.readers)
        with ThreadPoolExecutor(made.size.threads) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda number: answers.recall(Query(user_id=f"u{number % made.size.readers}", k=K)), range(count)))
            return count / (time.perf_counter() - begun)

    rates = {32: 0.0, 1: 0.0}
    for batch in (1, 32, 32, 1):
        rates[batch] += rate(batch) / 2
    return [
        Row(
            what=f"recalls by {made.size.threads} threads, searches made together",
            unit="recalls/s",
            ours=rates[32],
            peer=rates[1],
            peer_name="the same with each search alone",
        )
    ]


def _exactness(made: Made) -> list[Row]:
    """Top 100 of the last 24 h by search and by brute force, while notes arrive."""
    index, rng = made.stores.index, np.random.default_rng(5)
    stop, lock = threading.Event(), threading.Lock()
    vectors, published = list(made.vectors), made.published.tolist()

    def arrive() -> None:
        while not stop.wait(1 / made.size.arriving):
            row, at = len(vectors), now_ms()
            tags = rng.integers(0, len(made.tag_vectors), TAGS_A_NOTE)
            vector = note_vector(made.tag_vectors[tags], [0.9] * TAGS_A_NOTE, range(1, TAGS_A_NOTE + 1))
            index.upsert([_put(row, at, vector)])
            with lock:
                vectors.append(vector)
                published.append(at)

    writer = threading.Thread(target=arrive)
    writer.start()
    shared: list[float] = []
    try:
        for number in range(made.size.searches):
            query = _reader_vector(made, f"u{number % made.size.readers}")
            with lock:
                held, since = len(vectors), now_ms() - 24 * HOUR_MS
            found = {hit.note_id for hit in index.search(query[None, :], 100, Window(since))[0]}
            young = np.flatnonzero(np.array(published[:held]) >= since)
            scores = np.stack(vectors[:held])[young] @ query if number % 10 == 0 else None
            if scores is None:
                continue
            best = {f"n{young[at]}" for at in np.argsort(-scores, kind="stable")[:100]}
            lowest = np.sort(scores)[-100] if len(scores) >= 100 else -np.inf
            ties = {f"n{young[at]}" for at in np.flatnonzero(np.abs(scores - lowest) < 1e-6)}
            shared.append(min(1.0, len(found & (best | ties)) / max(len(best), 1)))
    finally:
        stop.set()
        writer.join()
    arrived = len(vectors) - made.size.notes
    return [
        Row(
            what=f"exactness of the 24 h search, top 100 of {made.size.notes:,} notes, while {made.size.arriving:.0f} notes/s arrive",
            unit="share",
            ours=float(np.mean(shared)),
            at_least=0.99,
            note="against brute force over all vectors acknowledged before the search" if arrived else "no note arrived",
        )
    ]
