"""Tags that notes share: names of works, and concepts as the handbook spells them. Beside them stand phrases copied from the note."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from models.concepts import CategoryConcepts, Supported, whole_text
from models.dimensions import Vectors
from models.handbook import Handbook
from models.phrases import Part, Phrase
from models.roles import TagEncoder
from models.text import has_han
from models.words import stem, words_of
from models.works import find_works, is_name
from schemas.events import Category, NoteEvent, Tag

CONCEPTS_SHARE = 0.8  # of a note's tags
WORK_CONFIDENCES = (0.95, 0.9)
CONCEPT_CONFIDENCE = 0.85
CONCEPT_EVEN = 2.0  # the support where half of that is left; films' genres came out as often as the confidence says


class Seen(Struct, frozen=True):
    """What is known of a note once its phrases are encoded. ``text``: vector of ``whole_text``; ``vectors``: of ``phrases``; None where
    there is no text or no phrase."""

    note: NoteEvent
    parts: list[Part]
    category: Category
    chinese: bool
    text: Vectors | None
    phrases: list[Phrase]
    vectors: Vectors | None


class SharedTags:
    """Finds them. A category's concepts are encoded when it is first seen."""

    def __init__(self, handbook: Handbook, encoder: TagEncoder, max_tags: int) -> None:
        self._handbook = handbook
        self._encoder = encoder
        self._concepts_max = int(CONCEPTS_SHARE * max_tags)
        self._concepts: dict[Category, CategoryConcepts] = {}

    def text_to_encode(self, note: NoteEvent, parts: Sequence[Part], category: Category | None) -> str:
        """The whole text of a note that gets concepts, else the empty string. In a category of works a note gets them that has the name of
        one for a title, or no title: any other is somebody's own words, of which copied phrases say more."""
        if category is None:
            return ""
        dimensions = self._handbook.category(category).dimensions
        own_words = any(dimension.names_works for dimension in dimensions) and note.title.strip() and not is_name(note.title)
        return whole_text(parts) if any(dimension.concepts for dimension in dimensions) and not own_words else ""

    def find(self, seen: Seen) -> list[Tag]:
        """Names of works, then concepts by their support; ranks are not given yet."""
        tags = self._works(seen)
        if seen.text is None:
            return tags
        if seen.category not in self._concepts:
            self._concepts[seen.category] = CategoryConcepts(self._handbook.category(seen.category), self._encoder)
        supported = self._concepts[seen.category].find(seen.parts, seen.text, seen.phrases, seen.vectors)
        named = {tag.text for tag in tags}
        return tags + [tag for one in _distinct(supported, self._concepts_max) if (tag := _tag_of(one, seen.chinese)).text not in named]

    def _works(self, seen: Seen) -> list[Tag]:
        named = [dimension.id for dimension in self._handbook.category(seen.category).dimensions if dimension.names_works]
        works = find_works(seen.note) if named else []
        return [
            Tag(text=work.text, dimension=named[0], rank=1, confidence=sure, evidence=[work.evidence])
            for work, sure in zip(works, WORK_CONFIDENCES, strict=False)
        ]


def with_shared(copied: Sequence[Tag], shared: Sequence[Tag], max_tags: int) -> list[Tag]:
    """Shared tags with the copied phrases that say something else, the surest first, ranks given anew."""
    keys = [_key(tag.text) for tag in shared]
    room = max(max_tags - len(shared), 0)
    rest = [tag for tag in copied if not any(_key(tag.text) <= key for key in keys)][:room]
    ranked = sorted([*shared[:max_tags], *rest], key=lambda tag: -tag.confidence)
    return [
        Tag(text=tag.text, dimension=tag.dimension, rank=rank, confidence=tag.confidence, evidence=tag.evidence)
        for rank, tag in enumerate(ranked, 1)
    ]


def _distinct(supported: Sequence[Supported], most: int) -> list[Supported]:
    """The first ones of which none is within another by its words: not ``gangster`` beside ``gangster film``."""
    chosen: list[Supported] = []
    for one in supported:
        key = _key(one.concept.en)
        if len(chosen) < most and not any(key <= _key(other.concept.en) or _key(other.concept.en) <= key for other in chosen):
            chosen.append(one)
    return chosen


def _tag_of(one: Supported, chinese: bool) -> Tag:
    sure = round(float(CONCEPT_CONFIDENCE / (1 + np.exp(CONCEPT_EVEN - one.support))), 4)
    return Tag(text=one.concept.zh if chinese else one.concept.en, dimension=one.dimension, rank=1, confidence=sure, evidence=one.evidence)


def _key(text: str) -> set[str]:
    return {text} if has_han(text) else set(map(stem, words_of(text)))
