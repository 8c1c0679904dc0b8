"""A task through ``recall()`` itself, as it serves, with the stores swapped for their in-memory twins.

The jobs lay it out: ``IndexNotes`` the notes, cold ones an hour old and warm ones past the window, ``UpdateProfiles`` the readers, one for
each query. So everything counts that a product of matrices leaves out: tags looked up and candidates proposed per channel, length of the
history, z-scores over the candidates alone, filters, the fresh channel.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import click
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from consumers.index_notes import IndexNotes
from consumers.stores import NoteStore
from consumers.update_profiles import UpdateProfiles
from models.roles import Space, TagEncoder
from offline.recall_metrics import judge_scores
from offline.recall_task import Task
from recall.memory_index import MemoryNoteIndex
from recall.memory_notes import MemoryNotes
from recall.note_tags import StoredNoteTags
from recall.profiles import MemoryProfiles
from recall.query import Query, RecallStores, recall
from recall.vectors import HOUR_MS, now_ms
from schemas.events import Action, Interaction, NoteTagged, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.writes import DropVector, PutNote, PutProfile, PutVector
from streams.memory import MemoryMessage

CHANNELS: Mapping[str, tuple[str, ...] | None] = {
    "tag_index_raw": ("tag_index",),
    "tag_index_idf": ("tag_index_idf",),
    "tag_embedding": ("tag_embedding",),
    "linear": ("linear",),
    "two_tower": ("two_tower",),
    "merge": None,
}
"""Methods that serve, each with the channels that its queries name; None: those of the bundle's merge."""
ACTIONS: tuple[tuple[Action, int], ...] = (("favorite", 3), ("like", 2), ("click", 1))
WARM_AGE_MS = 400 * 24 * HOUR_MS
QUERIES_A_BATCH = 200
ACTIONS_A_BATCH = 50_000
NOTES_A_BATCH = 1000
BUNDLE = "evaluated"
SERVED_QUERIES = 10_000
_NO_BYTES = MemoryMessage(topic="dataset", partition=0, offset=0, value=b"")

T = TypeVar("T")
Say = Callable[[str], None]


class Served(NamedTuple):
    """A task laid out in the stores. ``now``: the time that its notes are dated by, epoch ms."""

    task: Task
    stores: RecallStores
    encoder: TagEncoder
    now: int


def at_most(_context: click.Context | None, _parameter: click.Parameter | None, value: str) -> int:
    """The option for how many queries go through ``recall()``: a number, or ``all``, which is the largest there is."""
    if value == "all":
        return sys.maxsize
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value} is neither all nor a number of queries")
    return int(value)


SERVED_OPTION = click.option(
    "--served",
    "most",
    metavar="N|all",
    callback=at_most,
    default=str(SERVED_QUERIES),
    show_default=True,
    help="Queries at most that go through recall(), drawn evenly.",
)


def drawn_queries(task: Task, most: int) -> list[int]:
    """The task's queries, or ``most`` of them drawn evenly, always the same."""
    total = task.profiles.shape[0]
    return list(range(total)) if most >= total else np.sort(np.random.default_rng(0).permutation(total)[:most]).tolist()


def serve_task(
    task: Task, encoder: TagEncoder, spaces: Mapping[str, Space], weights: Mapping[str, float], queries: Sequence[int]
) -> Served:
    """Fills the twins with the task's notes, those that can be found also with their vectors, and with the readers of some queries.

    Args:
        spaces: the learned ones, by name.
        weights: of the merge, by channel.
        queries: rows of ``task.profiles``.
    """
    now = now_ms()
    settings = Settings(profile_half_life_days=0.0, profile_max_tags=0)
    notes, profiles = MemoryNotes(), MemoryProfiles()
    index = MemoryNoteIndex(encoder.dimension, clock=lambda: now, spaces={name: space.dimension for name, space in spaces.items()})
    store = NoteStore(notes, index)
    old = np.setdiff1d(task.warm, task.cold)
    for rows, newest, learned in ((task.cold, now - HOUR_MS, list(spaces.values())), (old, now - WARM_AGE_MS, [])):
        job = IndexNotes(notes, encoder, BUNDLE, learned)
        for some in _batches(_tagged(task, rows, newest), NOTES_A_BATCH):
            store.apply([write for write in job.handle(some) if isinstance(write, PutNote | PutVector | DropVector)])
    stores = RecallStores(profiles, notes, index, settings, BUNDLE, dict(spaces), dict(weights), local=True)
    served = Served(task, stores, encoder, now)
    readers = UpdateProfiles(profiles, StoredNoteTags(notes), settings)
    for received in _batches(_acted(served, queries), ACTIONS_A_BATCH):
        refused = profiles.write([write for write in readers.handle(received) if isinstance(write, PutProfile)])
        assert not refused, "nobody else writes these records"
    return served


def judge_served(served: Served, method: str, queries: Sequence[int], k: int, say: Say) -> NDArray[np.float64]:
    """Recall, NDCG and hit at ``k`` of queries that ``serve_task`` was given, shape (queries, 3), as ``offline.recall_metrics.judge``."""
    task = served.task
    column = {task.data.notes[note]: place for place, note in enumerate(task.cold)}
    figures: list[NDArray[np.float64]] = []
    begun = time.monotonic()
    for start in range(0, len(queries), QUERIES_A_BATCH):
        some = np.asarray(queries[start : start + QUERIES_A_BATCH])
        missing = sparse.csr_matrix((len(some), k), dtype=task.targets.dtype)  # places of an answer that is short: no hit
        scores = np.hstack([np.full((len(some), len(task.cold)), -1.0, np.float32), np.zeros(missing.shape, np.float32)])
        for row, query in enumerate(some):
            for rank, note_id in enumerate(ranking(served, method, int(query), k)):
                scores[row, column[note_id]] = k - rank
        figures.append(judge_scores(scores, sparse.hstack([task.targets[some], missing]).tocsr(), k))
    say(f"{method}: {len(queries)} queries through recall(), {len(queries) / max(time.monotonic() - begun, 1e-9):.0f} a second")
    return np.concatenate(figures)


def ranking(served: Served, method: str, query: int, k: int) -> list[str]:
    """The notes that ``recall()`` answers a query with, best first."""
    asked = Query(user_id=_reader(query), k=k, channels=CHANNELS[method])
    answer = recall(asked, served.stores, served.encoder)
    assert not answer.degraded, answer.degraded
    return [result.note_id for result in answer.results]


def _reader(query: int) -> str:
    return f"q{query}"


def _tagged(task: Task, rows: NDArray[np.int64], newest: int) -> Iterator[Received[NoteTagged]]:
    """Tagged notes a millisecond apart, so that equal scores keep the order of ``rows``: recall puts the newer first."""
    kept = set(task.content.texts)
    for place, row in enumerate(rows.tolist()):
        given = task.data.tags[row]
        confidences = task.data.confidences[row] if task.data.confidences else [1.0] * len(given)
        found = [(text, confidence) for text, confidence in zip(given, confidences, strict=True) if text in kept]
        tags = [Tag(text=text, dimension="", rank=rank, confidence=confidence) for rank, (text, confidence) in enumerate(found, 1)]
        at = newest - place
        event = NoteTagged(note_id=task.data.notes[row], author_id="-", occurred_at=at, published_at=at, bundle=BUNDLE, tags=tags)
        yield Received(event, "notes@1", 0, place, _NO_BYTES)


def _acted(served: Served, queries: Sequence[int]) -> Iterator[Received[Interaction]]:
    """What the readers did, each in the order of the log."""
    task, at, offset = served.task, served.now - HOUR_MS, 0
    actions, notes = task.data.actions, len(task.data.notes)
    keys, place = np.unique(actions.reader * notes + actions.note, return_index=True)
    for query in queries:
        span = slice(task.profiles.indptr[query], task.profiles.indptr[query + 1])
        rows, weights = task.profiles.indices[span].astype(np.int64), task.profiles.data[span]
        for mine in np.argsort(place[np.searchsorted(keys, task.reader[query] * notes + rows)], kind="stable"):
            note_id = task.data.notes[rows[mine]]
            for action in _actions(float(weights[mine])):
                event = Interaction(event_id=f"e{offset}", user_id=_reader(query), note_id=note_id, action=action, occurred_at=at)
                yield Received(event, "interactions@1", 0, offset, _NO_BYTES)
                offset += 1


def _actions(weight: float) -> list[Action]:
    """Actions that weigh so much together: at most one favorite and one like, the rest clicks."""
    left, actions = round(weight), list[Action]()
    for action, worth in ACTIONS[:2]:
        if left >= worth:
            actions.append(action)
            left -= worth
    return [*actions, *["click" for _ in range(left)]]  # type: ignore[list-item]


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last with what is left."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
