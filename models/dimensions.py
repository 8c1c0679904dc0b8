"""Phrase vectors against a category's interest dimensions."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.handbook import CategoryHandbook, Handbook
from models.roles import TagEncoder
from models.words import stem, words_of
from schemas.events import CATEGORIES, Category

Vectors = NDArray[np.float32]


class DimensionVectors(Struct, frozen=True):
    """One category in one language. ``examples``: (n, dimension) unit rows, those of interest dimension i from ``starts[i]``;
    ``centres``: (dimensions, dimension) unit rows of name and description; ``cues``: stems that signal each dimension."""

    ids: list[str]
    examples: Vectors
    starts: list[int]
    centres: Vectors
    cues: list[frozenset[str]]

    def similarities(self, vectors: Vectors) -> NDArray[np.float64]:
        """Scores of shape (len(vectors), dimensions): nearest example, mean of its examples and closeness to the description."""
        cosines = products(vectors, self.examples)
        nearest = np.maximum.reduceat(cosines, self.starts, axis=1)
        sizes = np.diff([*self.starts, cosines.shape[1]])
        mean = np.add.reduceat(cosines, self.starts, axis=1) / sizes
        centre = products(vectors, self.centres)
        return np.asarray(0.6 * nearest + 0.2 * mean + 0.2 * centre, np.float64)


class HandbookVectors:
    """Vectors of a handbook, computed when a category is first seen."""

    def __init__(self, handbook: Handbook, encoder: TagEncoder) -> None:
        self._handbook = handbook
        self._encoder = encoder
        self._dimensions: dict[tuple[Category, bool], DimensionVectors] = {}
        self._categories: tuple[Vectors, list[int]] | None = None

    def dimensions(self, category: Category, han: bool) -> DimensionVectors:
        """A category's dimensions with their English examples, or the Chinese ones."""
        key = (category, han)
        if key not in self._dimensions:
            self._dimensions[key] = _encode_book(self._handbook.category(category), self._encoder, han)
        return self._dimensions[key]

    def category_similarities(self, vectors: Vectors) -> NDArray[np.float64]:
        """Scores of shape (len(vectors), 18): closeness to the nearest of each category's descriptions."""
        if self._categories is None:
            texts: list[str] = []
            starts = []
            for name in CATEGORIES:
                book = self._handbook.category(name)
                starts.append(len(texts))
                texts.extend((book.name.en, book.description, *(_described(d.name.en, d.description) for d in book.dimensions)))
            self._categories = self._encoder.encode(texts), starts
        matrix, starts = self._categories
        return np.asarray(np.maximum.reduceat(products(vectors, matrix), starts, axis=1), np.float64)


def products(rows: Vectors, columns: Vectors) -> Vectors:
    """Inner products of shape (len(rows), len(columns)). Without BLAS: for so few rows its threads wait longer than they work."""
    return np.asarray(np.einsum("ij,kj->ik", rows, columns), np.float32)


def _encode_book(book: CategoryHandbook, encoder: TagEncoder, han: bool) -> DimensionVectors:
    texts: list[str] = []
    starts = []
    for dimension in book.dimensions:
        starts.append(len(texts))
        texts.extend(dimension.examples.values() if han else dimension.examples)
    centres = [_described(dimension.name.en, dimension.description) for dimension in book.dimensions]
    vectors = encoder.encode([*texts, *centres])
    cues = [_stems(dimension.cues) for dimension in book.dimensions]
    return DimensionVectors([d.id for d in book.dimensions], vectors[: len(texts)], starts, vectors[len(texts) :], cues)


def _described(name: str, description: str) -> str:
    return f"{name}: {description}"


def _stems(cues: Sequence[str]) -> frozenset[str]:
    return frozenset(stem(word) for cue in cues for word in words_of(cue))
