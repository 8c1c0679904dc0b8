"""Trains the two towers on a task's readers: part of each history is hidden as targets, the rest is the input.

A reader's input never holds anything of a target: the profile's tags and encoder vector are computed from the notes left, not looked up.
With ``start="closed_form"`` the tables come from the linear channel; ``"random"`` is kept for comparison.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.closed_form import Content, Dense
from models.towers import Bag, Features, Tower, TowerShape, bce_loss, contrastive_loss, hide_tags, softmax_loss
from offline.recall_linear import Linear
from offline.recall_metrics import Ranker

RADIUS_SLACK = 1.5
CHUNK = 512


class TowerSpec(Struct, frozen=True):
    """How the towers are trained. ``bce``, ``contrastive``, ``softmax``: weights of the losses (the lambdas of equation 7; its L2 term is
    ``decay``). ``candidates``: warm notes scored per batch, drawn evenly, beside the batch's targets. ``tags_hidden``: tag dropout of
    notes. ``warm_up``: steps over which the rate rises. ``average``: what a step leaves of the moving average of all parameters, which is
    the model that is kept."""

    start: Literal["closed_form", "random"] = "closed_form"
    dimension: int = 256
    hidden: int = 256
    epochs: int = 16
    batch: int = 512
    rate: float = 1e-3
    decay: float = 0.0
    tags_hidden: float = 0.5
    warm_up: int = 20
    average: float = 0.97
    temperature: float = 0.02
    softmax: float = 1.0
    bce: float = 0.0
    contrastive: float = 0.0
    candidates: int = 4096


class Towers(NamedTuple):
    """A trained pair with what its inputs are made of. ``warm``: note rows of the history table."""

    reader: Tower
    note: Tower
    content: Content
    warm: NDArray[np.int64]
    own: float


class Batch(NamedTuple):
    """Input histories (B, warm) and hidden targets (B, warm), sparse."""

    kept: Any
    targets: Any


def train_towers(linear: Linear, spec: TowerSpec, seed: int = 0, watch: Callable[[int, Towers], None] | None = None) -> Towers:
    """Trains on the histories of ``linear.task``.

    Args:
        linear: gives the content and, if asked for, the start.
        watch: called with the number of epochs done and the towers as they would be kept, before the first and after each.
    """
    torch.manual_seed(seed)
    towers = _start(linear, spec)
    history = linear.task.history[:, linear.task.warm]
    history = history[np.flatnonzero(np.diff(history.indptr) >= 2)]
    generator = np.random.default_rng(seed)
    torch_generator = torch.Generator().manual_seed(seed)
    both = nn.ModuleList([towers.reader, towers.note])
    averaged = AveragedModel(both, multi_avg_fn=get_ema_multi_avg_fn(spec.average))  # type: ignore[no-untyped-call]
    averaged.update_parameters(both)
    reader, note = averaged.module.children()
    assert isinstance(reader, Tower)
    assert isinstance(note, Tower)
    result = towers._replace(reader=reader, note=note)
    optimiser = torch.optim.Adam(both.parameters(), lr=spec.rate, weight_decay=spec.decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / max(spec.warm_up, 1), total_iters=spec.warm_up)
    for epoch in range(spec.epochs + 1):
        if watch is not None:
            watch(epoch, result)
        if epoch == spec.epochs:
            break
        order = generator.permutation(history.shape[0])
        for begin in range(0, len(order), spec.batch):
            batch = hide_targets(history[order[begin : begin + spec.batch]], generator)
            optimiser.zero_grad(set_to_none=True)
            _loss(towers, batch, spec, generator, torch_generator).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            averaged.update_parameters(both)
    return result


def hide_targets(history: Any, generator: np.random.Generator) -> Batch:
    """Hides 10 to 90 % of each reader's notes, at least one and never all. ``history``: sparse (B, warm), at least two notes a row."""
    counts = np.diff(history.indptr)
    hidden = np.clip(np.rint(counts * generator.uniform(0.1, 0.9, len(counts))).astype(np.int64), 1, counts - 1)
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((generator.random(len(row)), row))
    rank = np.empty(len(row), np.int64)
    rank[order] = np.arange(len(row)) - np.repeat(history.indptr[:-1], counts)
    out = rank < hidden[row]
    parts = [
        sparse.csr_matrix((history.data[mask], (row[mask], history.indices[mask])), shape=history.shape, dtype=np.float32)
        for mask in (~out, out)
    ]
    return Batch(*parts)


def tower_ranker(towers: Towers, cold: NDArray[np.int64]) -> Ranker:
    """Scores of candidates by inner product."""
    with torch.no_grad():
        notes = torch.cat([towers.note(note_features(towers.content, cold[at : at + CHUNK])) for at in range(0, len(cold), CHUNK)]).numpy()

    def rank(profiles: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            readers = towers.reader(reader_features(towers, profiles)).numpy()
        return np.asarray(readers @ notes.T, np.float32)

    return rank


def note_features(content: Content, rows: NDArray[np.int64]) -> Features:
    """Input of the item tower."""
    return Features(_bag(content.tags[rows]), torch.from_numpy(content.dense[rows]))


def reader_features(towers: Towers, profiles: Any) -> Features:
    """Input of the reader tower from profiles, sparse (B, notes), brought to length 1."""
    lengths = np.sqrt(np.asarray(profiles.multiply(profiles).sum(axis=1)).ravel())
    scaled = (sparse.diags(1.0 / np.maximum(lengths, 1e-9)) @ profiles).tocsr().astype(np.float32)
    tags = towers.own * (scaled @ towers.content.tags)
    dense = towers.own * (scaled @ towers.content.dense)
    return Features(_bag(tags.tocsr()), torch.from_numpy(np.asarray(dense, np.float32)), _bag(scaled[:, towers.warm].tocsr()))


def _loss(towers: Towers, batch: Batch, spec: TowerSpec, generator: np.random.Generator, torch_generator: torch.Generator) -> Tensor:
    """Equation 7 over the chosen candidates, with the softmax beside it."""
    warm = towers.warm
    if spec.candidates < len(warm):
        drawn = generator.choice(len(warm), spec.candidates, replace=False)
        columns = np.unique(np.concatenate([drawn, batch.targets.indices]))
        sampled = np.full(len(warm), spec.candidates / len(warm))
        counts = np.bincount(batch.targets.indices, minlength=len(warm))
        log_q = torch.from_numpy(np.log(np.minimum(sampled + counts, 1.0))[columns].astype(np.float32))
    else:
        columns, log_q = np.arange(len(warm)), None
    full = sparse.csr_matrix(
        (batch.kept.data, warm[batch.kept.indices], batch.kept.indptr), shape=(batch.kept.shape[0], towers.content.dense.shape[0])
    )
    readers = reader_features(towers, full)
    notes = note_features(towers.content, warm[columns])
    notes = notes._replace(tags=hide_tags(notes.tags, spec.tags_hidden, torch_generator))
    scores = towers.reader(readers) @ towers.note(notes).T
    targets = torch.from_numpy((batch.targets[:, columns].toarray() > 0).astype(np.float32))
    hidden = torch.from_numpy(batch.kept[:, columns].toarray() > 0)
    total: Tensor = scores.new_zeros(())
    if spec.softmax:
        total = total + spec.softmax * softmax_loss(scores, targets, hidden, spec.temperature, log_q)
    if spec.bce:
        total = total + spec.bce * bce_loss(scores, targets, hidden, spec.temperature)
    if spec.contrastive:
        picked = warm[batch.targets.indices[batch.targets.indptr[:-1]]]
        acted = note_features(towers.content, picked).tags
        pair = towers.reader.tags_alone(readers.tags), towers.note.tags_alone(acted)
        total = total + spec.contrastive * contrastive_loss(*pair, spec.temperature)
    return total


def _start(linear: Linear, spec: TowerSpec) -> Towers:
    """Fresh towers, their tables filled from the closed form when the spec says so."""
    content, warm = linear.content, linear.task.warm
    closed = spec.start == "closed_form"
    item_map = linear.item_map(spec.dimension - 1) if closed else None
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
    return Towers(reader, note, content, warm, linear.smoothing.own)


def _fill(tower: Tower, item_map: Dense, history: Dense | None = None) -> None:
    split = tower.tags.weight.shape[0]
    with torch.no_grad():
        tower.tags.weight.copy_(torch.from_numpy(item_map[:split]))
        tower.dense.weight.copy_(torch.from_numpy(item_map[split:].T.copy()))
        if tower.history is not None and history is not None:
            tower.history.weight.copy_(torch.from_numpy(history))


def _bag(matrix: Any) -> Bag:
    """Rows of a sparse matrix as weighted bags."""
    ids = torch.from_numpy(matrix.indices.astype(np.int64))
    return Bag(ids, torch.from_numpy(matrix.indptr[:-1].astype(np.int64)), torch.from_numpy(matrix.data.astype(np.float32)))
