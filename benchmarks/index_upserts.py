"""Index upserts and fresh searches: ``MilvusNoteIndex`` against bare pymilvus calls with prebuilt rows.

Both sides write the same rows, in batches of the same size, into a pair of collections each (HNSW for all notes, FLAT for fresh ones),
made by the same code on the same server. Batches alternate, so that neither side gets the emptier server; the second pass replaces every
row. Ours includes what the bare calls leave out: checks of dimension and finiteness, removal of repeats, hashed keys, the fresh split.
Where the settings name a bundle, each note has a vector in each of its learned spaces too; both sides write the spaces at the same time.
"""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import numpy as np

from benchmarks.report import Row
from models.bundle import Bundle
from recall.milvus_client import milvus_client
from recall.note_collections import FRESH, KINDS, Place
from recall.note_index import BATCH_ROWS, HOUR_MS, MilvusNoteIndex, now_ms, window_filter
from recall.stores import Window
from schemas.keys import note_key
from schemas.settings import Settings, load
from schemas.writes import TAG_SPACE, PutVector

DIMENSION = 384
NOTES = 10_000
PASSES = 2
WARM = 2
SEARCHES = 200
K = 100


def run() -> list[Row]:
    """Upserts per second in the median batch, and p50 and p99 of a search for the newest 24 hours."""
    settings = msgspec.structs.replace(load(), namespace=f"bench{uuid.uuid4().hex[:8]}")
    learned = {name: part.dimension for name, part in Bundle(Path(settings.bundle)).identity.spaces.items()} if settings.bundle else {}
    ours, raw = (MilvusNoteIndex(settings, bundle, spaces=list(learned)) for bundle in ("ours", "raw"))
    client = milvus_client(settings)
    try:
        ours.create(DIMENSION, learned)
        raw.create(DIMENSION, learned)
        rng = np.random.default_rng(11)
        puts = {space: _puts(rng, space, dimension) for space, dimension in {TAG_SPACE: DIMENSION, **learned}.items()}
        return [*_upserts(settings, ours, client, puts), *_searches(settings, ours, client, puts[TAG_SPACE])]
    finally:
        for space, kind in product((TAG_SPACE, *learned), KINDS):
            client.drop_alias(Place(settings.namespace, space, kind).alias, timeout=30)
            for bundle in ("ours", "raw"):
                client.drop_collection(Place(settings.namespace, space, kind, bundle).name, timeout=30)


def _puts(rng: np.random.Generator, space: str, dimension: int) -> list[PutVector]:
    vectors = rng.standard_normal((NOTES, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    now = now_ms()
    ages = np.random.default_rng(12).integers(0, 40 * HOUR_MS, NOTES)  # of a note the same in every space
    return [PutVector(f"note-{i}", f"author-{i % 997}", "shoes", now - int(ages[i]), now, vectors[i], space) for i in range(NOTES)]


def _upserts(settings: Settings, ours: MilvusNoteIndex, client: Any, puts: dict[str, list[PutVector]]) -> list[Row]:
    rows = {space: [_row(put) for put in of] for space, of in puts.items()}
    batches = [slice(start, start + BATCH_ROWS) for start in range(0, NOTES, BATCH_ROWS)] * PASSES

    def through_index(batch: slice) -> None:
        ours.upsert([put for of in puts.values() for put in of[batch]])

    def bare(batch: slice) -> None:
        list(pool.map(lambda space: bare_space(space, batch), rows))

    def bare_space(space: str, batch: slice) -> None:
        for kind in KINDS:
            client.upsert(Place(settings.namespace, space, kind, "raw").name, rows[space][batch], timeout=30)

    sides: dict[str, Callable[[slice], None]] = {"ours": through_index, "raw": bare}
    took: dict[str, list[float]] = {side: [] for side in sides}
    with ThreadPoolExecutor(len(rows)) as pool:
        for batch in batches[:WARM]:
            for write in sides.values():
                write(batch)
        for number, batch in enumerate(batches):
            for side in ("ours", "raw") if number % 2 else ("raw", "ours"):
                started = time.perf_counter()
                sides[side](batch)
                took[side].append(time.perf_counter() - started)
    dimensions = " and ".join(str(len(of[0].vector)) for of in puts.values())
    return [
        Row(
            what=f"index upserts, dimension {dimensions}, batches of {BATCH_ROWS}, both collections",
            unit="notes/s",
            ours=BATCH_ROWS / median(took["ours"]),
            peer=BATCH_ROWS / median(took["raw"]),
            peer_name="pymilvus upserts of the same prebuilt rows into the same two kinds of collection",
            ratio_at_least=0.7,
            note="rate of the median batch: now and then the server holds a batch of either side for a second",
        )
    ]


def _row(put: PutVector) -> dict[str, Any]:
    row = msgspec.structs.asdict(put)
    del row["space"]
    return {**row, "pk": note_key(put.note_id)}


def _searches(settings: Settings, ours: MilvusNoteIndex, client: Any, puts: list[PutVector]) -> list[Row]:
    window = Window(now_ms() - 24 * HOUR_MS)
    name, expression = Place(settings.namespace, kind=FRESH, bundle="ours").name, window_filter(window)
    took: dict[str, list[float]] = {"ours": [], "raw": []}
    for put in puts[:SEARCHES]:
        query = np.stack([put.vector])
        started = time.perf_counter()
        found = ours.search(query, K, window)[0]
        took["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        bare = client.search(
            name, data=list(query), filter=expression, limit=K, output_fields=["note_id", "published_at"],
            search_params={"metric_type": "IP", "params": {}}, consistency_level="Bounded", timeout=30,
        )[0]  # fmt: skip
        took["raw"].append(time.perf_counter() - started)
        if len(found) != len(bare):
            raise RuntimeError(f"search found {len(found)} notes, the bare call {len(bare)}")
    cuts = {side: quantiles(times, n=100) for side, times in took.items()}
    return [
        Row(
            what=f"search of the newest 24 h among {NOTES} fresh notes, top {K}, p{p}",
            unit="ms",
            ours=cuts["ours"][p - 1] * 1000,
            peer=cuts["raw"][p - 1] * 1000,
            peer_name="pymilvus search of the same collection",
        )
        for p in (50, 99)
    ]
