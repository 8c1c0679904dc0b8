"""Tags that say the same as a known tag take its wording, so that notes share them."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from models.dimensions import products
from models.guards.contradiction import Values, differing
from models.guards.places import stems_of
from models.handbook import Handbook
from models.roles import TagEncoder
from models.text import has_han
from schemas.events import Category, Tag

SIMILARITY = 0.93
_OPPOSED_EN = (
    "no not non without free low high light heavy long short small large big wide narrow thick thin warm cold cool hot dry wet oily hard"
    " soft slow fast loose tight cheap expensive in out before after first second left right men women boy girl with"
)
_OPPOSED = frozenset([*re.findall(r"\w+", _OPPOSED_EN), *"不无没非低高轻重长短小大宽窄厚薄暖冷凉热干湿硬软慢快松紧早晚前后男女左右新旧免"])


class Aliases:
    """Known tags by category and dimension: the handbook's examples and concepts.

    Args:
        handbook: whose wording is kept.
        encoder: how close two texts are.
        similarity: cosine from which they say the same, in [0, 1].
    """

    def __init__(self, handbook: Handbook, encoder: TagEncoder, similarity: float = SIMILARITY) -> None:
        self._handbook = handbook
        self._encoder = encoder
        self._similarity = similarity
        self._values = Values(handbook)
        self._known: dict[tuple[Category, str, bool], list[str]] = {}

    def canonical(self, tags: Sequence[Tag], category: Category) -> dict[str, str]:
        """Text of a tag -> the known wording, for those that have another. Only within the dimension and the script, and only where what
        differs is no number, no model's name, no colour or material and no opposite."""
        found: dict[str, str] = {}
        for tag in tags:
            known = self._of(category, tag.dimension, has_han(tag.text))
            if not known or tag.text.casefold() in {text.casefold() for text in known}:
                continue
            vectors = self._encoder.encode([tag.text, *known])
            cosines = products(vectors[:1], vectors[1:])[0]
            best = int(np.argmax(cosines))
            if cosines[best] >= self._similarity and self.same(tag.text, known[best]):
                found[tag.text] = known[best]
        return found

    def same(self, left: str, right: str) -> bool:
        """Whether nothing that differs between two texts speaks against their meaning the same."""
        mine, its = stems_of(left), stems_of(right)
        rest = set(mine) ^ set(its)
        if any(any(sign.isdigit() for sign in one) or one in _OPPOSED for one in rest) or _models(left) != _models(right):
            return False
        gone, come = differing(mine, its)
        return not (self._values.has(gone) or self._values.has(come) or self._values.instead(mine, its))

    def _of(self, category: Category, dimension: str, chinese: bool) -> list[str]:
        key = (category, dimension, chinese)
        if key not in self._known:
            self._known[key] = list(dict.fromkeys(_wordings(self._handbook, category, dimension, chinese)))
        return self._known[key]


def _wordings(handbook: Handbook, category: Category, dimension: str, chinese: bool) -> Iterable[str]:
    for one in handbook.category(category).dimensions:
        if one.id == dimension:
            yield from one.examples.values() if chinese else one.examples
            yield from (concept.zh if chinese else concept.en for concept in one.concepts)


def _models(text: str) -> set[str]:
    """Words with digits, hyphens left out: ``X100V``, ``A7-IV2``."""
    return {word.casefold() for word in text.replace("-", "").split() if any(sign.isdigit() for sign in word)}
