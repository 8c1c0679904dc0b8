"""Concepts of the handbook that a note's text supports, though it may not use their words (TagLLM, section 3.2, Handbook-Based Generate).

A concept's support is what two witnesses say: words of the note that are its cues, and how close the vector of the whole text is to the
concept's, in standard deviations above what reference texts give. Reference texts are put together from the handbook's own words, so they
come with the handbook and the encoder, and a note's support depends on nothing but the note.
"""

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.concept_cues import Cues, Spoken
from models.dimensions import Vectors, products
from models.handbook import CategoryHandbook, Concept
from models.phrases import Part, Phrase
from models.roles import TagEncoder
from models.text import has_han
from schemas.events import Evidence

TEXT_LIMIT = 800
TEXT_MIN = 30
CUES_ENCODED = 12
CUES_COUNTED = 3
CUE_WEIGHT = 0.75
SUPPORT_MIN = 1.0
UNSPOKEN_MIN = 1.5  # of a concept none of whose cues is in the text
REFERENCES = 128
REFERENCE_DIMENSIONS = 4
REFERENCE_CUES = 3
JOINTS = ("of", "in", "with", "and")
_BREAK = re.compile(r"\s*\n\s*")


class Supported(NamedTuple):
    """A concept that a note supports. ``support``: standard deviations above reference texts, and ``CUE_WEIGHT`` for each cue."""

    concept: Concept
    dimension: str
    support: float
    evidence: list[Evidence]


class CategoryConcepts:
    """The concepts of one category, ready to be looked for.

    Args:
        book: the category's handbook.
        encoder: of concepts, reference texts and notes.
    """

    def __init__(self, book: CategoryHandbook, encoder: TagEncoder) -> None:
        self._concepts = [(concept, dimension.id) for dimension in book.dimensions for concept in dimension.concepts]
        self._cues = Cues([concept for concept, _ in self._concepts])
        self._vectors = encoder.encode([_described(concept) for concept, _ in self._concepts])
        reference = products(encoder.encode(reference_texts(book)), self._vectors)
        self._level = reference.mean(axis=0)
        self._spread = np.maximum(reference.std(axis=0), np.float32(1e-3))

    def find(self, parts: Sequence[Part], text: Vectors, phrases: Sequence[Phrase], vectors: Vectors | None) -> list[Supported]:
        """Supported concepts, best first.

        Args:
            text: vector of ``whole_text(parts)``, (dimension,).
            phrases, vectors: phrases of the note and their vectors, (len(phrases), dimension): of a concept without cues in the text, the
                nearest of them is the evidence.
        """
        spoken = self._cues.find(parts)
        support = self._support(text, spoken)
        enough = [number for number, much in enumerate(support) if much >= (SUPPORT_MIN if number in spoken else UNSPOKEN_MIN)]
        order = sorted(enough, key=lambda number: (-support[number], self._concepts[number][0].en))
        return [
            Supported(*self._concepts[number], float(support[number]), self._evidence(number, spoken, phrases, vectors)) for number in order
        ]

    def _support(self, text: Vectors, spoken: Spoken) -> NDArray[np.float64]:
        close = (products(text[None], self._vectors)[0] - self._level) / self._spread
        support = (close - close.mean()).astype(np.float64)
        for number, places in spoken.items():
            support[number] += CUE_WEIGHT * min(len(places), CUES_COUNTED)
        return np.asarray(np.round(support, 3), np.float64)

    def _evidence(self, number: int, spoken: Spoken, phrases: Sequence[Phrase], vectors: Vectors | None) -> list[Evidence]:
        if number in spoken:
            return list(dict.fromkeys(spoken[number].values()))[:3]
        if vectors is None or not phrases:
            return []
        nearest = int(np.argmax(np.round(products(vectors, self._vectors[number][None])[:, 0], 4)))
        return phrases[nearest].evidence[:1]


def whole_text(parts: Sequence[Part]) -> str:
    """Title and body as one text for the encoder, at most ``TEXT_LIMIT`` characters; empty where they are too short to support more than
    what they say, less than ``TEXT_MIN`` letters, of which a Chinese character counts as three."""
    texts = (part.content.text.strip() for part in parts if part.source in ("title", "body"))
    whole = _BREAK.sub(", ", "\n".join(text for text in texts if text))[:TEXT_LIMIT].strip(" ,")
    return whole if sum(3 if has_han(letter) else letter.isalpha() for letter in whole[: TEXT_MIN * 4]) >= TEXT_MIN else ""


def reference_texts(book: CategoryHandbook) -> list[str]:
    """What notes of the category might say, made of cues of concepts of several dimensions; always the same for a handbook."""
    draw = random.Random(7)  # noqa: S311 - of its methods random() alone is the same on every version
    kinds = [dimension.concepts for dimension in book.dimensions if dimension.concepts]
    texts = []
    for _ in range(REFERENCES):
        said = []
        for concepts in kinds[:REFERENCE_DIMENSIONS]:
            cues = _english(concepts[int(draw.random() * len(concepts))])
            said.append(" ".join(cues[int(draw.random() * len(cues))] for _ in range(REFERENCE_CUES)))
        texts.append(" ".join(word for pair in zip(said, JOINTS, strict=False) for word in pair).rsplit(" ", 1)[0])
    return texts


def _described(concept: Concept) -> str:
    return f"{concept.en}: {', '.join(_english(concept)[:CUES_ENCODED])}"


def _english(concept: Concept) -> list[str]:
    return [cue.rstrip("*") for cue in concept.cues if not has_han(cue)] or [concept.en]
