"""Writes what was trained as it serves: a directory for each space, with its card, and the weights of the merge."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from models.closed_form import Content
from models.linear_space import LinearCard, linear_tables
from models.roles import Space, TagEncoder
from models.spaces import load_space
from models.tag_content import TagContent
from models.tower_export import export_towers, folded
from models.towers import Tower
from models.two_tower_space import NOTES_FILE, TowerCard
from offline import recall_baselines as baselines
from offline.choose_recall import Chosen
from offline.recall_content import build_content
from offline.recall_linear import Linear, fit_linear
from offline.recall_task import Task
from offline.train_towers import train_towers
from offline.whole_file import whole_directory

LEARNED_SPACES = ("linear", "two_tower")
SERVED = ("linear", "two_tower", "tag_index_idf")
DIMENSION = 1536
MERGE_FILE = "merge.json"


class Notes(msgspec.Struct, frozen=True):
    """The notes trained on: their ids, and what makes content of tags. ``encoder_version``: of the tag encoder."""

    ids: Sequence[str]
    fitted: TagContent
    encoder_version: str

    def write(self, directory: Path) -> None:
        """Beside a space's own files."""
        self.fitted.save(directory)
        (directory / NOTES_FILE).write_bytes(msgspec.json.encode(list(self.ids)))


def write_spaces(task: Task, encoder: TagEncoder, chosen: Chosen, out: Path, *, dimension: int = DIMENSION, seed: int = 0) -> None:
    """Fits both channels to a task's training actions and writes them under ``out``, which must not exist; complete or not at all."""
    content, fitted = build_content(task, baselines.encode_tags(task, encoder), chosen.content)
    linear = fit_linear(task, content, chosen.linear)
    trained = train_towers(linear, chosen.tower, seed)
    notes = Notes([task.data.notes[row] for row in task.warm], fitted, encoder.version)
    with whole_directory(out) as made:
        write_linear(linear, notes, made / "linear", dimension, seed)
        write_towers(trained.reader, trained.note, content.rows(task.warm), trained.own, notes, directory=made / "two_tower")
        write_merge(chosen, made)


def load_spaces(directory: Path, encoder: TagEncoder) -> tuple[dict[str, Space], dict[str, float]]:
    """The learned spaces that ``write_spaces`` wrote, by name, and the weights of the merge, by channel."""
    weights: dict[str, float] = json.loads((directory / MERGE_FILE).read_text())["weights"]
    return {name: load_space(directory / name, encoder) for name in LEARNED_SPACES}, weights


def write_linear(linear: Linear, notes: Notes, directory: Path, dimension: int, seed: int = 0) -> None:
    """The linear channel, its vectors of ``dimension`` or what the content has."""
    directory.mkdir(parents=True)
    item_map = linear.item_map(dimension - 1, seed)
    tables, radius = linear_tables(linear.content.rows(linear.task.warm), item_map, linear.smoothing)
    for name, table in tables.items():
        np.save(directory / f"{name}.npy", table)
    notes.write(directory)
    smoothing = linear.smoothing
    card = LinearCard("linear", "linear", item_map.shape[1] + 1, "", notes.encoder_version, smoothing.own, smoothing.near, radius)
    _write_card(card, directory)


def write_towers(reader: Tower, note: Tower, content: Content, own: float, notes: Notes, *, directory: Path) -> None:
    """The two towers. ``content``: of the notes trained on; ``own``: its weight in a reader's input."""
    directory.mkdir(parents=True)
    export_towers(folded(reader.cpu(), content, own), note.cpu(), directory)
    msgspec.structs.replace(notes, fitted=msgspec.structs.replace(notes.fitted, shared=None)).write(directory)
    _write_card(TowerCard("two_tower", "two_tower", note.shape.dimension, "", notes.encoder_version, own), directory)


def write_merge(chosen: Chosen, directory: Path) -> None:
    """``merge.json``, of the channels that serve."""
    weights = {name: weight for name, weight in chosen.weights.items() if name in SERVED}
    (directory / MERGE_FILE).write_text(json.dumps({"weights": weights}))


def _write_card(card: LinearCard | TowerCard, directory: Path) -> None:
    """``space.json``; the version is a hash over the other files."""
    hashed = hashlib.blake2b(msgspec.json.encode(card), digest_size=8)
    for path in sorted(directory.iterdir()):
        with path.open("rb") as opened:
            hashed.update(path.name.encode() + hashlib.file_digest(opened, "blake2b").digest())
    (directory / "space.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(card, version=hashed.hexdigest())))
