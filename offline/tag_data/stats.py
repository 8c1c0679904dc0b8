"""What sets of samples hold: the columns of the paper's Table 1, and how rich the tags are."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from models.handbook import Handbook
from offline.tag_data.samples import Sample, read_samples
from schemas.events import Category


class SetStats(Struct, frozen=True, kw_only=True):
    """Means over the notes of a set.

    ``text_length``: characters of title, body and product cards, which the paper aggregates (section 3.2). ``speech_length``: characters of
    the transcript, notes without speech counting as 0; ``speech_length_spoken``: of those that have speech, which are ``spoken_share``.
    The paper says neither what its lengths count nor whether silent notes are among them. ``dimensions_covered``: share of the category's
    handbook dimensions that a note has tags of.
    """

    notes: int
    categories: int
    images: float
    text_length: float
    speech_length: float
    spoken_share: float
    speech_length_spoken: float
    tags: float
    dimensions_covered: float
    without_tags: int


PAPER: dict[str, dict[str, float]] = {
    "sft": {"notes": 119_318, "categories": 18, "images": 4.67, "text_length": 92.97, "speech_length": 144.27},
    "dpo_pool": {"notes": 19_976, "categories": 18, "images": 4.73, "text_length": 95.43, "speech_length": 166.31},
    "eval": {"notes": 19_984, "categories": 18, "images": 4.79, "text_length": 103.84, "speech_length": 173.27},
}
"""Table 1 of the paper, by the names of our sets."""


class _Sums:
    def __init__(self, handbook: Handbook) -> None:
        self._handbook = handbook
        self.notes = self.images = self.text = self.speech = self.spoken = self.tags = self.bare = 0
        self.covered = 0.0
        self.categories: set[Category | None] = set()

    def add(self, sample: Sample) -> None:
        note = sample.note
        cards = [part for card in note.products for part in (card.name, card.brand, card.description)]
        speech = sum(len(one.utterance.text) for one in sample.speech)
        self.notes += 1
        self.images += len(sample.pictures)
        self.text += sum(map(len, (note.title, note.body, *cards)))
        self.speech += speech
        self.spoken += speech > 0
        self.tags += len(sample.tags)
        self.bare += not sample.tags
        self.categories.add(note.category)
        if note.category is not None:
            known = {dimension.id for dimension in self._handbook.category(note.category).dimensions}
            self.covered += len(known & {tag.dimension for tag in sample.tags}) / len(known)

    def stats(self) -> SetStats:
        count = max(1, self.notes)
        return SetStats(
            notes=self.notes,
            categories=len(self.categories - {None}),
            images=round(self.images / count, 2),
            text_length=round(self.text / count, 2),
            speech_length=round(self.speech / count, 2),
            spoken_share=round(self.spoken / count, 4),
            speech_length_spoken=round(self.speech / max(1, self.spoken), 2),
            tags=round(self.tags / count, 2),
            dimensions_covered=round(self.covered / count, 4),
            without_tags=self.bare,
        )


def stats_of(samples: Iterable[Sample], handbook: Handbook) -> tuple[SetStats, dict[str, SetStats]]:
    """Of all samples together, and by category (``none`` where a note has none) in alphabetical order."""
    whole, parts = _Sums(handbook), defaultdict[str, _Sums](lambda: _Sums(handbook))
    for sample in samples:
        whole.add(sample)
        parts[sample.note.category or "none"].add(sample)
    return whole.stats(), {name: parts[name].stats() for name in sorted(parts)}


def read_stats(path: Path, handbook: Handbook) -> tuple[SetStats, dict[str, SetStats]]:
    """``stats_of`` a file of samples; raises as ``read_samples`` does."""
    return stats_of(read_samples(path), handbook)
