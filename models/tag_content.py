"""What a note's tags say about it, as the features that the closed form and the towers share: one piece of code for training and serving.

Sparse: tf-idf of known tags, and of all other tags in hashed columns behind them, rows at length 1. Dense: the idf-weighted mean of the
tags' encoder vectors, weighted by rank if so asked and centred on the notes it was fitted to, then a constant and the logarithm of the
number of tags. Shared: the mean of the tags' directions among the readers that share them: leading singular vectors of what readers acted
on, in tags, each at length 1. In all three a tag counts by the confidence that the tagger gave it, where that is known.

Tags on too many notes are left out, and so are, where the fitting left them out, tags on too few beside known ones; a note that has no
others keeps them, so that one whose tags are all new still has features. torch is never imported here.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy import sparse

from models.closed_form import Content, Dense, leading_vectors
from models.roles import TagEncoder

POOLING_POWER = 1.5
TAGS_MAX = 12_000
STATIC = 2
TAGS_PER_DIRECTION = 4
CONFIDENCE_MIN = 0.01
CONTENT_FILE = "content.json"
SHARED_FILE = "directions.npy"


class ContentSpec(Struct, frozen=True):
    """``idf_power``: of the sparse part. ``semantic``, ``static``: factors of the encoder part and of the constants, beside a sparse part
    of length 1. ``buckets``: hashed columns for tags without one of their own, ``hashed`` their factor: a tag on one note says nothing by
    its id, and in tags of a generator such tags are many. ``tags_max``: tags with a column, the most used. ``rank_power``: a tag of rank r
    counts r^-rank_power in the mean of vectors; 0 where the order of tags says nothing. ``shared``: rank of the shared part, at most a
    quarter of the tags; 0 for none. ``confidence_power``: a tag of confidence c counts c^confidence_power; 0: all count alike."""

    idf_power: float = 1.0
    semantic: float = 1.0
    static: float = 1.0
    buckets: int = 256
    tags_max: int = TAGS_MAX
    hashed: float = 1.0
    rank_power: float = 0.0
    shared: int = 128
    confidence_power: float = 0.0


class TagContent(Struct, frozen=True, dict=True):
    """Fitted features. ``columns``: tags with a column of their own. ``rarity``: ln(N / df) by tag; ``rarest`` is that of a tag never seen.
    ``centre``: mean of the pooled encoder vectors. ``number``: mean of log(1 + number of tags). ``common``: tags left out for being on too
    many notes; ``rare_left_out``: tags without a rarity are left out beside others. ``shared``: directions of the tags among readers, (tags
    of ``rarity`` in their order, rank), None for none; ``shared_centre``: mean of those pooled."""

    spec: ContentSpec
    columns: dict[str, int]
    rarity: dict[str, float]
    rarest: float
    centre: list[float]
    number: float
    common: frozenset[str] = frozenset()
    rare_left_out: bool = False
    shared: Any = None
    shared_centre: list[float] = []

    @cached_property
    def places(self) -> dict[str, int]:
        """Row by tag of ``shared``."""
        return {text: row for row, text in enumerate(self.rarity)}

    @property
    def width(self) -> int:
        """Sparse columns."""
        return len(self.columns) + self.spec.buckets

    @property
    def dense(self) -> int:
        """Dense features."""
        return len(self.centre) + STATIC

    def of_notes(
        self, notes: Sequence[Sequence[str]], encoder: TagEncoder, confidences: Sequence[Sequence[float]] | None = None
    ) -> Content:
        """Content of notes given by their tags; a row never depends on the other notes, one without tags holds the constant alone.

        Args:
            confidences: of each note's tags, in [0, 1]; all 1 where None.
        """
        counted = [self.counted(tags) for tags in notes]
        texts = list(dict.fromkeys(text for tags in counted for text in tags))
        place = {text: number for number, text in enumerate(texts)}
        indptr = np.cumsum([0, *map(len, counted)])
        indices = np.array([place[text] for tags in counted for text in tags], np.int64)
        first = [{text: rank for rank, text in enumerate(dict.fromkeys(tags), 1)} for tags in notes]
        order = np.array([ranks[text] for ranks, tags in zip(first, counted, strict=True) for text in tags], np.float32)
        shape = (len(notes), len(texts))
        counts = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
        sure = None
        if confidences is not None:
            known = [dict(zip(reversed(tags), reversed(given), strict=True)) for tags, given in zip(notes, confidences, strict=True)]
            kept = np.array([of[text] for of, tags in zip(known, counted, strict=True) for text in tags], np.float32)
            sure = sparse.csr_matrix((kept, indices, indptr), shape=shape)
        vectors = encoder.encode([readable(text) for text in texts]) if texts else np.zeros((0, encoder.dimension), np.float32)
        return self.of_counts(counts, texts, vectors, sparse.csr_matrix((order, indices, indptr), shape=shape), sure)

    def counted(self, tags: Sequence[str]) -> list[str]:
        """Those of a note's tags that count, each once."""
        left = [text for text in dict.fromkeys(tags) if text not in self.common]
        return ([text for text in left if text in self.rarity] or left) if self.rare_left_out else left

    def of_counts(self, counts: Any, texts: Sequence[str], vectors: Dense, ranks: Any = None, confidences: Any = None) -> Content:
        """The same from sparse matrices (notes, texts), of ones, of ranks from 1 and of confidences, and the texts' encoder vectors (texts,
        dimension)."""
        spec = self.spec
        counts = _by_confidence(counts, confidences, spec)
        rarity = np.array([self.rarity.get(text, self.rarest) for text in texts], np.float32)
        columns = np.array(tag_ids(texts, self.columns, spec.buckets), np.int64)
        worth = rarity**spec.idf_power * np.where(columns < len(self.columns), np.float32(1.0), np.float32(spec.hashed))
        place = sparse.csr_matrix((worth, (np.arange(len(texts)), columns)), shape=(len(texts), self.width))
        tags = counts @ place
        tags.sort_indices()  # else the whole matrix' order decides in which one scipy adds, and a row's last bit hangs on others
        lengths = np.sqrt(np.asarray(tags.multiply(tags).sum(axis=1)).ravel())
        tags = (sparse.diags(1.0 / np.maximum(lengths, 1e-12)) @ tags).tocsr().astype(np.float32)
        dense = pooled(_by_rank(counts, ranks, spec), rarity, vectors)
        tagged = np.diff(counts.indptr) > 0
        dense[tagged] -= np.array(self.centre, np.float32)
        number = np.log1p(np.diff(counts.indptr))
        static = np.stack([np.ones(len(number)), number / max(self.number, 1e-9)], axis=1)
        return Content(
            tags, np.hstack([spec.semantic * dense, spec.static * static]).astype(np.float32), self._shared(counts, texts, rarity)
        )

    def _shared(self, counts: Any, texts: Sequence[str], rarity: NDArray[np.float32]) -> Dense | None:
        if self.shared is None:
            return None
        known = [(at, self.places[text]) for at, text in enumerate(texts) if text in self.places]
        vectors = np.zeros((len(texts), self.shared.shape[1]), np.float32)
        vectors[[at for at, _ in known]] = self.shared[[row for _, row in known]]
        rows = pooled(counts, rarity, vectors)
        rows[rows.any(axis=1)] -= np.array(self.shared_centre, np.float32)
        return rows

    def save(self, directory: Path) -> None:
        """Writes ``content.json`` and, where there is a shared part, ``directions.npy``."""
        if self.shared is not None:
            np.save(directory / SHARED_FILE, self.shared)
        (directory / CONTENT_FILE).write_bytes(msgspec.json.encode(replace(self, shared=None)))


def load_content(directory: Path) -> TagContent:
    """What ``TagContent.save`` wrote."""
    fitted = msgspec.json.decode((directory / CONTENT_FILE).read_bytes(), type=TagContent)
    shared = directory / SHARED_FILE
    return replace(fitted, shared=np.load(shared)) if shared.exists() else fitted


def fit_content(
    counts: Any,
    texts: Sequence[str],
    vectors: Dense,
    warm: NDArray[np.int64],
    spec: ContentSpec,
    *,
    common: frozenset[str] = frozenset(),
    rare_left_out: bool = False,
    ranks: Any = None,
    confidences: Any = None,
    history: Any = None,
) -> TagContent:
    """Fits to notes, a sparse matrix (notes, texts) of ones.

    Args:
        vectors: encoder vectors of ``texts``, (texts, dimension).
        warm: rows of the notes that are learned from; they give columns, centre and mean number. Rarity is that among all notes.
        common, rare_left_out: what of the notes' tags is not among ``texts``, see ``TagContent``.
        ranks: the tags' ranks, from 1, in a matrix like ``counts``; needed for a ``rank_power``.
        confidences: the tags' confidences in such a matrix; all 1 where None.
        history: what readers acted on, sparse (readers, notes), for the shared part.
    """
    counts = _by_confidence(counts, confidences, spec)
    on_warm = np.bincount(counts[warm].indices, minlength=len(texts))
    on_all = np.bincount(counts.indices, minlength=len(texts))
    useful = np.flatnonzero((on_warm > 0) & (on_all > 1))
    kept = np.sort(useful[np.argsort(-on_warm[useful], kind="stable")[: spec.tags_max]])
    total = max(int((np.diff(counts.indptr) > 0).sum()), 1)
    rarity = np.log(np.maximum(total / np.maximum(on_all, 1), 1.0)).astype(np.float32)
    tagged = np.diff(counts.indptr) > 0
    used = warm[tagged[warm]]
    fitted_on = used if len(used) else warm
    rows = pooled(_by_rank(counts, ranks, spec), rarity, vectors)[fitted_on]
    rank = min(spec.shared, len(texts) // TAGS_PER_DIRECTION)
    shared = shared_directions(history[:, warm] @ counts[warm], rarity, rank) if history is not None and rank else None
    return TagContent(
        spec,
        {texts[column]: at for at, column in enumerate(kept)},
        dict(zip(texts, rarity.tolist(), strict=True)),
        float(np.log(total)),
        rows.mean(axis=0).tolist() if len(rows) else [0.0] * vectors.shape[1],
        float(np.log1p(np.diff(counts.indptr))[warm].mean()) if len(warm) else 1.0,
        common,
        rare_left_out,
        shared,
        [] if shared is None else pooled(counts, rarity, shared)[fitted_on].mean(axis=0).tolist(),
    )


def shared_directions(acted: Any, rarity: NDArray[np.float32], rank: int) -> Dense | None:
    """Directions of tags, (tags, rank), such that tags that the same readers act on lie near each other; None where nobody acted.

    Args:
        acted: sparse (readers, tags): on how many notes with the tag a reader acted.
        rarity: shape (tags,).
    """
    total = np.asarray(acted.sum(axis=1)).ravel()
    used = np.flatnonzero(total)
    if not len(used):
        return None
    scaled = sparse.diags(total[used] ** -0.5) @ acted[used] @ sparse.diags(rarity)
    directions = leading_vectors(scaled.tocsr().astype(np.float32), rank)
    return np.asarray(directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9), np.float32)


def tag_ids(texts: Sequence[str], vocabulary: Mapping[str, int], buckets: int) -> list[int]:
    """Columns of tags: a known tag's own, for any other one of the shared columns behind them, always the same."""
    known = len(vocabulary)
    return [
        vocabulary[text] if text in vocabulary else known + xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) % buckets
        for text in texts
    ]


def _by_confidence(counts: Any, confidences: Any, spec: ContentSpec) -> Any:
    """``counts`` with ``confidence_power`` applied."""
    if not spec.confidence_power or confidences is None:
        return counts
    weights = confidences.copy()
    weights.data = np.maximum(weights.data, np.float32(CONFIDENCE_MIN)) ** np.float32(spec.confidence_power)
    return weights


def _by_rank(counts: Any, ranks: Any, spec: ContentSpec) -> Any:
    """``counts`` with ``rank_power`` applied."""
    if not spec.rank_power or ranks is None:
        return counts
    weights = ranks.copy()
    weights.data = counts.data * weights.data ** np.float32(-spec.rank_power)
    return weights


def pooled(counts: Any, rarity: NDArray[np.float32], vectors: Dense) -> Dense:
    """Weighted means of tag vectors at length 1, (notes, dimension); 0 for a note without tags."""
    mean = counts @ (rarity[:, None] ** POOLING_POWER * vectors)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return np.asarray(mean, np.float32)


def readable(text: str) -> str:
    """A tag as the encoder reads it: underscores and hyphens are spaces."""
    return " ".join(text.replace("_", " ").replace("-", " ").split()) or text
