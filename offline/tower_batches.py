"""What the towers learn from: settings, the fitted input, batches of histories with hidden targets, and these as tensors.

A reader's input never holds anything of a target: the profile's tags and encoder vector are computed from the notes left, not looked up.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from models.closed_form import Content
from models.towers import Bag, Features, hide_tags


class TowerSpec(Struct, frozen=True):
    """How the towers are trained. ``start``: where the tables come from: the linear channel, for tags the tag encoder, or chance. ``bce``,
    ``contrastive``, ``softmax``: weights of the losses (the lambdas of equation 7; its L2 term is ``decay``). ``candidates``: warm
    notes scored per batch, drawn evenly, beside the batch's targets. ``tags_hidden``: tag dropout of notes. ``warm_up``: steps over
    which the rate rises. ``average``: what a step leaves of the moving average of all parameters, which is the model that is kept."""

    start: Literal["closed_form", "encoder", "random"] = "closed_form"
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


class Batch(NamedTuple):
    """Input histories (B, warm) and hidden targets (B, warm), sparse."""

    kept: Any
    targets: Any


Batches = Callable[[np.random.Generator], Iterator[Batch]]
"""The batches of one epoch; all that is drawn comes from the generator."""


class Source(NamedTuple):
    """What is trained on. ``content``: of the warm notes; ``history``: sparse (readers, warm), weights of actions; ``own``: weight of a
    reader's tags and dense features beside the table of notes; ``batches``: instead of hiding parts of ``history``."""

    content: Content
    history: Any
    own: float
    batches: Batches | None = None


class Step(NamedTuple):
    """One batch as tensors, for the share of its readers that this process has: b of B readers, C candidates.

    ``readers``: b rows; ``notes``: C rows; ``targets``, ``hidden``: (b, C); ``log_q``: (C,) or None; ``size``: B; ``world``: number of
    processes; ``sums``: targets and negatives of the whole batch. ``pairs``: for the contrastive loss.
    """

    readers: Features
    notes: Features
    targets: Tensor
    hidden: Tensor
    log_q: Tensor | None
    size: int
    world: int
    sums: tuple[float, float]
    pairs: "Pairs | None" = None


class Pairs(NamedTuple):
    """``readers``: B bags of tags; ``notes``: b bags, the tags of a target of each reader of the share; ``first``: place of the share's
    first reader among the B; ``hidden``: (b, B), true where another reader acted on that target too."""

    readers: Bag
    notes: Bag
    first: int
    hidden: Tensor


class Share(NamedTuple):
    """Which process of how many."""

    rank: int = 0
    world: int = 1


def epoch_batches(source: Source, size: int, generator: np.random.Generator) -> Iterator[Batch]:
    """One epoch: the source's own batches, or histories of at least two notes in a random order with parts hidden."""
    if source.batches is not None:
        yield from source.batches(generator)
        return
    history = source.history[np.flatnonzero(np.diff(source.history.indptr) >= 2)]
    order = generator.permutation(history.shape[0])
    for begin in range(0, len(order), size):
        yield hide_targets(history[order[begin : begin + size]], generator)


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


def make_step(source: Source, batch: Batch, spec: TowerSpec, generator: np.random.Generator, share: Share = Share()) -> Step:  # noqa: B008
    """A batch as tensors. What is drawn is the same in every process: candidates and tag dropout belong to the whole batch."""
    columns, log_q = _candidates(batch, spec, generator)
    size = batch.kept.shape[0]
    mine = slice(size * share.rank // share.world, size * (share.rank + 1) // share.world)
    notes = note_features(source.content, columns)
    dropout = torch.Generator().manual_seed(int(generator.integers(2**62)))
    notes = notes._replace(tags=hide_tags(notes.tags, spec.tags_hidden, dropout))
    targets, kept = batch.targets[mine][:, columns], batch.kept[mine][:, columns]
    positives = float(batch.targets.nnz)
    return Step(
        reader_features(source.content, batch.kept[mine], source.own),
        notes,
        torch.from_numpy((targets.toarray() > 0).astype(np.float32)),
        torch.from_numpy(kept.toarray() > 0),
        log_q,
        size,
        share.world,
        (positives, size * len(columns) - positives - float(batch.kept[:, columns].nnz)),
        _pairs(source, batch, mine, generator) if spec.contrastive else None,
    )


def _pairs(source: Source, batch: Batch, mine: slice, generator: np.random.Generator) -> Pairs:
    """One target of each reader, drawn."""
    counts = np.diff(batch.targets.indptr)
    picked = batch.targets.indices[batch.targets.indptr[:-1] + (generator.random(len(counts)) * counts).astype(np.int64)][mine]
    acted = (batch.kept + batch.targets)[:, picked].toarray().T > 0
    acted[np.arange(len(picked)), np.arange(mine.start, mine.stop)] = False
    tags = reader_features(source.content, batch.kept, source.own).tags
    return Pairs(tags, note_features(source.content, picked).tags, mine.start, torch.from_numpy(acted))


def note_features(content: Content, rows: NDArray[np.int64]) -> Features:
    """Input of the item tower."""
    return Features(bag(content.tags[rows]), torch.from_numpy(content.dense[rows]))


def reader_features(content: Content, known: Any, own: float, late: tuple[Any, Content] | None = None) -> Features:
    """Input of the reader tower, profiles brought to length 1.

    Args:
        known: sparse (B, warm), weights of notes of the table, whose ``content`` it is.
        late: sparse (B, others) and content of notes without a row in the table.
    """
    squares = np.asarray(known.multiply(known).sum(axis=1)).ravel()
    if late is not None:
        squares = squares + np.asarray(late[0].multiply(late[0]).sum(axis=1)).ravel()
    scale = sparse.diags(1.0 / np.maximum(np.sqrt(squares), 1e-9))
    parts = [((scale @ weights).tocsr().astype(np.float32), some) for weights, some in ((known, content), *([late] if late else []))]
    tags = own * sum(weights @ some.tags for weights, some in parts)
    dense = own * sum(weights @ some.dense for weights, some in parts)
    return Features(bag(tags.tocsr()), torch.from_numpy(np.asarray(dense, np.float32)), bag(parts[0][0]))


def bag(matrix: Any) -> Bag:
    """Rows of a sparse matrix as weighted bags."""
    ids = torch.from_numpy(matrix.indices.astype(np.int64))
    return Bag(ids, torch.from_numpy(matrix.indptr[:-1].astype(np.int64)), torch.from_numpy(matrix.data.astype(np.float32)))


def _candidates(batch: Batch, spec: TowerSpec, generator: np.random.Generator) -> tuple[NDArray[np.int64], Tensor | None]:
    """Columns of the notes scored, and the log of the rate at which each comes in; all notes and None where they are few."""
    warm = batch.targets.shape[1]
    if spec.candidates >= warm:
        return np.arange(warm), None
    drawn = generator.choice(warm, spec.candidates, replace=False)
    columns = np.unique(np.concatenate([drawn, batch.targets.indices]))
    counts = np.bincount(batch.targets.indices, minlength=warm)
    rate = np.minimum(spec.candidates / warm + counts, 1.0)
    return columns, torch.from_numpy(np.log(rate)[columns].astype(np.float32))
