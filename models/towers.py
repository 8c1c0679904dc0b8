"""The two towers (paper appendix E): a reader's profile and a note to unit vectors whose inner product is the chance of an action.

Both read the same kind of input: a weighted bag of tag ids, dense features (the pooled vector of the tags by the pretrained encoder, and
static features) and, for readers, a weighted bag of notes acted on. A linear map of the concatenated parts is the sum of a linear map of
each, so a table of ids *is* its slice of the map. Two fully connected layers follow, beside a skip connection (equations 3 and 4):

    x = W [static, encoder, tags, history];  r = normalise(x + W2 relu(W1 x))

W2 starts at zero, so a tower whose tables come from ``models/closed_form.py`` starts as exactly that and is fine-tuned from there.

Plain normalisation forgets how long a note's vector is, and that length carries what is known of its appeal to any reader. So with
``radius`` set, the last coordinate is kept free to make the length 1: [x, sqrt(radius^2 - |x|^2)] / radius for a note, [x, 0] / |x| for a
reader (Bachrach et al., RecSys 2014). Vectors are of unit length and the inner product is that of the reader's direction with x / radius.
"""

from typing import NamedTuple

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = float("-inf")


class TowerShape(Struct, frozen=True):
    """Sizes. ``tags``: known tags; ``buckets``: rows shared by all others, by hash; ``dense``: dense features; ``notes``: notes with a row
    of their own in the history table, 0 for the item tower; ``dimension``: of the result; ``radius``: greatest length of a note's vector
    that is told apart, 0 for plain normalisation."""

    tags: int
    dense: int
    notes: int = 0
    dimension: int = 256
    hidden: int = 256
    buckets: int = 1024
    radius: float = 0.0


class Bag(NamedTuple):
    """Weighted bags of ids: row i holds ``ids[starts[i]:starts[i + 1]]`` (the last to the end). int64, int64, float32."""

    ids: Tensor
    starts: Tensor
    weights: Tensor


class Features(NamedTuple):
    """Input of B readers or notes: tags, dense features (B, dense), and for readers the notes acted on."""

    tags: Bag
    dense: Tensor
    history: Bag | None = None


class Tower(nn.Module):
    """One tower; ``shape.notes`` > 0 makes it the reader's."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.shape = shape
        inner = shape.dimension - 1 if shape.radius else shape.dimension
        self.tags = nn.EmbeddingBag(shape.tags + shape.buckets, inner, mode="sum")
        self.dense = nn.Linear(shape.dense, inner, bias=False)
        self.history = nn.EmbeddingBag(shape.notes, inner, mode="sum") if shape.notes else None
        self.first = nn.Linear(inner, shape.hidden)
        self.second = nn.Linear(shape.hidden, inner, bias=False)
        for table in (self.tags, self.history):
            if table is not None:
                nn.init.normal_(table.weight, std=inner**-0.5)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Features) -> Tensor:
        """Unit vectors, (B, dimension); a reader without any feature gets 0."""
        mixed: Tensor = self.tags_alone(features.tags) + self.dense(features.dense)
        if self.history is not None and features.history is not None:
            mixed = mixed + _summed(self.history, features.history)
        return self.finish(mixed)

    def finish(self, mixed: Tensor) -> Tensor:
        """The layers behind the summed input, (B, width) to unit vectors (B, dimension)."""
        raw = mixed + self.second(functional.relu(self.first(mixed)))
        radius = self.shape.radius
        if self.history is not None or not radius:
            unit = functional.normalize(raw, dim=-1)
            return functional.pad(unit, (0, 1)) if radius else unit
        length = raw.norm(dim=-1, keepdim=True)
        inside = raw / torch.maximum(length, torch.full_like(length, radius))
        return torch.cat([inside, (1.0 - inside.square().sum(-1, keepdim=True)).clamp(min=1e-12).sqrt()], dim=-1)

    def tags_alone(self, tags: Bag) -> Tensor:
        """The tags' part of the input, (B, dimension): u^t and i^t of the contrastive loss."""
        return _summed(self.tags, tags)


def hide_tags(tags: Bag, share: float, generator: torch.Generator) -> Bag:
    """Tag dropout: each occurrence is left out with probability ``share``, the others grow so that the sum keeps its mean."""
    kept = torch.rand(len(tags.weights), generator=generator) >= share
    return tags._replace(weights=tags.weights * kept / max(1.0 - share, 1e-6))


def softmax_loss(scores: Tensor, targets: Tensor, hidden: Tensor, temperature: float, log_q: Tensor | None = None) -> Tensor:
    """Cross-entropy over the candidates, averaged over each reader's targets.

    Args:
        scores: (B, C) inner products.
        targets: (B, C), 1 where the reader acted on the candidate.
        hidden: (B, C), true for accidental hits: notes of the reader's own input, which are neither target nor negative.
        log_q: (C,) log of the rate at which a candidate was sampled; taken off where candidates are not all notes (Yi et al., RecSys 2019).
    """
    logits = scores / temperature if log_q is None else scores / temperature - log_q
    log_p = functional.log_softmax(logits.masked_fill(hidden, HIDDEN), dim=1).masked_fill(hidden, 0.0)
    per_reader = (log_p * targets).sum(1) / targets.sum(1).clamp(min=1.0)
    return -per_reader.mean()


def bce_loss(scores: Tensor, targets: Tensor, hidden: Tensor, temperature: float, sums: tuple[float, float] | None = None) -> Tensor:
    """Equation 5: binary cross-entropy of the action, targets against all other candidates, each side weighing half.

    Args:
        sums: numbers of targets and of negatives to divide by; those of ``scores`` by default.
    """
    each = functional.binary_cross_entropy_with_logits(scores / temperature, targets, reduction="none").masked_fill(hidden, 0.0)
    negatives = ((targets == 0) & ~hidden).float()
    positive, negative = sums or (float(targets.sum()), float(negatives.sum()))
    return (each * targets).sum() / max(positive, 1.0) + (each * negatives).sum() / max(negative, 1.0)


def contrastive_loss(reader_tags: Tensor, note_tags: Tensor, temperature: float, first: int = 0, hidden: Tensor | None = None) -> Tensor:
    """Equation 6: a note's tags against the tags of the reader who acted on it and, as negatives, those of the batch's other readers.

    Args:
        reader_tags: (B, dimension), representations of each reader's tags, u^t.
        note_tags: (b, dimension), of the notes acted on, i^t; row i's positive is row ``first + i`` of ``reader_tags``.
        hidden: (b, B), true for accidental hits: other readers who acted on the note too.
    """
    similarity = functional.normalize(note_tags, dim=-1) @ functional.normalize(reader_tags, dim=-1).T / temperature
    if hidden is not None:
        similarity = similarity.masked_fill(hidden, HIDDEN)
    return functional.cross_entropy(similarity, torch.arange(first, first + len(similarity), device=similarity.device))


def _summed(table: nn.EmbeddingBag, bag: Bag) -> Tensor:
    summed: Tensor = table(bag.ids, bag.starts, per_sample_weights=bag.weights)
    return summed
