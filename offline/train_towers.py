"""Trains the two towers on a task's readers, and ranks by them.

With ``start="closed_form"`` the tables come from the linear channel; ``"encoder"`` takes the tags' rows from the tag encoder; ``"random"``
is kept for comparison.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from models.closed_form import Content, Dense, leading_vectors
from models.tag_content import TagContent, tag_ids
from models.towers import Features, Tower, TowerShape
from offline.recall_linear import Linear
from offline.recall_metrics import Ranker
from offline.recall_task import Task
from offline.tower_batches import Batch, Batches, Source, TowerSpec, hide_targets, note_features
from offline.tower_batches import reader_features as features_of
from offline.tower_training import Training
from schemas.errors import BadSetting

__all__ = [
    "Batch",
    "TowerSpec",
    "Towers",
    "hide_targets",
    "note_features",
    "reader_features",
    "start_towers",
    "tower_ranker",
    "train_towers",
]

RADIUS_SLACK = 1.5
CHUNK = 512


class Towers(NamedTuple):
    """A trained pair with what its inputs are made of. ``content``: of all notes of the dataset; ``warm``: rows of the history table."""

    reader: Tower
    note: Tower
    content: Content
    warm: NDArray[np.int64]
    own: float


def train_towers(
    linear: Linear,
    spec: TowerSpec,
    seed: int = 0,
    watch: Callable[[int, Towers], None] | None = None,
    *,
    batches: Batches | None = None,
    tag_table: Dense | None = None,
) -> Towers:
    """Trains on the histories of ``linear.task``.

    Args:
        linear: gives the content and, if asked for, the start.
        watch: called with the number of epochs done and the towers as they would be kept, before the first and after each.
        batches: instead of hiding parts of the histories.
        tag_table: what ``tag_rows`` gives, for ``start="encoder"``.
    """
    start = start_towers(linear, spec, seed, tag_table)
    training = Training(start.reader, start.note, source_of(linear, batches), spec, seed)
    result = start._replace(reader=training.reader, note=training.note)
    for epoch in range(spec.epochs + 1):
        if epoch:
            training.run_epoch()
        if watch is not None:
            watch(epoch, result)
    return result


def source_of(linear: Linear, batches: Batches | None = None) -> Source:
    """What the towers learn from, of a fitted linear channel."""
    warm = linear.task.warm
    return Source(linear.content.rows(warm), linear.task.history[:, warm].tocsr(), linear.smoothing.own, batches)


def tower_ranker(towers: Towers, cold: NDArray[np.int64]) -> Ranker:
    """Scores of candidates by inner product."""
    with torch.no_grad():
        notes = torch.cat([towers.note(note_features(towers.content, cold[at : at + CHUNK])) for at in range(0, len(cold), CHUNK)]).numpy()

    def rank(profiles: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            readers = towers.reader(reader_features(towers, profiles)).numpy()
        return np.asarray(readers @ notes.T, np.float32)

    return rank


def reader_features(towers: Towers, profiles: Any) -> Features:
    """Input of the reader tower from profiles over all notes, sparse (B, notes)."""
    late = profiles.copy().tocsr()
    late.data[np.isin(late.indices, towers.warm)] = 0.0
    late.eliminate_zeros()
    known = profiles[:, towers.warm].tocsr()
    return features_of(towers.content.rows(towers.warm), known, towers.own, (late, towers.content) if late.nnz else None)


def start_towers(linear: Linear, spec: TowerSpec, seed: int = 0, tag_table: Dense | None = None) -> Towers:
    """Fresh towers, their tables filled as the spec says.

    Raises:
        BadSetting: ``start="encoder"`` without a ``tag_table``.
    """
    torch.manual_seed(seed)
    content, warm = linear.content, linear.task.warm
    item_map = linear.item_map(spec.dimension - 1, views=1) if spec.start == "closed_form" else None
    dimension = spec.dimension if item_map is None else item_map.shape[1] + 1
    radius = 0.0
    if item_map is not None:
        scale = np.float32(1.0 / max(float(np.linalg.norm(content.rows(warm).times(item_map), axis=1).max()), 1e-9))
        item_map, radius = item_map * scale, RADIUS_SLACK
    sizes = {"tags": content.tags.shape[1], "dense": content.dense.shape[1], "dimension": dimension, "hidden": spec.hidden, "buckets": 0}
    note = Tower(TowerShape(**sizes, radius=radius))
    reader = Tower(TowerShape(**sizes, radius=radius, notes=len(warm)))
    if item_map is not None:
        _fill(note, item_map)
        _fill(reader, item_map, linear.history_table(item_map))
    elif spec.start == "encoder":
        if tag_table is None:
            raise BadSetting("start: encoder needs the tag encoder's vectors of the known tags; see tag_rows")
        for tower in (note, reader):
            _fill_tags(tower, tag_table)
    return Towers(reader, note, content, warm, linear.smoothing.own)


def tag_rows(task: Task, fitted: TagContent, tag_vectors: Dense) -> Dense:
    """Encoder vectors by row of the tag table, (tags + buckets, dimension); a shared row holds the mean of the tags that fall on it."""
    columns = np.array(tag_ids(task.content.texts, fitted.columns, fitted.spec.buckets), np.int64)
    place = sparse.csr_matrix((np.ones(len(columns), np.float32), (columns, np.arange(len(columns)))), shape=(fitted.width, len(columns)))
    return np.asarray((place @ tag_vectors) / np.maximum(np.asarray(place.sum(axis=1)), 1.0), np.float32)


def _fill(tower: Tower, item_map: Dense, history: Dense | None = None) -> None:
    split = tower.tags.weight.shape[0]
    with torch.no_grad():
        tower.tags.weight.copy_(torch.from_numpy(item_map[:split]))
        tower.dense.weight.copy_(torch.from_numpy(item_map[split : split + tower.shape.dense].T.copy()))
        if tower.history is not None and history is not None:
            tower.history.weight.copy_(torch.from_numpy(history))


def _fill_tags(tower: Tower, tag_table: Dense) -> None:
    """Rows along the leading directions of the encoder's vectors; coordinates that those do not fill stay small."""
    directions = leading_vectors(tag_table, tower.tags.weight.shape[1])
    with torch.no_grad():
        tower.tags.weight.mul_(0.01)
        tower.tags.weight[:, : directions.shape[1]] += torch.from_numpy(tag_table @ directions)
