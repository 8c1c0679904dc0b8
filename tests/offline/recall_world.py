"""A planted community: readers and notes belong to topics, a topic has its tags, so that content says who will like what."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from models.roles import ActedNote, Space
from models.tag_content import ContentSpec
from offline.choose_recall import Chosen
from offline.recall_data import FOREVER, Actions, RecallData
from offline.recall_linear import LinearSpec
from offline.recall_metrics import Ranker
from offline.recall_task import Task
from offline.train_towers import TowerSpec

DAY_MS = 86_400_000
CHOSEN = Chosen(
    content=ContentSpec(buckets=4), linear=LinearSpec(rank=16), tower=TowerSpec(dimension=24, hidden=16, epochs=3, batch=16, warm_up=4)
)


def community(readers: int = 60, notes: int = 120, topics: int = 6, actions: int = 12, seed: int = 0) -> RecallData:
    """Each reader acts on notes of one topic, now and then of another; notes appear in order, actions come on notes that are there."""
    generator = np.random.default_rng(seed)
    topic = generator.integers(topics, size=notes)
    tags = [
        [*dict.fromkeys(f"t{topic[note]} tag {tag}" for tag in generator.integers(8, size=4)), f"noise {generator.integers(15)}"]
        for note in range(notes)
    ]
    rows = []
    for reader in range(readers):
        liking = topic == reader % topics
        chance = np.where(liking, 1.0, 0.04)
        chosen = generator.choice(notes, min(actions, int(liking.sum())), replace=False, p=chance / chance.sum())
        rows += [
            (int(note) * DAY_MS + int(generator.integers(10 * DAY_MS)), reader, int(note), float(generator.integers(1, 4)))
            for note in chosen
        ]
    rows.sort()
    at, reader_, note_, weight = (np.array(column) for column in zip(*rows, strict=True))
    parts = (reader_.astype(np.int64), note_.astype(np.int64), weight.astype(np.float32), weight > 1, at.astype(np.int64))
    everything = Actions(*parts, np.full(len(rows), FOREVER, np.int64))
    return RecallData("planted", [f"n{i}" for i in range(notes)], [f"u{i}" for i in range(readers)], tags, None, everything, dated=True)


def write_jsonl(data: RecallData, directory: Path) -> None:
    """The community in our own layout."""
    kinds = {1: "click", 2: "like", 3: "favorite"}
    with (directory / "notes.jsonl").open("w") as file:
        for row, note in enumerate(data.notes):
            at = row * DAY_MS
            event = {"type": "note.published", "note_id": note, "author_id": "a", "occurred_at": at, "published_at": at, "title": note}
            file.write(json.dumps(event | {"tags": data.tags[row]}) + "\n")
    actions = data.actions
    with (directory / "interactions.jsonl").open("w") as file:
        for row in range(len(actions.note)):
            event = {
                "event_id": f"e{row}", "user_id": data.readers[actions.reader[row]], "note_id": data.notes[actions.note[row]],
                "action": kinds[int(actions.weight[row])], "occurred_at": int(actions.at[row]),
            }  # fmt: skip
            file.write(json.dumps(event) + "\n")


def histories_of(task: Task, profiles: Any) -> list[list[ActedNote]]:
    """Profiles, sparse (readers, notes), as the histories that are read online."""
    return [
        [ActedNote(task.data.notes[note], float(weight), task.data.tags[note]) for note, weight in zip(row.indices, row.data, strict=True)]
        for row in profiles
    ]


def space_ranker(task: Task, space: Space) -> Ranker:
    """Scores of the task's candidates by a written space."""
    notes = space.notes([task.data.tags[note] for note in task.cold])
    return lambda profiles: np.asarray(space.readers(histories_of(task, profiles)) @ notes.T, np.float32)
