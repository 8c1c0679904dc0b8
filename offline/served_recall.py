"""Written spaces on cold notes through ``recall()`` itself, as it serves, with the stores swapped for their in-memory twins.

Cold notes are an hour old, warm ones past the window; each query is a reader whose actions went through the profile job. So everything
counts that the matrices leave out: how many candidates a channel proposes, z-scores over those alone, filters, ties.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.update_profiles import UpdateProfiles
from models.roles import Space, TagEncoder
from offline.recall_metrics import judge_scores, summarise
from offline.recall_task import Task
from recall.memory_index import MemoryNoteIndex
from recall.note_index import HOUR_MS, now_ms
from recall.note_tags import StoredNoteTags
from recall.memory_notes import MemoryNotes
from recall.profiles import MemoryProfiles
from recall.query import Query, RecallStores, recall
from schemas.events import Action, Interaction, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.writes import PutNote, PutProfile, PutVector
from streams.memory import MemoryMessage

WEIGHTS: tuple[tuple[Action, int], ...] = (("favorite", 3), ("like", 2), ("click", 1))
WARM_AGE_MS = 400 * 24 * HOUR_MS
QUERIES_A_BATCH = 200
_NO_BYTES = MemoryMessage(topic="dataset", partition=0, offset=0, value=b"")


class Served(NamedTuple):
    """A task laid out in the stores: ``stores``, and the time that their notes are dated by, epoch ms."""

    stores: RecallStores
    now: int


def serve_task(task: Task, spaces: Mapping[str, Space], weights: Mapping[str, float], encoder: TagEncoder) -> Served:
    """Fills the twins with the task's notes and their vectors in each space."""
    now = now_ms()
    settings = Settings(profile_half_life_days=0.0, profile_max_tags=0)
    notes = MemoryNotes()
    published = np.full(len(task.data.notes), now - WARM_AGE_MS, np.int64)
    published[task.cold] = now - HOUR_MS
    notes.put([PutNote(_record(task, row, int(published[row]))) for row in (*task.warm, *task.cold)])
    index = MemoryNoteIndex(encoder.dimension, clock=lambda: now, spaces={name: space.dimension for name, space in spaces.items()})
    for name, space in spaces.items():
        vectors = space.notes([task.data.tags[row] for row in task.cold])
        ids = [task.data.notes[row] for row in task.cold]
        index.upsert(
            [
                PutVector(note, "-", None, now - HOUR_MS, now - HOUR_MS, vector, name)
                for note, vector in zip(ids, vectors, strict=True)
                if vector.any()
            ]
        )
    return Served(RecallStores(MemoryProfiles(), notes, index, settings, "evaluated", dict(spaces), dict(weights)), now)


def _record(task: Task, row: int, at: int) -> NoteRecord:
    tags = [Tag(text=text, dimension="", rank=rank, confidence=1.0) for rank, text in enumerate(task.data.tags[row], 1)]
    return NoteRecord(task.data.notes[row], "-", at, False, 0, b"", at, None, tags, "", "dataset", [], {})


def judge_served(task: Task, served: Served, encoder: TagEncoder, queries: Sequence[int], k: int, *, say: Callable[[str], None]) -> Any:
    """Figures of some of the task's queries, as ``offline.recall_metrics.summarise`` gives them."""
    column = {task.data.notes[note]: place for place, note in enumerate(task.cold)}
    found: list[NDArray[np.float64]] = []
    for start in range(0, len(queries), QUERIES_A_BATCH):
        some = queries[start : start + QUERIES_A_BATCH]
        _act(task, served, some, start)
        scores = np.full((len(some), len(task.cold)), -1.0, np.float32)
        for row, query in enumerate(some):
            answer = recall(Query(user_id=f"q{query}", k=k), served.stores, encoder)
            for rank, result in enumerate(answer.results):
                scores[row, column[result.note_id]] = k - rank
        found.append(judge_scores(scores, task.targets[np.asarray(some)], k))
        say(f"{start + len(some)} of {len(queries)} queries through recall()")
    return summarise(np.concatenate(found), task.reader[np.asarray(queries)], k)


def _act(task: Task, served: Served, queries: Sequence[int], first: int) -> None:
    """The profiles of some queries, each a reader of its own, made of actions by the profile job."""
    received: list[Received[Interaction]] = []
    for query in queries:
        begin, end = task.profiles.indptr[query : query + 2]
        for note, weight in zip(task.profiles.indices[begin:end], task.profiles.data[begin:end], strict=True):
            for action in _actions(float(weight)):
                offset = first * 1_000_000 + len(received)
                note_id = task.data.notes[note]
                event = Interaction(
                    event_id=f"e{offset}", user_id=f"q{query}", note_id=note_id, action=action, occurred_at=served.now - HOUR_MS
                )
                received.append(Received(event, "dataset@1", 0, offset, _NO_BYTES))
    stores = served.stores
    assert isinstance(stores.notes, MemoryNotes)
    writes = UpdateProfiles(stores.profiles, StoredNoteTags(stores.notes), stores.settings).handle(received)
    refused = stores.profiles.write([write for write in writes if isinstance(write, PutProfile)])
    assert not refused, "nobody else writes these records"


def _actions(weight: float) -> list[Action]:
    """Actions that weigh so much together: at most one favorite and one like, the rest clicks."""
    left, actions = round(weight), list[Action]()
    for action, worth in WEIGHTS[:2]:
        if left >= worth:
            actions.append(action)
            left -= worth
    return [*actions, *["click" for _ in range(left)]]  # type: ignore[list-item]
