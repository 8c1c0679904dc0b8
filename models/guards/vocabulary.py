"""Known tags near a note, offered to the prompt so that a model reuses wordings instead of inventing new ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.dimensions import products
from models.handbook import Handbook
from models.roles import NoteMedia, TagEncoder
from models.text import has_han, language_of
from schemas.events import Category, NoteEvent

QUERY_MAX = 300  # characters of each text that is compared


class KnownTags:
    """Tags by category; those of the handbook, and what else is known.

    Args:
        handbook: its examples and concepts are known tags.
        encoder: how close a tag is to a note.
        count: how many are offered at most.
        more: further tags of a category, such as those of published notes.
    """

    def __init__(
        self, handbook: Handbook, encoder: TagEncoder, count: int = 24, more: Mapping[Category, Sequence[str]] | None = None
    ) -> None:
        self._handbook = handbook
        self._encoder = encoder
        self._count = count
        self._more = more or {}
        self._tags: dict[tuple[Category, bool], list[str]] = {}

    def near(self, note: NoteEvent, media: NoteMedia | None = None) -> list[str]:
        """Tags of the note's category in its language, nearest first; none for a note without category or words."""
        texts = [note.title, note.body, *(f"{card.name} {card.description}" for card in note.products[:4])]
        texts += [one.utterance.text for one in (media.speech if media else [])[:8]]
        texts = [text[:QUERY_MAX] for text in texts if text.strip()]
        if note.category is None or not texts:
            return []
        known = self._of(note.category, language_of("\n".join(texts)) in ("zh", "mixed"))
        vectors = self._encoder.encode([*texts, *known])
        nearness = products(vectors[: len(texts)], vectors[len(texts) :]).max(axis=0)
        order = np.lexsort((np.arange(len(known)), -np.round(nearness, 4)))
        return [known[number] for number in order[: self._count]]

    def _of(self, category: Category, chinese: bool) -> list[str]:
        key = (category, chinese)
        if key not in self._tags:
            found: list[str] = []
            for dimension in self._handbook.category(category).dimensions:
                found.extend(dimension.examples.values() if chinese else dimension.examples)
                found.extend(one.zh if chinese else one.en for one in dimension.concepts)
            found.extend(tag for tag in self._more.get(category, ()) if has_han(tag) == chinese)
            self._tags[key] = list(dict.fromkeys(found))
        return self._tags[key]
